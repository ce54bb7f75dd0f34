"""Verification statistics: error rates, ROC figures and their intervals over people.

A score is a distance: `score < threshold` accepts the pair as the same person. FMR is the share of
impostor pairs accepted, FNMR the share of genuine pairs refused, TAR = 1 - FNMR.

Every figure is computed from weighted pairs, so that a resample of `bootstrap` is no more than
other weights.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from faceverify.evaluation.bootstrap import (
    FiguresByRow,
    Resampling,
    bounded,
    flat,
    negative_points,
    scratch,
    with_intervals,
)

# The score of a pair without an answer: above every theta and every distance of descriptors, so
# that it is refused whatever the threshold.
NO_ANSWER = 4.0
# An FMR of one in `n` needs this many times `n` impostor pairs to be more than a few chance hits.
_IMPOSTORS_PER_STEP = 10
# The FMR as "one in n" keeps the comparison of counts exact.
_TAR_POINTS = {"tar_at_fmr_1pct": 100, "tar_at_fmr_0.1pct": 1000}


class Thresholds(NamedTuple):
    """Three thresholds of a model's score: a pair that scores below one is accepted by it.

    `threshold` is that of `accuracy`, `accept_threshold` that of the product, and
    `fitted_threshold` the best one for the training people.
    """

    threshold: float
    accept_threshold: float
    fitted_threshold: float


class _Ranking(NamedTuple):
    """The G genuine pairs in ascending order of score, then the I impostor pairs likewise.

    Operating point k accepts the pairs with the k lowest of the K distinct scores.
    """

    order: np.ndarray  # (G + I,) the pairs' places in the caller's order
    distinct: np.ndarray  # (K,) ascending
    genuine_ends: np.ndarray  # (K + 1,) how many genuine pairs point k accepts
    impostor_ends: np.ndarray  # (K + 1,) how many impostor pairs it accepts
    genuine_below: np.ndarray  # (I,) how many genuine pairs score lower than an impostor pair
    genuine_up_to: np.ndarray  # (I,) how many score no higher


class _Accepted(NamedTuple):
    """The accepted weight of R rows of weights at each operating point.

    Weights are whole numbers: sums are exact in any order, and NumPy adds them up quickest. The
    arrays are `bootstrap.scratch`, which the thread overwrites with the next rows.
    """

    ranking: _Ranking
    weights: np.ndarray  # (R, I) of the impostor pairs, ascending by score
    genuine_sums: np.ndarray  # (R, G + 1) weight of the first 0, 1 ... G genuine pairs
    impostor_sums: np.ndarray  # (R, I + 1)

    def genuine(self, points: np.ndarray) -> np.ndarray:
        """Accepted weight of genuine pairs at each row's own points, (R, n)."""
        return np.take_along_axis(self.genuine_sums, self.ranking.genuine_ends[points], axis=1)

    def impostor(self, points: np.ndarray) -> np.ndarray:
        """Accepted weight of impostor pairs at each row's own points, (R, n)."""
        return np.take_along_axis(self.impostor_sums, self.ranking.impostor_ends[points], axis=1)

    def both_at(self, point: int) -> tuple[np.ndarray, np.ndarray]:
        """Accepted weight of genuine and of impostor pairs at one point of all rows, (R,) each."""
        points = np.full((len(self.weights), 1), point)
        return self.genuine(points)[:, 0], self.impostor(points)[:, 0]

    @property
    def size(self) -> tuple[int, int]:
        """How many rows of weights R and how many operating points K + 1 there are."""
        return len(self.weights), len(self.ranking.genuine_ends)

    @property
    def genuine_total(self) -> np.ndarray:
        """Weight of all genuine pairs, (R,)."""
        return self.genuine_sums[:, -1]

    @property
    def impostor_total(self) -> np.ndarray:
        """Weight of all impostor pairs, (R,)."""
        return self.impostor_sums[:, -1]

    @property
    def both_kinds(self) -> np.ndarray:
        """Product of the two totals, (R,); 0 where what compares the two kinds is undefined."""
        return self.genuine_total * self.impostor_total


class _Points(NamedTuple):
    """The operating points at the three `Thresholds`."""

    threshold: int
    accept: int
    fitted: int


def fitted_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The threshold with the largest share of right decisions.

    `scores` (P,) are distances and `same` (P,) is true for genuine pairs. The threshold lies midway
    between neighbouring distinct scores; among equally good ones it is the lowest, which accepts
    fewest. Where refusing all is best it is the lowest score, where accepting all is best the next
    number above the highest; for no pairs 0.0. Raises ValueError on bad shapes or scores.
    """
    scores, same = _checked_pairs(scores, same)
    if not scores.size:
        return 0.0
    ranking = _ranking(scores, same)
    point = int(np.argmax(ranking.genuine_ends - ranking.impostor_ends))
    highest = float(_thresholds(ranking)[point])
    if point == 0:
        return highest
    below = float(ranking.distinct[point - 1])
    midway = (below + highest) / 2
    # Between neighbouring floats the middle rounds to one of them, perhaps the one to accept.
    return midway if below < midway <= highest else highest


def roc(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FMR, TAR and threshold of every operating point, ascending, each (K + 1,).

    The first point refuses all pairs, (0, 0); each distinct score adds one; the last accepts all,
    (1, 1). `score < thresholds[k]` gives exactly the rates of point k. The rate of a kind of pair
    that does not occur is NaN; without any pairs the arrays are empty. Raises ValueError on bad
    shapes or scores.
    """
    scores, same = _checked_pairs(scores, same)
    if not scores.size:
        return np.empty(0), np.empty(0), np.empty(0)
    ranking = _ranking(scores, same)
    fmr, tar = (
        _ratio(ends, np.full(ends.shape, ends[-1]))
        for ends in (ranking.impostor_ends, ranking.genuine_ends)
    )
    return fmr, tar, _thresholds(ranking)


def measure(
    scores: np.ndarray,
    same: np.ndarray,
    identities: np.ndarray,
    thresholds: Thresholds,
    resampling: Resampling,
) -> dict[str, float | None]:
    """The verification figures of P pairs, each with `<name>_low` and `<name>_high`.

    `scores` (P,) are distances, `same` (P,) is true for genuine pairs, `identities` (P, 2) says who
    is on the first and the second photo. In order, all in 0..1 and rounded to 6 decimals:
    `accuracy`, the share of right decisions at `threshold`; `accuracy_fitted`, the same at
    `fitted_threshold`, which was fitted on other people; `auc`, ties half; `eer`, by linear
    interpolation between the two operating points around FMR = FNMR; `fmr` and `fnmr` at
    `accept_threshold`; `tar_at_fmr_1pct` and `tar_at_fmr_0.1pct`, the highest TAR of an operating
    point with at most that FMR, given from 1,000 and 10,000 impostor pairs on.

    Low and high are the ends of its 95% interval over people, see `bootstrap`, which for `fmr` and
    `fnmr` are `bootstrap.bounded`. A figure that cannot be computed is None. Raises ValueError on
    bad shapes, scores or thresholds, or where `same` and `identities` disagree.
    """
    scores, same = _checked_pairs(scores, same)
    identities = _checked_identities(identities, same)
    ranking = _ranking(scores, same)
    points = _Points(*(_operating_point(ranking, threshold) for threshold in thresholds))

    def figures(weights: np.ndarray) -> FiguresByRow:
        return _pair_figures(_accepted(ranking, weights), points, np.count_nonzero(~same))

    estimates = with_intervals(figures, identities[ranking.order], resampling)
    for name, kind in (("fmr", ~same), ("fnmr", same)):
        estimates[name] = bounded(estimates[name], identities[kind])
    return flat(estimates)


def share(
    name: str, mask: np.ndarray, same: np.ndarray, identities: np.ndarray, resampling: Resampling
) -> dict[str, float | None]:
    """The share of pairs that a mask (P,) marks, as `name`, with `_low` and `_high`.

    The rest is as for `measure`.
    """
    same = _checked_mask(same, len(mask), "same")
    order = np.argsort(~same, kind="stable")  # the genuine pairs first
    marked = np.asarray(mask, bool)[order].astype(int)

    def figures(weights: np.ndarray) -> FiguresByRow:
        return {name: _ratio(weights @ marked, weights.sum(axis=1))}

    return flat(with_intervals(figures, _checked_identities(identities, same)[order], resampling))


def auc_difference(
    scores: np.ndarray,
    others: np.ndarray,
    same: np.ndarray,
    identities: np.ndarray,
    resampling: Resampling,
) -> dict[str, float | None]:
    """The AUC of `others` less that of `scores`, both scores of the same pairs.

    As `auc_difference`, with `_low` and `_high`. Both are scored on each resample of the people, so
    what moves them together does not widen the interval. The rest is as for `measure`.
    """
    pairs = [_checked_pairs(values, same) for values in (scores, others)]
    same = pairs[0][1]
    identities = _checked_identities(identities, same)
    first, second = (_ranking(values, same) for values, _ in pairs)
    # Where in the first order the pairs of the second one are.
    places = np.argsort(first.order)[second.order]

    def figures(weights: np.ndarray) -> FiguresByRow:
        before = _auc(_accepted(first, weights))
        after = _auc(_accepted(second, scratch.columns("reordered", weights, places)))
        return {"auc_difference": after - before}

    return flat(with_intervals(figures, identities[first.order], resampling))


def group_error_rates(
    scores: np.ndarray,
    same: np.ndarray,
    identities: np.ndarray,
    groups: Mapping[str, np.ndarray],
    threshold: float,
    resampling: Resampling,
) -> dict[str, dict[str, float | int | None]]:
    """FMR and FNMR at `threshold` in groups of pairs.

    `groups` maps a name to a bool mask (P,) of the pairs in the group; groups may overlap. The rest
    is as for `measure`; the people are drawn from all pairs, the same draws for each group. Each
    group has `fmr` and `fnmr`, with `_low` and `_high`, and the counts `genuine`, `impostor` and
    `people`. Intervals are `bootstrap.bounded`.
    """
    scores, same = _checked_pairs(scores, same)
    identities = _checked_identities(identities, same)
    masks = {name: _checked_mask(mask, len(same), f"group {name}") for name, mask in groups.items()}
    order, figures = _rates(scores, same, masks, threshold)
    estimates = with_intervals(figures, identities[order], resampling)
    person = np.unique(identities, return_inverse=True)[1].reshape(identities.shape)
    rates = {}
    for name, mask in masks.items():
        kinds = {"fmr": mask & ~same, "fnmr": mask & same}
        found = {rate: bounded(estimates[name, rate], person[kind]) for rate, kind in kinds.items()}
        rates[name] = flat(found) | {
            "genuine": int(np.count_nonzero(kinds["fnmr"])),
            "impostor": int(np.count_nonzero(kinds["fmr"])),
            "people": _people(person[mask]),
        }
    return rates


def fmr_shares(
    scores: np.ndarray,
    same: np.ndarray,
    identities: np.ndarray,
    contrasts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    threshold: float,
    resampling: Resampling,
) -> dict[str, dict[str, float | None]]:
    """a / (a + b) for the FMR a and b, at `threshold`, of two groups of pairs.

    `contrasts` maps a name to the masks (P,) of both groups. The share, `share` with `_low` and
    `_high`, says how many times as high one FMR is, share / (1 - share), and is finite where b is
    0. Both are taken from each resample; one in which both are 0 counts as equal, 1/2. The rest is
    as for `group_error_rates`.
    """
    scores, same = _checked_pairs(scores, same)
    identities = _checked_identities(identities, same)
    masks = {
        (name, side): _checked_mask(mask, len(same), f"group of {name}")
        for name, sides in contrasts.items()
        for side, mask in enumerate(sides)
    }
    order, rates = _rates(scores, same, masks, threshold)

    def figures(weights: np.ndarray) -> FiguresByRow:
        known, found = rates(weights), {}
        for name in contrasts:
            first, second = (known[(name, side), "fmr"] for side in (0, 1))
            found[name] = np.where(first + second == 0, 0.5, _ratio(first, first + second))
        return found

    found = with_intervals(figures, identities[order], resampling)
    return {name: flat({"share": values}) for name, values in found.items()}


def _rates(
    scores: np.ndarray, same: np.ndarray, masks: Mapping[object, np.ndarray], threshold: float
) -> tuple[np.ndarray, Callable[[np.ndarray], FiguresByRow]]:
    """FMR and FNMR of groups, for `with_intervals`: the order of the pairs, and the function.

    The order (P,) has the genuine pairs first; the function takes weights in this order, (R, P),
    and names its figures (group, "fmr") and (group, "fnmr").
    """
    wrong = (scores < _checked_threshold(threshold)) != same
    # Pairs alike in all that counts here are added up first, once for all groups. The first trait
    # sorts before the others.
    traits = np.stack([~same, wrong, *masks.values()], axis=1)
    kinds, kind_of = np.unique(traits, axis=0, return_inverse=True)
    order = np.argsort(kind_of.reshape(-1), kind="stable")
    starts = np.flatnonzero(np.diff(kind_of.reshape(-1)[order], prepend=-1))
    parts = {
        (name, rate): inside & (kinds[:, 0] == impostor)
        for name, inside in zip(masks, kinds.T[2:], strict=True)
        for rate, impostor in (("fmr", True), ("fnmr", False))
    }
    inside = np.array(list(parts.values()), int).reshape(len(parts), len(kinds))
    mistaken = inside * kinds[:, 1]

    def rates(weights: np.ndarray) -> FiguresByRow:
        by_kind = np.add.reduceat(weights, starts, axis=1)
        return dict(zip(parts, _ratio(mistaken @ by_kind.T, inside @ by_kind.T), strict=True))

    return order, rates


def _people(person: np.ndarray) -> int:
    """How many people are on some pairs (P, 2) of people numbered from 0."""
    return int(np.count_nonzero(np.bincount(person.ravel())))


def _checked_pairs(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores as float64 (P,) and `same` as bool (P,); ValueError where they cannot be."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1:
        raise ValueError(f"scores must have one dimension, not shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite")
    return scores, _checked_mask(same, scores.size, "same")


def _checked_mask(mask: np.ndarray, pairs: int, name: str) -> np.ndarray:
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != (pairs,):
        raise ValueError(f"{name} has shape {mask.shape}, not one value for each of {pairs} scores")
    return mask


def _checked_identities(identities: np.ndarray, same: np.ndarray) -> np.ndarray:
    identities = np.asarray(identities)
    if identities.shape != (same.size, 2):
        raise ValueError(f"identities has shape {identities.shape}, not {(same.size, 2)}")
    contrary = np.count_nonzero((identities[:, 0] == identities[:, 1]) != same)
    if contrary:
        raise ValueError(f"same and identities disagree on {contrary} pairs")
    return identities


def _checked_threshold(threshold: float) -> float:
    if np.isnan(threshold):
        raise ValueError("a threshold is not a number")
    return threshold


def _ranking(scores: np.ndarray, same: np.ndarray) -> _Ranking:
    order = np.lexsort((scores, ~same))
    genuine, impostor = np.split(scores[order], [np.count_nonzero(same)])
    distinct = np.unique(scores)
    ends = (np.searchsorted(part, distinct, side="right") for part in (genuine, impostor))
    sides = (np.searchsorted(genuine, impostor, side=side) for side in ("left", "right"))
    return _Ranking(order, distinct, *(np.append(0, end) for end in ends), *sides)


def _thresholds(ranking: _Ranking) -> np.ndarray:
    """The highest threshold of each operating point, (K + 1,); there is at least one score."""
    return np.append(ranking.distinct, np.nextafter(ranking.distinct[-1], np.inf))


def _operating_point(ranking: _Ranking, threshold: float) -> int:
    """The operating point at a threshold: how many distinct scores are below it."""
    return int(np.searchsorted(ranking.distinct, _checked_threshold(threshold), side="left"))


def _accepted(ranking: _Ranking, weights: np.ndarray) -> _Accepted:
    """The running sums of `weights` (R, G + I), whose columns are in the order of the ranking."""

    def sums(kind: str, part: np.ndarray) -> np.ndarray:
        running = scratch.array(f"sums of {kind} pairs", (len(part), part.shape[1] + 1))
        running[:, 0] = 0
        np.cumsum(part, axis=1, out=running[:, 1:])
        return running

    genuine, impostor = np.split(weights, [ranking.genuine_ends[-1]], axis=1)
    return _Accepted(ranking, impostor, sums("genuine", genuine), sums("impostor", impostor))


def _pair_figures(accepted: _Accepted, points: _Points, impostors: int) -> FiguresByRow:
    """The figures of `measure`; `impostors` counts the impostor pairs, unweighted."""
    genuine, impostor = accepted.both_at(points.accept)
    found = {
        "accuracy": _accuracy(accepted, points.threshold),
        "accuracy_fitted": _accuracy(accepted, points.fitted),
        "auc": _auc(accepted),
        "eer": _eer(accepted),
        "fmr": _ratio(impostor, accepted.impostor_total),
        "fnmr": _ratio(accepted.genuine_total - genuine, accepted.genuine_total),
    }
    for name, one_in in _TAR_POINTS.items():
        enough = impostors >= _IMPOSTORS_PER_STEP * one_in
        found[name] = _tar(accepted, one_in) if enough else np.full(len(genuine), np.nan)
    return found


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, NaN where `whole` is 0."""
    undefined = np.full(part.shape, np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)


def _accuracy(accepted: _Accepted, point: int) -> np.ndarray:
    genuine, impostor = accepted.both_at(point)
    total = accepted.genuine_total + accepted.impostor_total
    return _ratio(genuine + accepted.impostor_total - impostor, total)


def _auc(accepted: _Accepted) -> np.ndarray:
    # An impostor score outdoes the genuine scores below it, and half of those equal to it.
    ranking = accepted.ranking
    below, up_to = ranking.genuine_below, ranking.genuine_up_to
    twice_outdone = scratch.columns("outdone", accepted.genuine_sums, below)
    twice_outdone += scratch.columns("at most equal", accepted.genuine_sums, up_to)
    outdone = np.einsum("ri,ri->r", accepted.weights, twice_outdone)
    return _ratio(outdone, 2 * accepted.both_kinds)


def _eer(accepted: _Accepted) -> np.ndarray:
    genuine_total = accepted.genuine_total[:, None]
    impostor_total = accepted.impostor_total[:, None]

    def gap(points: np.ndarray) -> np.ndarray:
        # FMR - FNMR, times both totals: whole numbers that never fall along the operating points.
        fmr, tar = accepted.impostor(points) * genuine_total, accepted.genuine(points)
        return fmr + tar * impostor_total - genuine_total * impostor_total

    after = negative_points(gap, *accepted.size)
    before = np.maximum(after - 1, 0)  # undefined rows have a gap of 0 throughout
    ends = np.stack([before, after], axis=1)
    lower, upper = gap(ends).T
    start, end = accepted.impostor(ends).T
    share = _ratio(-lower, upper - lower)
    return _ratio(start + share * (end - start), accepted.impostor_total)


def _tar(accepted: _Accepted, one_in: int) -> np.ndarray:
    """The highest TAR with an FMR of at most 1 / `one_in`, (R,)."""

    def excess(points: np.ndarray) -> np.ndarray:
        return accepted.impostor(points) * one_in - accepted.impostor_total[:, None] - 1

    point = negative_points(excess, *accepted.size) - 1
    genuine = accepted.genuine(point[:, None])[:, 0]
    return _ratio(genuine * accepted.impostor_total, accepted.both_kinds)
