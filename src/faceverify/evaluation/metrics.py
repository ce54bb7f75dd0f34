"""Verification statistics: error rates, ROC figures and their intervals over people.

A score is a distance: `score < threshold` accepts the pair as the same person. FMR is the share of
impostor pairs accepted, FNMR the share of genuine pairs refused, TAR = 1 - FNMR.

Every figure is computed from weighted pairs: the estimate itself has all weights 1, and each
resample of the bootstrap over identities has its own weights (Bolle, Ratha, Pankanti, "Error
analysis of pattern recognition systems: the subsets bootstrap", CVIU 93, 2004). Pairs that share a
person are not independent, so people are drawn, never pairs.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import joblib
import numpy as np

# Weights that a thread works on at once (resamples x pairs), 8 bytes each, in some six arrays: with
# fewer, Python's own time counts, with more, they leave the processor's last cache. A longer list
# of pairs is taken whole, one resample at a time.
_CHUNK_WEIGHTS = 400_000
_PERCENTILES = (2.5, 97.5)
# An FMR of one in `n` needs this many times `n` impostor pairs to be more than a few chance hits.
_IMPOSTORS_PER_STEP = 10
# Resampling fewer people than this says nothing of what others would do.
_FEWEST_PEOPLE = 3
# The FMR as "one in n" keeps the comparison of counts exact.
_TAR_POINTS = {"tar_at_fmr_1pct": 100, "tar_at_fmr_0.1pct": 1000}

# Name of a figure -> its value in each row of weights, (R,), NaN where it is undefined.
_Figures = dict[object, np.ndarray]


class _Ranking(NamedTuple):
    """Pairs in ascending order of score, the G genuine ones before the I impostor ones.

    Operating point k accepts the k lowest of the K distinct scores.
    """

    order: np.ndarray  # (G + I,) positions that sort the pairs so
    distinct: np.ndarray  # (K,) ascending
    genuine_ends: np.ndarray  # (K + 1,) how many genuine pairs point k accepts
    impostor_ends: np.ndarray  # (K + 1,) how many impostor pairs it accepts
    genuine_below: np.ndarray  # (I,) how many genuine pairs score lower than an impostor pair
    genuine_up_to: np.ndarray  # (I,) how many score no higher


class _Accepted(NamedTuple):
    """The accepted weight of R rows of weights at each operating point.

    Weights are whole numbers: sums are exact in any order, and NumPy adds them up quickest. The
    arrays are a thread's `_Scratch`, and last until it computes the next ones.
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


class _Resampling(NamedTuple):
    """Pairs in the order in which their weights are wanted, and how people are drawn."""

    identities: np.ndarray  # (P, 2)
    genuine: int  # how many pairs, the first ones, are genuine
    resamples: int
    seed: int


class _Scratch(threading.local):
    """Large arrays of whole numbers that a thread uses again and again.

    The system gives new memory page by page, which takes longer than what is done in it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        """An array for one purpose, filled with anything; the last one of that name is given up."""
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, int)
        return self._kept[name][:size].reshape(shape)

    def columns(self, name: str, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Some columns (n,) of `values` (R, m), in such an array (R, n)."""
        into = self.array(name, (len(values), len(chosen)))
        # The mode is one in which NumPy writes there at once; all `chosen` are columns.
        return np.take(values, chosen, axis=1, out=into, mode="clip")


_scratch = _Scratch()


class _Points(NamedTuple):
    """The operating points of the thresholds that `measure` is given."""

    threshold: int
    fitted: int
    accept: int


def fitted_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Give the threshold with the largest share of right decisions.

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
    """Give FMR, TAR and threshold of every operating point, ascending, each (K + 1,).

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
    *,
    threshold: float,
    accept_threshold: float,
    fitted_threshold: float,
    resamples: int,
    seed: int,
) -> dict[str, float | None]:
    """Give the verification figures of P pairs, each with `<name>_low` and `<name>_high`.

    `scores` (P,) are distances, `same` (P,) is true for genuine pairs, `identities` (P, 2) says who
    is on the first and the second photo. In order, all in 0..1 and rounded to 6 decimals:
    `accuracy`, the share of right decisions at `threshold`; `accuracy_fitted`, the same at
    `fitted_threshold`, which was fitted on other people; `auc`, ties half; `eer`, by linear
    interpolation between the two operating points around FMR = FNMR; `fmr` and `fnmr` at
    `accept_threshold`; `tar_at_fmr_1pct` and `tar_at_fmr_0.1pct`, the highest TAR of an operating
    point with at most that FMR, given from 1,000 and 10,000 impostor pairs on.

    Low and high are the 2.5 and 97.5 percentiles over `resamples` resamples of the people, without
    those in which the figure is undefined. None is a figure that cannot be computed. Raises
    ValueError on bad shapes, scores or thresholds, or where `same` and `identities` disagree.
    """
    scores, same = _checked_pairs(scores, same)
    identities = _checked_identities(identities, same)
    ranking = _ranking(scores, same)
    points = _Points(
        *(_operating_point(ranking, at) for at in (threshold, fitted_threshold, accept_threshold))
    )

    def figures(weights: np.ndarray) -> _Figures:
        return _pair_figures(_accepted(ranking, weights), points, np.count_nonzero(~same))

    resampling = _Resampling(identities[ranking.order], np.count_nonzero(same), resamples, seed)
    return _flat(_with_intervals(figures, resampling))


def auc_difference(
    scores: np.ndarray,
    others: np.ndarray,
    same: np.ndarray,
    identities: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> dict[str, float | None]:
    """Give how much higher the AUC of `others` is than that of `scores`, for the same pairs.

    `auc_difference`, with `_low` and `_high`. Both are scored on each resample of the people, so
    what moves them together does not widen the interval. The rest is as for `measure`.
    """
    pairs = [_checked_pairs(values, same) for values in (scores, others)]
    same = pairs[0][1]
    identities = _checked_identities(identities, same)
    first, second = (_ranking(values, same) for values, _ in pairs)
    # Where in the first order the pairs of the second one are.
    places = np.argsort(first.order)[second.order]

    def figures(weights: np.ndarray) -> _Figures:
        before = _auc(_accepted(first, weights))
        after = _auc(_accepted(second, _scratch.columns("reordered", weights, places)))
        return {"auc_difference": after - before}

    resampling = _Resampling(identities[first.order], np.count_nonzero(same), resamples, seed)
    return _flat(_with_intervals(figures, resampling))


def group_error_rates(
    scores: np.ndarray,
    same: np.ndarray,
    identities: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    threshold: float,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, float | int | None]]:
    """Give FMR and FNMR at `threshold` in groups of pairs.

    `groups` maps a name to a bool mask (P,) of the pairs in the group; groups may overlap. The rest
    is as for `measure`; the people are drawn from all pairs, the same draws for each group. Each
    group has `fmr` and `fnmr`, with `_low` and `_high`, and the counts `genuine`, `impostor` and
    `people`. A rate of fewer than three people has no interval. Where no pair errs, or all do,
    resampling shows no spread: the far end is then where as many independent trials, one for each
    pair of people (FNMR: each person), would show no error once in 40 times.
    """
    scores, same = _checked_pairs(scores, same)
    identities = _checked_identities(identities, same)
    masks = {name: _checked_mask(mask, len(same), f"group {name}") for name, mask in groups.items()}
    order, figures = _rates(scores, same, masks, threshold)
    resampling = _Resampling(identities[order], np.count_nonzero(same), resamples, seed)
    estimates = _with_intervals(figures, resampling)
    person = np.unique(identities, return_inverse=True)[1].reshape(identities.shape)
    rates = {}
    for name, mask in masks.items():
        kinds = {"fmr": mask & ~same, "fnmr": mask & same}
        found = {
            rate: _bounded(estimates[name, rate], person[kind]) for rate, kind in kinds.items()
        }
        rates[name] = _flat(found) | {
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
    *,
    threshold: float,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, float | None]]:
    """Give a / (a + b) for the FMR a and b, at `threshold`, of two groups of pairs.

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

    def figures(weights: np.ndarray) -> _Figures:
        known, found = rates(weights), {}
        for name in contrasts:
            first, second = (known[(name, side), "fmr"] for side in (0, 1))
            found[name] = np.where(first + second == 0, 0.5, _ratio(first, first + second))
        return found

    resampling = _Resampling(identities[order], np.count_nonzero(same), resamples, seed)
    found = _with_intervals(figures, resampling)
    return {name: _flat({"share": values}) for name, values in found.items()}


def _rates(
    scores: np.ndarray, same: np.ndarray, masks: Mapping[object, np.ndarray], threshold: float
) -> tuple[np.ndarray, Callable[[np.ndarray], _Figures]]:
    """Give an order of the pairs, genuine ones first, and what computes (group, rate) in it."""
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

    def rates(weights: np.ndarray) -> _Figures:
        by_kind = np.add.reduceat(weights, starts, axis=1)
        return dict(zip(parts, _ratio(mistaken @ by_kind.T, inside @ by_kind.T), strict=True))

    return order, rates


def _people(person: np.ndarray) -> int:
    """Count the different people, numbered from 0, of some pairs (P, 2)."""
    return int(np.count_nonzero(np.bincount(person.ravel())))


def _bounded(rate: tuple[float | None, ...], person: np.ndarray) -> tuple[float | None, ...]:
    """Mend the interval of a rate, of pairs of `person` (P, 2), where resampling cannot give it."""
    value, low, high = rate
    if _people(person) < _FEWEST_PEOPLE:
        return value, None, None
    if value in (0, 1) and low is not None:
        trials = len(np.unique(np.sort(person, axis=1), axis=0))
        rare = _plain((_PERCENTILES[0] / 100) ** (1 / trials))
        low, high = (low, _plain(1 - rare)) if value == 0 else (rare, high)
    return value, low, high


def _checked_pairs(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    """Give the highest threshold of each operating point, (K + 1,), of at least one score."""
    return np.append(ranking.distinct, np.nextafter(ranking.distinct[-1], np.inf))


def _operating_point(ranking: _Ranking, threshold: float) -> int:
    """Give how many distinct scores are below `threshold`."""
    return int(np.searchsorted(ranking.distinct, _checked_threshold(threshold), side="left"))


def _accepted(ranking: _Ranking, weights: np.ndarray) -> _Accepted:
    """Add up `weights` (R, G + I), whose columns are in the order of the ranking."""

    def sums(kind: str, part: np.ndarray) -> np.ndarray:
        running = _scratch.array(f"sums of {kind} pairs", (len(part), part.shape[1] + 1))
        running[:, 0] = 0
        np.cumsum(part, axis=1, out=running[:, 1:])
        return running

    genuine, impostor = np.split(weights, [ranking.genuine_ends[-1]], axis=1)
    return _Accepted(ranking, impostor, sums("genuine", genuine), sums("impostor", impostor))


def _pair_figures(accepted: _Accepted, points: _Points, impostors: int) -> _Figures:
    """Compute the figures of `measure`; `impostors` is how many impostor pairs there really are."""
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
    """Divide; NaN where `whole` is 0."""
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
    twice_outdone = _scratch.columns("outdone", accepted.genuine_sums, below)
    twice_outdone += _scratch.columns("at most equal", accepted.genuine_sums, up_to)
    outdone = np.einsum("ri,ri->r", accepted.weights, twice_outdone)
    return _ratio(outdone, 2 * accepted.both_kinds)


def _eer(accepted: _Accepted) -> np.ndarray:
    genuine_total = accepted.genuine_total[:, None]
    impostor_total = accepted.impostor_total[:, None]

    def gap(points: np.ndarray) -> np.ndarray:
        # FMR - FNMR, times both totals: whole numbers that never fall along the operating points.
        fmr, tar = accepted.impostor(points) * genuine_total, accepted.genuine(points)
        return fmr + tar * impostor_total - genuine_total * impostor_total

    after = _negative_points(gap, accepted)
    before = np.maximum(after - 1, 0)  # undefined rows have a gap of 0 throughout
    ends = np.stack([before, after], axis=1)
    lower, upper = gap(ends).T
    start, end = accepted.impostor(ends).T
    share = _ratio(-lower, upper - lower)
    return _ratio(start + share * (end - start), accepted.impostor_total)


def _tar(accepted: _Accepted, one_in: int) -> np.ndarray:
    """Give the highest TAR with an FMR of at most 1 / `one_in`, (R,)."""

    def excess(points: np.ndarray) -> np.ndarray:
        return accepted.impostor(points) * one_in - accepted.impostor_total[:, None] - 1

    point = _negative_points(excess, accepted) - 1
    genuine = accepted.genuine(point[:, None])[:, 0]
    return _ratio(genuine * accepted.impostor_total, accepted.both_kinds)


def _negative_points(values: Callable[[np.ndarray], np.ndarray], accepted: _Accepted) -> np.ndarray:
    """Count the operating points of each row, (R,), at which `values` is negative.

    `values` gives a number for each row's points (R, n), which never falls along them: a look at
    one of every `step` points, and at those from the last negative one to the next, is enough.
    """
    rows, count = len(accepted.weights), len(accepted.ranking.genuine_ends)
    step = math.isqrt(count)
    coarse = np.broadcast_to(np.arange(0, count, step), (rows, -(-count // step)))
    seen = np.count_nonzero(values(coarse) < 0, axis=1)
    start = np.maximum(seen - 1, 0)[:, None] * step
    fine = start + np.arange(step)
    negative = (values(np.minimum(fine, count - 1)) < 0) & (fine < count)
    return start[:, 0] + np.count_nonzero(negative, axis=1)


def _drawn(resampling: _Resampling, people: int) -> Iterator[np.ndarray]:
    """Yield how often each person is drawn, (R, people), in chunks of resamples.

    Each resample draws as many people as there are, with replacement.
    """
    random = np.random.default_rng(resampling.seed)
    rows = max(1, _CHUNK_WEIGHTS // len(resampling.identities))
    for done in range(0, resampling.resamples, rows):
        yield np.stack(
            [
                np.bincount(random.integers(people, size=people), minlength=people)
                for _ in range(min(rows, resampling.resamples - done))
            ]
        )


def _resampled(
    figures: Callable[[np.ndarray], _Figures], resampling: _Resampling
) -> list[_Figures]:
    """Compute figures on the weights of each resample, in chunks, on all cores.

    With n_i how often person i was drawn, a genuine pair of i weighs n_i, an impostor pair of
    i and j weighs n_i * n_j.
    """
    names, index = np.unique(resampling.identities, return_inverse=True)
    first, second = index.reshape(resampling.identities.shape).T
    second = second[resampling.genuine :]

    def chunk(drawn: np.ndarray) -> _Figures:
        weights = _scratch.columns("weights", drawn, first)
        weights[:, resampling.genuine :] *= _scratch.columns("second person", drawn, second)
        return figures(weights)

    jobs = (joblib.delayed(chunk)(drawn) for drawn in _drawn(resampling, len(names)))
    # Threads: NumPy's loops run side by side, and the pairs are copied to nobody.
    return joblib.Parallel(n_jobs=-1, backend="threading")(jobs)


def _with_intervals(
    figures: Callable[[np.ndarray], _Figures], resampling: _Resampling
) -> dict[object, tuple[float | None, float | None, float | None]]:
    """Give each figure as (estimate, low, high), None where undefined."""
    pairs = len(resampling.identities)
    estimates = figures(np.ones((1, pairs), int))
    chunks = _resampled(figures, resampling) if pairs else []
    found = {}
    for name, (estimate,) in estimates.items():
        values = np.concatenate([np.empty(0), *(chunk[name] for chunk in chunks)])
        defined = values[~np.isnan(values)]
        interval = np.percentile(defined, _PERCENTILES) if defined.size else (np.nan, np.nan)
        found[name] = tuple(_plain(value) for value in (estimate, *interval))
    return found


def _flat(estimates: dict[object, tuple[float | None, ...]]) -> dict[str, float | None]:
    """Give estimate, low and high of each figure keys of their own."""
    return {
        f"{name}{suffix}": value
        for name, values in estimates.items()
        for suffix, value in zip(("", "_low", "_high"), values, strict=True)
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
