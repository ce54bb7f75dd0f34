"""The evaluation: every model's scores of the same pairs, and the report on each."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.errors import MadeFileError
from faceverify.data import annotations
from faceverify.data.landmark_range import LandmarkRange
from faceverify.evaluation import fairness, metrics, summary, verification, weighting
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.judged_photos import (
    SPLITS,
    JudgedPhotos,
    Trials,
    member_outputs,
)
from faceverify.evaluation.metrics import Thresholds
from faceverify.evaluation.summary import BASELINE, CARD, ENSEMBLE
from faceverify.evaluation.verification import VerificationPairs
from faceverify.faces import dlib_descriptor
from faceverify.faces.landmarks import interocular_distance, unflatten
from faceverify.model.store import TrainedModel

# CelebA's attributes by which pairs are grouped, see `fairness`.
GROUPED_BY = ("Male", "Young", "Pale_Skin", "Eyeglasses")

# Split, or CARD -> its pairs.
SplitPairs = Mapping[str, VerificationPairs]
# threshold and accept_threshold, see `Thresholds`.
SetThresholds = tuple[float, float]


class ModelScores(NamedTuple):
    """A model's scores of the pairs, its thresholds, and its landmark error."""

    values: dict[str, np.ndarray]  # split, or CARD -> (P,); low means same person
    thresholds: Thresholds
    landmark_error: dict[str, float] | None  # by split, in inter-ocular distances


def score_splits(
    score: Callable[[str], np.ndarray],
    pairs: SplitPairs,
    thresholds: SetThresholds,
    landmark_error: dict[str, float] | None = None,
) -> ModelScores:
    """Score all pairs; the fitted threshold comes from train, whose people are not in val."""
    values = {split: score(split) for split in pairs}
    fitted = metrics.fitted_threshold(values["train"], pairs["train"].same)
    return ModelScores(values, Thresholds(*thresholds, fitted), landmark_error)


def member_scores(
    trained: TrainedModel,
    trials: Trials,
    limits: LandmarkRange,
    thresholds: SetThresholds,
    cache: Path,
) -> ModelScores:
    """theta of a member for all pairs, and the distance of its landmarks from dlib's on photos."""
    outputs = [member_outputs(trained, part, cache) for part in trials.parts()]
    tails = np.concatenate([part_tails for part_tails, _ in outputs])
    predicted = outputs[0][1]
    truth, guess = unflatten(trials.photos.landmarks), unflatten(limits.denormalize(predicted))
    distances = np.linalg.norm(guess - truth, axis=-1).mean(axis=-1) / interocular_distance(truth)
    pairs = trials.pairs
    return score_splits(
        lambda split: verification.thetas(tails, pairs[split].photos),
        pairs,
        thresholds,
        {s: float(distances[np.unique(pairs[s].photos)].mean()) for s in SPLITS},
    )


def ensemble_scores(
    scores: Mapping[str, ModelScores],
    weights: Mapping[str, float],
    pairs: SplitPairs,
    thresholds: SetThresholds,
) -> ModelScores:
    """The mean of the members' theta, with these weights by member, which sum to 1."""
    return score_splits(
        lambda split: sum(w * scores[name].values[split] for name, w in weights.items()),
        pairs,
        thresholds,
    )


def baseline_scores(
    trials: Trials, descriptor_model: Path, cache: Path, workers: str
) -> ModelScores:
    """Distances of dlib's descriptors, with dlib's own threshold in place of the set ones.

    `descriptor_model` is dlib's published network, `cache` the folder where descriptors are kept,
    `workers` who computes them, see `base.workers`.
    """
    described = [
        dlib_descriptor.descriptors(
            [part.folder / name for name in part.names],
            part.landmarks.tolist(),
            descriptor_model,
            cache,
            workers,
        )
        for part in trials.parts()
    ]
    rows = np.concatenate(described)
    return score_splits(
        lambda split: verification.distances(rows, trials.pairs[split].photos),
        trials.pairs,
        (dlib_descriptor.THRESHOLD, dlib_descriptor.THRESHOLD),
    )


def attribute_masks(
    attribute_file: Path, judged: JudgedPhotos, pairs: VerificationPairs
) -> dict[str, np.ndarray]:
    """Name of a group -> mask (P,) of its pairs, for those of GROUPED_BY that the data has.

    `attribute_file` is CelebA's list of attributes. Raises MadeFileError where it lacks a photo.
    """
    attributes = annotations.read_attributes(attribute_file)
    row = {photo: i for i, photo in enumerate(attributes.photos)}
    unknown = next((source for source in judged.sources if source not in row), None)
    if unknown:
        raise MadeFileError(f"{attribute_file.name} lacks {unknown}")
    rows = np.array([row[source] for source in judged.sources])
    groups = {}
    for name in GROUPED_BY:
        if name in attributes.names:
            present = attributes.column(name)[rows][pairs.photos]
            groups |= verification.attribute_groups(present, name)
    return groups


def model_report(
    scores: ModelScores,
    pairs: SplitPairs,
    groups: Mapping[str, np.ndarray],
    resampling: Resampling,
) -> dict:
    """All figures of one model: thresholds, those of each split and of cards, rates by group."""
    report = {key: round(value, 6) for key, value in scores.thresholds._asdict().items()}
    if scores.landmark_error:
        report["landmark_error"] = {k: round(v, 6) for k, v in scores.landmark_error.items()}
    for split in SPLITS:
        part = pairs[split]
        report[split] = {
            "people": len(np.unique(part.identities)),
            "genuine": int(part.same.sum()),
            "impostor": int((~part.same).sum()),
        } | metrics.measure(
            scores.values[split], part.same, part.identities, scores.thresholds, resampling
        )
    # The fitted threshold was chosen on the train pairs: no figure of theirs may use it.
    for end in summary.ENDS:
        del report["train"][f"accuracy_fitted{end}"]
    if CARD in pairs:
        report[CARD] = card_figures(scores, pairs[CARD], resampling)
    report["groups"] = metrics.group_error_rates(
        scores.values["val"],
        pairs["val"].same,
        pairs["val"].identities,
        groups,
        scores.thresholds.accept_threshold,
        resampling,
    )
    return report


def card_figures(
    scores: ModelScores, pairs: VerificationPairs, resampling: Resampling
) -> dict[str, float | None]:
    """CARD_FIGURES of a model, each with its interval."""
    asked = pairs.same, pairs.identities
    figures = metrics.measure(scores.values[CARD], *asked, scores.thresholds, resampling)
    silent = (pairs.photos == verification.NO_PHOTO).any(axis=1)
    figures |= metrics.share("no_answer", silent, *asked, resampling)
    return summary.chosen(figures, summary.CARD_FIGURES)


def compare_with_baseline(reports: dict[str, dict]) -> None:
    """Add to each model's report in what it is worse than dlib's descriptor on val."""
    best = reports[BASELINE]["val"]
    for name, report in reports.items():
        if name != BASELINE:
            behind = [k for k in ("accuracy_fitted", "auc") if report["val"][k] < best[k]]
            report["loses_to_baseline_in"] = behind


def weightings(
    scores: Mapping[str, ModelScores],
    shipped: Mapping[str, float],
    pairs: SplitPairs,
    train_aucs: Mapping[str, float | None],
    resampling: Resampling,
) -> dict[str, dict]:
    """The val figures of the ensemble with the shipped weights, and with others from train.

    `shipped` are the weights by member, `train_aucs` each member's AUC on train, in the order of
    the members.
    """
    chosen = {"shipped": dict(shipped)} | weighting.alternatives(
        {name: scores[name].values["train"] for name in train_aucs}, pairs["train"].same, train_aucs
    )
    part, ensemble = pairs["val"], scores[ENSEMBLE]
    thresholds = ensemble.thresholds.threshold, ensemble.thresholds.accept_threshold
    report = {}
    for name, weights in chosen.items():
        other = ensemble_scores(scores, weights, pairs, thresholds)
        theta = other.values["val"]
        figures = metrics.measure(theta, part.same, part.identities, other.thresholds, resampling)
        difference = metrics.auc_difference(
            ensemble.values["val"], theta, part.same, part.identities, resampling
        )
        rounded = {member: round(weight, 6) for member, weight in weights.items()}
        report[name] = {"weights": rounded} | summary.chosen(figures, summary.FIGURES) | difference
    return report


def fairness_report(
    scores: ModelScores,
    pairs: VerificationPairs,
    groups: Mapping[str, np.ndarray],
    rates: Mapping[str, dict],
    factor: float,
    resampling: Resampling,
) -> dict[str, float | dict]:
    """Whether a group's FMR on val is more than `factor` times another's.

    `groups` are their masks, `rates` their error rates; see `fairness.report`.
    """
    sides = {name: fairness.compared_groups(name) for name in GROUPED_BY}
    shares = metrics.fmr_shares(
        scores.values["val"],
        pairs.same,
        pairs.identities,
        {name: tuple(map(groups.get, two)) for name, two in sides.items() if two[0] in groups},
        scores.thresholds.accept_threshold,
        resampling,
    )
    return fairness.report(rates, shares, factor)
