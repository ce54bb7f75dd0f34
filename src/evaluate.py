"""Stage 4: how well the members, their ensemble and dlib's descriptor tell people apart."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from faceverify.base import backend, errors

PARSER = argparse.ArgumentParser(description=__doc__)

if __name__ == "__main__":
    errors.begin()
    PARSER.parse_args()  # --help and a wrong argument need no TensorFlow, which takes seconds

backend.start()

import numpy as np
import pandas as pd

from faceverify.base import files
from faceverify.data import annotations, tables
from faceverify.data.landmark_range import LandmarkRange
from faceverify.evaluation import (
    fairness,
    gallery,
    metrics,
    plot_data,
    summary,
    verification,
    weighting,
)
from faceverify.evaluation.judged_photos import PREPARED, SPLITS, Photos, load_pairs, member_outputs
from faceverify.faces import aligned_photos, dlib_descriptor
from faceverify.faces.landmarks import interocular_distance, unflatten
from faceverify.model import store
from faceverify.runs import environment, lock, members, parameters, rounding, script

DATA, CACHE = Path("data"), Path(".cache")
METRICS, PLOTS = Path("metrics"), Path("plots")
GROUPED_BY = ("Male", "Young", "Pale_Skin", "Eyeglasses")
ENSEMBLE, BASELINE = "ensemble", "dlib"
WORST = 12


class Scores(NamedTuple):
    """A model's scores of the pairs of each split, and where it decides."""

    values: dict[str, np.ndarray]
    decision: verification.Decision
    landmark_error: dict[str, float] | None


def main() -> None:
    """Score the same pairs with every model and write metrics, plots and gallery."""
    settings = parameters.load(Path("params.yaml"))
    lock.claim("evaluate")
    for folder in members.remove_former(settings.members):
        print(f"{folder}: no member of this name any more: removed")
    judged, pairs = load_pairs(settings.evaluate.genuine_per_identity, settings.seed)
    scores = {name: member_scores(name, judged, pairs, settings) for name in settings.members}
    scores[ENSEMBLE] = ensemble_scores(scores, settings.ensemble, pairs, settings)
    scores[BASELINE] = baseline_scores(judged, pairs, settings.workers)

    groups = attribute_masks(judged, pairs["val"])
    details = {
        name: details_of(model_scores, pairs, groups, settings)
        for name, model_scores in scores.items()
    }
    compare_with_baseline(details)
    details[ENSEMBLE]["weightings"] = weightings(scores, pairs, details, settings)
    details[ENSEMBLE]["fairness"] = fairness_of(
        scores[ENSEMBLE], pairs["val"], groups, details[ENSEMBLE]["groups"], settings
    )
    write_metrics(details)
    write_run(scores, judged, pairs["val"], settings.seed)
    write_plots(scores, details, pairs["val"])
    curves = plot_data.training_curves(members.CURVES, settings.members)
    tables.write(PLOTS / "training.csv", curves)
    write_gallery(scores[ENSEMBLE], judged, pairs["val"])
    print("more figures: metrics/details.json; worst errors: plots/gallery; dvc plots show --open")


def member_scores(
    name: str,
    judged: Photos,
    pairs: dict[str, verification.VerificationPairs],
    settings: parameters.Parameters,
) -> Scores:
    """theta of a member for all pairs, and how far its landmarks lie from dlib's."""
    tails, predicted = member_outputs(store.load(members.MODELS / name), judged, CACHE)
    limits = LandmarkRange.load(PREPARED / "landmark_range.json")
    truth, guess = unflatten(judged.landmarks), unflatten(limits.denormalize(predicted))
    errors_ = np.linalg.norm(guess - truth, axis=-1).mean(axis=-1) / interocular_distance(truth)
    return decided(
        lambda split: verification.thetas(tails, pairs[split].photos),
        pairs,
        (settings.threshold, settings.accept_threshold),
        {s: float(errors_[np.unique(pairs[s].photos)].mean()) for s in SPLITS},
    )


def ensemble_scores(
    scores: dict[str, Scores],
    weights: dict[str, float],
    pairs: dict[str, verification.VerificationPairs],
    settings: parameters.Parameters,
) -> Scores:
    """The weighted mean of the members' theta."""
    return decided(
        lambda split: sum(w * scores[name].values[split] for name, w in weights.items()),
        pairs,
        (settings.threshold, settings.accept_threshold),
    )


def baseline_scores(
    judged: Photos, pairs: dict[str, verification.VerificationPairs], workers: str
) -> Scores:
    """Distances of dlib's descriptors, at dlib's own threshold."""
    described = dlib_descriptor.descriptors(
        [PREPARED / "selected" / name for name in judged.names],
        judged.landmarks.tolist(),
        DATA / "dlib_face_recognition_resnet_model_v1.dat",
        CACHE,
        workers,
    )
    return decided(
        lambda split: verification.distances(described, pairs[split].photos),
        pairs,
        (dlib_descriptor.THRESHOLD, dlib_descriptor.THRESHOLD),
    )


def decided(
    score: Callable[[str], np.ndarray],
    pairs: dict[str, verification.VerificationPairs],
    thresholds: tuple[float, float],
    landmark_error: dict[str, float] | None = None,
) -> Scores:
    """Score both splits; the fitted threshold comes from train, whose people are not in val."""
    values = {split: score(split) for split in SPLITS}
    fitted = metrics.fitted_threshold(values["train"], pairs["train"].same)
    return Scores(values, verification.Decision(*thresholds, fitted), landmark_error)


def attribute_masks(judged: Photos, pairs: verification.VerificationPairs) -> dict[str, np.ndarray]:
    """The groups of pairs by attribute, for each attribute that the data has."""
    attributes = annotations.read_attributes(DATA / "list_attr_celeba.txt")
    row = {photo: i for i, photo in enumerate(attributes.photos)}
    unknown = next((source for source in judged.sources if source not in row), None)
    if unknown:
        raise errors.MadeFileError(f"list_attr_celeba.txt lacks {unknown}")
    rows = np.array([row[source] for source in judged.sources])
    groups = {}
    for name in GROUPED_BY:
        if name in attributes.names:
            present = attributes.column(name)[rows][pairs.photos]
            groups |= verification.attribute_groups(present, name)
    return groups


def details_of(
    scores: Scores,
    pairs: dict[str, verification.VerificationPairs],
    groups: dict[str, np.ndarray],
    settings: parameters.Parameters,
) -> dict:
    """Everything that is reported of one model."""
    resampling = {"resamples": settings.evaluate.resamples, "seed": settings.seed}
    report = {key: round(value, 6) for key, value in scores.decision._asdict().items()}
    if scores.landmark_error:
        report["landmark_error"] = {k: round(v, 6) for k, v in scores.landmark_error.items()}
    for split in SPLITS:
        part = pairs[split]
        report[split] = {
            "people": len(np.unique(part.identities)),
            "genuine": int(part.same.sum()),
            "impostor": int((~part.same).sum()),
        } | verification.figures(scores.values[split], part, scores.decision, **resampling)
    # The fitted threshold was chosen on the train pairs: no figure of theirs may use it.
    for end in summary.ENDS:
        del report["train"][f"accuracy_fitted{end}"]
    report["groups"] = metrics.group_error_rates(
        scores.values["val"],
        pairs["val"].same,
        pairs["val"].identities,
        groups,
        threshold=scores.decision.accept_threshold,
        **resampling,
    )
    return report


def compare_with_baseline(details: dict[str, dict]) -> None:
    """Say in each model's report whether it loses to dlib's descriptor."""
    best = details[BASELINE]["val"]
    for name, report in details.items():
        if name != BASELINE:
            behind = [k for k in ("accuracy_fitted", "auc") if report["val"][k] < best[k]]
            report["loses_to_baseline_in"] = behind


def weightings(
    scores: dict[str, Scores],
    pairs: dict[str, verification.VerificationPairs],
    details: dict[str, dict],
    settings: parameters.Parameters,
) -> dict[str, dict]:
    """What the shipped weights and others, chosen on train people, reach on the val people."""
    chosen = {"shipped": settings.ensemble} | weighting.alternatives(
        {name: scores[name].values["train"] for name in settings.members},
        pairs["train"].same,
        {name: details[name]["train"]["auc"] for name in settings.members},
    )
    part, shipped = pairs["val"], scores[ENSEMBLE].values["val"]
    resampling = {"resamples": settings.evaluate.resamples, "seed": settings.seed}
    report = {}
    for name, weights in chosen.items():
        other = ensemble_scores(scores, weights, pairs, settings)
        theta = other.values["val"]
        figures = verification.figures(theta, part, other.decision, **resampling)
        difference = metrics.auc_difference(
            shipped, theta, part.same, part.identities, **resampling
        )
        rounded = {member: round(weight, 6) for member, weight in weights.items()}
        report[name] = {"weights": rounded} | summary.of(figures) | difference
    return report


def fairness_of(
    scores: Scores,
    pairs: verification.VerificationPairs,
    groups: dict[str, np.ndarray],
    rates: dict[str, dict],
    settings: parameters.Parameters,
) -> dict[str, float | dict]:
    """Whether a group's FMR exceeds another's by more than `fmr_factor`; `rates` are theirs."""
    compared = {name: fairness.compared(name) for name in GROUPED_BY}
    shares = metrics.fmr_shares(
        scores.values["val"],
        pairs.same,
        pairs.identities,
        {name: tuple(map(groups.get, two)) for name, two in compared.items() if two[0] in groups},
        threshold=scores.decision.accept_threshold,
        resamples=settings.evaluate.resamples,
        seed=settings.seed,
    )
    return fairness.report(rates, shares, settings.evaluate.fmr_factor)


def write_metrics(details: dict[str, dict]) -> None:
    """The six figures for DVC, all figures, and tables for people, which are printed as well."""
    six = {name: summary.of(report["val"]) for name, report in details.items()}
    files.write_json(METRICS / "summary.json", six, indent=2)
    files.write_json(METRICS / "details.json", details, indent=2)
    text = (
        f"{summary.models_table(details, BASELINE)}\n\n"
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
    scores: dict[str, Scores], judged: Photos, pairs: verification.VerificationPairs, seed: int
) -> None:
    """What tells rounding from a real change: where this ran, and scores; see `drift.py`."""
    files.write_json(METRICS / "environment.json", environment.record(), indent=2)
    values = {name: model_scores.values["val"] for name, model_scores in scores.items()}
    kept = rounding.thetas(values, np.array(judged.names)[pairs.photos], pairs.same, seed)
    tables.write(METRICS / "thetas.csv", kept)


def write_plots(
    scores: dict[str, Scores],
    details: dict[str, dict],
    pairs: verification.VerificationPairs,
) -> None:
    """The data of the plots that dvc.yaml declares."""
    points = []
    for name, model_scores in scores.items():
        points.append(plot_data.operating_points(model_scores.values["val"], pairs.same))
        points[-1].insert(0, "model", name)
    tables.write(PLOTS / "roc.csv", pd.concat(points))

    theta, decision = scores[ENSEMBLE].values["val"], scores[ENSEMBLE].decision
    limits = (decision.threshold, decision.accept_threshold)
    tables.write(PLOTS / "scores.csv", plot_data.histogram(theta, pairs.same, *limits))
    decided_ = plot_data.decisions(theta, pairs.same, decision.accept_threshold)
    tables.write(PLOTS / "confusion.csv", decided_)
    report = details[ENSEMBLE]
    tables.write(
        PLOTS / "groups.csv", plot_data.group_rates({"all": report["val"]} | report["groups"])
    )


def write_gallery(scores: Scores, judged: Photos, pairs: verification.VerificationPairs) -> None:
    """Pictures of the ensemble's worst errors. They show faces: never in git or a report."""
    theta, limit = scores.values["val"], scores.decision.accept_threshold

    def exhibit(i: int) -> gallery.Exhibit:
        first, second = (
            aligned_photos.decode_aligned(judged.read(judged.names[row])) for row in pairs.photos[i]
        )
        names = " ".join(judged.sources[row] for row in pairs.photos[i])
        return gallery.Exhibit(first, second, f"theta {theta[i]:.3f}  {names}")

    accepts, rejects = verification.worst(theta, pairs, limit, WORST)
    with files.replacing_folder(PLOTS / "gallery") as folder:
        for kind, title, worst in (
            ("false_accepts", "Different people, accepted", accepts),
            ("false_rejects", "Same person, refused", rejects),
        ):
            heading = f"{title} (theta, limit {limit:g}): the worst {len(worst)}"
            picture = gallery.render(heading, [exhibit(i) for i in worst])
            (folder / f"{kind}.png").write_bytes(aligned_photos.encode_png(picture))


if __name__ == "__main__":
    script.run(main)
