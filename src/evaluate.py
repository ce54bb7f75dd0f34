"""Stage 4: error rates of members, ensemble and dlib's descriptor on photos and on cards; plots."""

import argparse
from pathlib import Path

from faceverify.base import backend, errors

PARSER = argparse.ArgumentParser(description=__doc__)

if __name__ == "__main__":
    errors.begin()
    PARSER.parse_args()  # --help and a wrong argument need no TensorFlow, which takes seconds

backend.start()

import numpy as np

from faceverify.base import files
from faceverify.base.schema import Calibration
from faceverify.data import tables
from faceverify.data.landmark_range import LandmarkRange
from faceverify.evaluation import (
    calibration,
    card_condition,
    fairness,
    gallery,
    plot_data,
    report,
    summary,
    verification,
)
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.card_faces import Cards
from faceverify.evaluation.judged_photos import Trials, load_pairs, member_outputs
from faceverify.evaluation.report import ModelScores
from faceverify.evaluation.summary import BASELINE, CARD, ENSEMBLE
from faceverify.evaluation.verification import VerificationPairs
from faceverify.faces import aligned_photos, dlib_descriptor
from faceverify.model import quality, store
from faceverify.runs import environment, lock, members, parameters, rounding, script

DATA, PREPARED, CACHE = Path("data"), Path("prepared"), Path(".cache")
METRICS, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    """Score the same pairs with every model and write metrics, plots and gallery."""
    backend.compute_alike()
    settings = parameters.load(Path("params.yaml"))
    lock.claim("evaluate")
    for folder in members.remove_former(settings.members):
        print(f"{folder}: no member of this name any more: removed")
    photos, pairs = load_pairs(PREPARED, settings.evaluate.genuine_per_identity, settings.seed)
    curves = plot_data.training_curves(members.CURVES, settings.members)
    on_cards = card_condition.put_on_cards(
        photos, pairs["val"], cards_of(settings), CACHE, settings.workers
    )
    on_cards = card_condition.without_doubtful(
        on_cards, len(photos.names), quality.load(), settings.capture.min_quality
    )
    trials = Trials(photos, on_cards.faces, pairs | {CARD: on_cards.pairs})
    trained = {name: store.load(members.MODELS / name) for name in settings.members}
    write_calibration(trained, trials, settings)
    scores = score_models(trained, trials, settings)
    details = report_on(scores, trials, settings)
    details[ENSEMBLE]["refusals"] = {"cards": on_cards.cards, "reasons": on_cards.refusals}
    write_metrics(details)
    write_run(scores, trials, settings.seed)
    write_plots(scores, details, trials.pairs)
    tables.write(PLOTS / "training.csv", curves)
    write_gallery(scores[ENSEMBLE], trials)
    print("more figures: metrics/details.json; worst errors: plots/gallery; dvc plots show --open")


def cards_of(settings: parameters.Parameters) -> Cards:
    """What decides the cards, and what `verify` accepts of them."""
    landmark_model = DATA / settings.select.landmark_model
    return Cards(settings.card, settings.seed, DATA, landmark_model, settings.capture)


def write_calibration(
    trained: dict[str, store.TrainedModel], trials: Trials, settings: parameters.Parameters
) -> None:
    """Write the members' constants and the thresholds; fit them to training people if asked to."""
    towers = {name: member.tower for name, member in trained.items()}
    found = calibration.shipped(towers)
    if settings.calibration == "fitted":
        rows = np.unique(trials.pairs["train"].photos)
        strangers = calibration.Strangers(trials.photos.identities[rows])

        def tails(name: str) -> np.ndarray:
            return member_outputs(trained[name], trials.photos, CACHE)[0][rows]

        constants = {
            name: strangers.fitted_constant(tails(name), settings.accept_threshold)
            for name, constant in found.constants.items()
            if constant is not None
        }
        calibration.set_constants(towers, found.constants | constants)
        theta = sum(w * strangers.angles(tails(n)) for n, w in settings.ensemble_weights.items())
        found = Calibration(
            kind="fitted",
            constants=found.constants | constants,
            thresholds=calibration.thresholds(theta),
        )
    files.write_json(METRICS / "calibration.json", found.model_dump(), indent=2)


def score_models(
    trained: dict[str, store.TrainedModel], trials: Trials, settings: parameters.Parameters
) -> dict[str, ModelScores]:
    """The scores of each member, of their ensemble and of dlib's descriptor."""
    thresholds = settings.threshold, settings.accept_threshold
    limits = LandmarkRange.load(PREPARED / "landmark_range.json")
    scores = {
        name: report.member_scores(member, trials, limits, thresholds, CACHE)
        for name, member in trained.items()
    }
    scores[ENSEMBLE] = report.ensemble_scores(
        scores, settings.ensemble_weights, trials.pairs, thresholds
    )
    descriptor_model = DATA / dlib_descriptor.NETWORK
    scores[BASELINE] = report.baseline_scores(trials, descriptor_model, CACHE, settings.workers)
    return scores


def report_on(
    scores: dict[str, ModelScores], trials: Trials, settings: parameters.Parameters
) -> dict[str, dict]:
    """Everything that is reported of each model: what `details.json` holds."""
    pairs = trials.pairs
    resampling = Resampling(settings.evaluate.resamples, settings.seed)
    groups = report.attribute_masks(DATA / "list_attr_celeba.txt", trials.photos, pairs["val"])
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
    """Write the figures for DVC, all figures, and tables for people, which are printed too."""
    six = {name: summary.chosen(found["val"], summary.FIGURES) for name, found in details.items()}
    files.write_json(METRICS / "summary.json", six, indent=2)
    on_cards = {name: {CARD: found[CARD]} for name, found in details.items()}
    files.write_json(METRICS / "cards.json", on_cards, indent=2)
    files.write_json(METRICS / "details.json", details, indent=2)
    text = (
        f"{summary.models_table(details)}\n\n"
        f"{summary.cards_said(**details[ENSEMBLE]['refusals'])}\n\n"
        f"{summary.cards_table(details)}\n\n"
        f"{summary.threshold_said(details[ENSEMBLE])}\n\n"
        "The ensemble with other weights, chosen on training people, scored like the models:\n\n"
        f"{summary.weightings_table(details[ENSEMBLE]['weightings'])}\n"
    )
    ensemble = details[ENSEMBLE]
    if said := fairness.sentences(ensemble["fairness"], ensemble["groups"]):
        text += f"\n{said}\n"
    with files.replacing(METRICS / "summary.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"\n{text}")


def write_run(scores: dict[str, ModelScores], trials: Trials, seed: int) -> None:
    """Write where this ran, and some thetas: they tell rounding from a change; see `drift.py`."""
    files.write_json(METRICS / "environment.json", environment.record(), indent=2)
    values = {name: model_scores.values["val"] for name, model_scores in scores.items()}
    pairs = trials.pairs["val"]
    kept = rounding.thetas(values, np.array(trials.photos.names)[pairs.photos], pairs.same, seed)
    tables.write(METRICS / "thetas.csv", kept)


def write_plots(
    scores: dict[str, ModelScores],
    details: dict[str, dict],
    pairs: dict[str, VerificationPairs],
) -> None:
    """Write the tables of the plots of scores and decisions."""
    threshold, accept_threshold, _ = scores[ENSEMBLE].thresholds
    for condition, curves, histogram in (
        ("val", "roc.csv", "scores.csv"),
        (CARD, "card_roc.csv", "card_scores.csv"),
    ):
        same = pairs[condition].same
        tables.write(
            PLOTS / curves,
            plot_data.operating_points_by_model(
                {name: found.values[condition] for name, found in scores.items()}, same
            ),
        )
        theta = scores[ENSEMBLE].values[condition]
        shown = plot_data.histogram(theta, same, threshold, accept_threshold)
        tables.write(PLOTS / histogram, shown)
    theta = scores[ENSEMBLE].values["val"]
    confusion = plot_data.decisions(theta, pairs["val"].same, accept_threshold)
    tables.write(PLOTS / "confusion.csv", confusion)
    rates = {"all": details[ENSEMBLE]["val"]} | details[ENSEMBLE]["groups"]
    tables.write(PLOTS / "groups.csv", plot_data.group_rates(rates))


def write_gallery(scores: ModelScores, trials: Trials) -> None:
    """Draw the ensemble's worst errors. The pictures show faces: never in git or a report."""
    limit = scores.thresholds.accept_threshold
    with files.replacing_folder(PLOTS / "gallery") as folder:
        for condition, start in (("val", ""), (CARD, "card_")):
            theta, pairs = scores.values[condition], trials.pairs[condition]
            accepts, rejects = verification.worst(theta, pairs, limit, gallery.WORST_SHOWN)
            for kind, title, worst in (
                ("false_accepts", f"{plot_data.DIFFERENT}, {plot_data.ACCEPTED}", accepts),
                ("false_rejects", f"{plot_data.SAME}, {plot_data.REFUSED}", rejects),
            ):
                heading = f"{title.capitalize()} (theta, limit {limit:g}): the worst {len(worst)}"
                shown = [exhibit(trials, pairs.photos[i], theta[i]) for i in worst]
                picture = gallery.render(heading, shown)
                (folder / f"{start}{kind}.png").write_bytes(aligned_photos.encode_png(picture))


def exhibit(trials: Trials, pair: np.ndarray, theta: float) -> gallery.Exhibit:
    """The faces of a pair (2,) of rows, and what is said of them."""
    first, second = (aligned_photos.decode_aligned(trials.read(row)) for row in pair)
    names = " ".join(trials.source(row) for row in pair)
    return gallery.Exhibit(first, second, f"theta {theta:.3f}  {names}")


if __name__ == "__main__":
    script.run(main)
