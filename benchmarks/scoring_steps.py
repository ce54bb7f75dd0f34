"""Stage 4: error rates with intervals for 100,000 pairs, and scores of photos."""

import os
import time

from faceverify.base import backend

backend.start()

import numpy as np
from sklearn.metrics import auc, roc_curve

import dlib_route
from faceverify.evaluation import metrics, report, verification
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.judged_photos import SPLITS
from faceverify.evaluation.summary import BASELINE, ENSEMBLE
from faceverify.model import features, network
from faceverify.runs import parameters
from material import ROOT, SEED, Photos
from measuring import Comparison, Rate, apart, rate

FEW, MANY = 10_000, 100_000
GENUINE_EACH, PHOTOS_EACH = 50, 11
RESAMPLES = 1_000
SECONDS = 30
# One resample by scikit-learn, and one photo by dlib, take long: few tell enough.
PEER_RESAMPLES, SCORED = 5, 60


def compare(photos: Photos) -> list[Comparison]:
    """Seconds and memory of a whole evaluation, resamples and photos a second."""
    few, many = apart(evaluate_models, FEW), apart(evaluate_models, MANY)
    seconds, resampled = many.result, apart(resample, MANY).result
    scored = [apart(work, photos).result for work in (score_by_us, score_by_dlib)]
    return [
        Comparison(
            f"evaluating {MANY:,} pairs", "s", seconds, None, "", met=seconds.median < SECONDS
        ),
        Comparison(
            f"evaluating {MANY:,} pairs, memory",
            "MB",
            Rate(many.peak, 0),
            None,
            "",
            met=many.peak <= 1.1 * few.peak,
        ),
        Comparison("bootstrap", "resamples/s", *resampled, "scikit-learn's roc_curve"),
        Comparison("scoring", "photos/s", *scored, "the face_recognition way"),
    ]


def evaluate_models(count: int) -> Rate:
    """Seconds of all figures of `evaluate`: the shipped members, their ensemble and a baseline.

    Scores are drawn: `count` pairs of validation people and as many of training people.
    """
    os.chdir(ROOT)
    settings = parameters.load(ROOT / "params.yaml")
    rng = np.random.default_rng(SEED)
    pairs = {split: draw_pairs(count, rng) for split in SPLITS}
    part = pairs["val"]
    groups = {}
    for name in report.GROUPED_BY:
        groups |= verification.attribute_groups(rng.random(part.photos.shape) < 0.4, name)
    drawn = {
        name: {split: draw_scores(pairs[split].same, rng) for split in pairs}
        for name in (*settings.members, BASELINE)
    }
    start = time.perf_counter()
    limits = (settings.threshold, settings.accept_threshold)
    scores = {name: report.score_splits(found.get, pairs, limits) for name, found in drawn.items()}
    scores[ENSEMBLE] = report.ensemble_scores(scores, settings.ensemble, pairs, limits)
    resampling = Resampling(settings.evaluate.resamples, settings.seed)
    details = {
        name: report.model_report(found, pairs, groups, resampling)
        for name, found in scores.items()
    }
    aucs = {name: details[name]["train"]["auc"] for name in settings.members}
    report.weightings(scores, settings.ensemble, pairs, aucs, resampling)
    return Rate(time.perf_counter() - start, 0)


def draw_pairs(count: int, rng: np.random.Generator) -> verification.VerificationPairs:
    """Pairs of as many people as give that number, by the stage's own function."""
    identities = np.repeat(np.arange(count // (2 * GENUINE_EACH)), PHOTOS_EACH)
    rows = np.arange(len(identities))
    return verification.make_verification_pairs(rows, identities, GENUINE_EACH, rng)


def draw_scores(same: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """theta of pairs as a fair model gives it, with float32's ties."""
    return np.abs(rng.normal(np.where(same, 0.4, 0.9), 0.2)).astype(np.float32)


def resample(count: int) -> tuple[Rate, Rate]:
    """Resamples a second of one model's figures, and of ROC and AUC by scikit-learn."""
    rng = np.random.default_rng(SEED)
    pairs = draw_pairs(count, rng)
    scores = draw_scores(pairs.same, rng)
    thresholds = metrics.Thresholds(0.5, 0.6, metrics.fitted_threshold(scores, pairs.same))

    def ours() -> int:
        resampling = Resampling(RESAMPLES, SEED)
        metrics.measure(scores, pairs.same, pairs.identities, thresholds, resampling)
        return RESAMPLES

    def theirs() -> int:
        people = pairs.identities.max() + 1
        for _ in range(PEER_RESAMPLES):
            drawn = np.bincount(rng.integers(people, size=people), minlength=people)
            first, second = drawn[pairs.identities.T]
            weights = np.where(pairs.same, first, first * second)
            auc(*roc_curve(pairs.same, -scores, sample_weight=weights)[:2])
        return PEER_RESAMPLES

    return rate(ours), rate(theirs)


def score_by_us(photos: Photos) -> Rate:
    """Photos a second through the shipped shape of brain and tower, and theta of their pairs."""
    os.chdir(ROOT)
    shape = parameters.load(ROOT / "params.yaml").model
    brain = network.build_brain(shape.brain, shape.brain_layer, shape.brain_view, None, SEED)
    sizes = network.Tower(
        shape.head_filters, shape.neck_units, shape.tail_units, 0.0, 0.0, shape.tail_reads
    )
    whole = network.join(brain, network.build_tower(brain.output_shape[1:], sizes, SEED))
    names = list(photos.landmarks)[:SCORED]

    def work() -> int:
        batches = features.run_photos(whole, names, lambda n: (photos.folder / n).read_bytes())
        tails = np.concatenate([batch["tail"] for batch in batches])
        verification.thetas(tails, np.arange(len(names)).reshape(-1, 2))
        return len(names)

    work()
    return rate(work)


def score_by_dlib(photos: Photos) -> Rate:
    """The same photos and pairs, in the steps of the `face_recognition` package."""
    os.chdir(ROOT)
    paths = [str(photos.folder / name) for name in list(photos.landmarks)[:SCORED]]
    dlib_route.describe(paths[0])  # loads what is loaded once

    def work() -> int:
        # A face that this way does not find costs it the search alone.
        found = [dlib_route.describe(path) for path in paths]
        for first, second in zip(found[::2], found[1::2], strict=True):
            if first is not None and second is not None:
                np.linalg.norm(first - second)
        return len(paths)

    return rate(work)
