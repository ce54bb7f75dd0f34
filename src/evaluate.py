"""Stage 4: error rates of the members, their ensemble and dlib's descriptor, with plots."""

import argparse
from pathlib import Path

from faceverify.base import backend, errors

PARSER = argparse.ArgumentParser(description=__doc__)

if __name__ == "__main__":
    errors.begin()
    PARSER.parse_args()  # --help and a wrong argument need no TensorFlow, which takes seconds

backend.start()

import numpy as np
import pandas as pd

from faceverify.base import files
from faceverify.data import tables
from faceverify.data.landmark_range import LandmarkRange
from faceverify.evaluation import fairness, gallery, plot_data, report, summary, verification
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.judged_photos import JudgedPhotos, load_pairs
from faceverify.evaluation.report import ModelScores
from faceverify.evaluation.summary import BASELINE, ENSEMBLE
from faceverify.evaluation.verification import VerificationPairs
from faceverify.faces import aligned_photos, dlib_descriptor
from faceverify.model import store
from faceverify.runs import environment, lock, members, parameters, rounding, script

DATA, PREPARED, CACHE = Path("data"), Path("prepared"), Path(".cache")
METRICS, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    """Score the same pairs with every model and write metrics, plots and gallery."""
    settings = parameters.load(Path("params.yaml"))
    lock.claim("evaluate")
    for folder in members.remove_former(settings.members):
        print(f"{folder}: no member of this name any more: removed")
    judged, pairs = load_pairs(PREPARED, settings.evaluate.genuine_per_identity, settings.seed)
    curves = plot_data.training_curves(members.CURVES, settings.members)
    scores = score_models(judged, pairs, settings)
    details = report_on(scores, judged, pairs, settings)
    write_metrics(details)
    write_run(scores, judged, pairs["val"], settings.seed)
    write_plots(scores, details, pairs["val"])
    tables.write(PLOTS / "training.csv", curves)
    write_gallery(scores[ENSEMBLE], judged, pairs["val"])
    print("more figures: metrics/details.json; worst errors: plots/gallery; dvc plots show --open")


def score_models(
    judged: JudgedPhotos,
    pairs: dict[str, VerificationPairs],
    settings: parameters.Parameters,
) -> dict[str, ModelScores]:
    """The scores of each member, of their ensemble and of dlib's descriptor."""
    thresholds = settings.threshold, settings.accept_threshold
    limits = LandmarkRange.load(PREPARED / "landmark_range.json")
    scores = {
        name: report.member_scores(
            store.load(members.MODELS / name), judged, pairs, limits, thresholds, CACHE
        )
        for name in settings.members
    }
    scores[ENSEMBLE] = report.ensemble_scores(scores, settings.ensemble_weights, pairs, thresholds)
    descriptor_model = DATA / dlib_descriptor.NETWORK
    scores[BASELINE] = report.baseline_scores(
        judged, pairs, descriptor_model, CACHE, settings.workers
    )
    return scores


def report_on(
    scores: dict[str, ModelScores],
    judged: JudgedPhotos,
    pairs: dict[str, VerificationPairs],
    settings: parameters.Parameters,
) -> dict[str, dict]:
    """Everything that is reported of each model: what `details.json` holds."""
    resampling = Resampling(settings.evaluate.resamples, settings.seed)
    groups = report.attribute_masks(DATA / "list_attr_celeba.txt", judged, pairs["val"])
    details = {
        name: report.model_report(model_scores, pairs, groups, resampling)
        for name, model_scores in scores.items()
    }
    report.compare_with_baseline(details)
    ensemble = details[ENSEMBLE]
    aucs = {name: details[name]["train"]["auc"] for name in settings.members}
    ensemble["weightings"] = report.weightings(
        scores, settings.ensemble_weights, pairs, aucs, resampling
    )
    ensemble["fairness"] = report.fairness_report(
        scores[ENSEMBLE],
        pairs["val"],
        groups,
        ensemble["groups"],
        settings.evaluate.fmr_factor,
        resampling,
    )
    return details


def write_metrics(details: dict[str, dict]) -> None:
    """Write the six figures for DVC, all figures, and tables for people, which are printed too."""
    six = {name: summary.six_figures(found["val"]) for name, found in details.items()}
    files.write_json(METRICS / "summary.json", six, indent=2)
    files.write_json(METRICS / "details.json", details, indent=2)
    text = (
        f"{summary.models_table(details)}\n\n"
        "The ensemble with other weights, chosen on training people, scored like the models:\n\n"
        f"{summary.weightings_table(details[ENSEMBLE]['weightings'])}\n"
    )
    ensemble = details[ENSEMBLE]
    if said := fairness.sentences(ensemble["fairness"], ensemble["groups"]):
        text += f"\n{said}\n"
    with files.replacing(METRICS / "summary.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"\n{text}")


def write_run(
    scores: dict[str, ModelScores], judged: JudgedPhotos, pairs: VerificationPairs, seed: int
) -> None:
    """Write where this ran, and some thetas: they tell rounding from a change; see `drift.py`."""
    files.write_json(METRICS / "environment.json", environment.record(), indent=2)
    values = {name: model_scores.values["val"] for name, model_scores in scores.items()}
    kept = rounding.thetas(values, np.array(judged.names)[pairs.photos], pairs.same, seed)
    tables.write(METRICS / "thetas.csv", kept)


def write_plots(
    scores: dict[str, ModelScores],
    details: dict[str, dict],
    pairs: VerificationPairs,
) -> None:
    """Write the tables of the plots of scores and decisions."""
    points = []
    for name, model_scores in scores.items():
        points.append(plot_data.operating_points(model_scores.values["val"], pairs.same))
        points[-1].insert(0, "model", name)
    tables.write(PLOTS / "roc.csv", pd.concat(points))

    theta = scores[ENSEMBLE].values["val"]
    threshold, accept_threshold, _ = scores[ENSEMBLE].thresholds
    histogram = plot_data.histogram(theta, pairs.same, threshold, accept_threshold)
    tables.write(PLOTS / "scores.csv", histogram)
    confusion = plot_data.decisions(theta, pairs.same, accept_threshold)
    tables.write(PLOTS / "confusion.csv", confusion)
    rates = {"all": details[ENSEMBLE]["val"]} | details[ENSEMBLE]["groups"]
    tables.write(PLOTS / "groups.csv", plot_data.group_rates(rates))


def write_gallery(scores: ModelScores, judged: JudgedPhotos, pairs: VerificationPairs) -> None:
    """Draw the ensemble's worst errors. The pictures show faces: never in git or a report."""
    theta, limit = scores.values["val"], scores.thresholds.accept_threshold

    def exhibit(i: int) -> gallery.Exhibit:
        first, second = (
            aligned_photos.decode_aligned(judged.read(judged.names[row])) for row in pairs.photos[i]
        )
        names = " ".join(judged.sources[row] for row in pairs.photos[i])
        return gallery.Exhibit(first, second, f"theta {theta[i]:.3f}  {names}")

    accepts, rejects = verification.worst(theta, pairs, limit, gallery.WORST_SHOWN)
    with files.replacing_folder(PLOTS / "gallery") as folder:
        for kind, title, worst in (
            ("false_accepts", f"{plot_data.DIFFERENT}, {plot_data.ACCEPTED}", accepts),
            ("false_rejects", f"{plot_data.SAME}, {plot_data.REFUSED}", rejects),
        ):
            heading = f"{title.capitalize()} (theta, limit {limit:g}): the worst {len(worst)}"
            picture = gallery.render(heading, [exhibit(i) for i in worst])
            (folder / f"{kind}.png").write_bytes(aligned_photos.encode_png(picture))


if __name__ == "__main__":
    script.run(main)
