"""Verification statistics: error rates, ROC figures and their intervals over people.

A score is a distance: `score < threshold` accepts the pair as the same person. FMR is the share of
impostor pairs accepted, FNMR the share of genuine pairs refused, TAR = 1 - FNMR.

Every figure is computed from weighted pairs: the estimate itself has all weights 1, and each
resample of the bootstrap over identities has its own weights (Bolle, Ratha, Pankanti, "Error
analysis of pattern recognition systems: the subsets bootstrap", CVIU 93, 2004). Pairs that share a
person are not independent, so people are drawn, never pairs.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import joblib
import numpy as np

# Weights that a thread works on at once (resamples x pairs), 8 bytes each: what a core's own cache
# holds. A longer list of pairs is taken whole, one resample at a time.
_CHUNK_WEIGHTS = 50_000
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
    """Pairs in ascending order of score; K distinct scores among P pairs."""

    order: np.ndarray  # (P,) positions that sort the pairs
    genuine: np.ndarray  # (P,) bool, sorted
    distinct: np.ndarray  # (K,) ascending
    ends: np.ndarray  # (K + 1,) how many pairs score at most distinct[k - 1]; 0 for k = 0


class _Accepted(NamedTuple):
    """Accepted weight at operating point k, which accepts the k lowest distinct scores.

    Weights are whole numbers: sums are exact in any order, and NumPy adds them up quickest.
    """

    genuine: np.ndarray  # (R, K + 1)
    impostor: np.ndarray  # (R, K + 1)

    @property
    def genuine_total(self) -> np.ndarray:
        """Weight of all genuine pairs, (R,)."""
        return self.genuine[:, -1]

    @property
    def impostor_total(self) -> np.ndarray:
        """Weight of all impostor pairs, (R,)."""
        return self.impostor[:, -1]

    @property
    def both_kinds(self) -> np.ndarray:
        """Product of the two totals, (R,); 0 where what compares the two kinds is undefined."""
        return self.genuine_total * self.impostor_total


class _Resampling(NamedTuple):
    """Pairs in the order in which their weights are wanted, and how people are drawn."""

    identities: np.ndarray  # (P, 2)
    same: np.ndarray  # (P,)
    resamples: int
    seed: int


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
    accepted = _accepted(ranking, np.ones((1, scores.size), int))
    point = int(np.argmax(accepted.genuine[0] - accepted.impostor[0]))
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
    accepted = _accepted(ranking, np.ones((1, scores.size), int))
    fmr = _ratio(accepted.impostor, accepted.impostor_total[:, None])[0]
    tar = _ratio(accepted.genuine, accepted.genuine_total[:, None])[0]
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

    resampling = _Resampling(identities[ranking.order], ranking.genuine, resamples, seed)
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

    def figures(weights: np.ndarray) -> _Figures:
        before, after = (_auc(_accepted(r, weights[:, r.order])) for r in (first, second))
        return {"auc_difference": after - before}

    return _flat(_with_intervals(figures, _Resampling(identities, same, resamples, seed)))


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
    resampling = _Resampling(identities[order], same[order], resamples, seed)
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

    found = _with_intervals(figures, _Resampling(identities[order], same[order], resamples, seed))
    return {name: _flat({"share": values}) for name, values in found.items()}


def _rates(
    scores: np.ndarray, same: np.ndarray, masks: Mapping[object, np.ndarray], threshold: float
) -> tuple[np.ndarray, Callable[[np.ndarray], _Figures]]:
    """Give an order of the pairs, and what computes (group, rate) from weights in that order."""
    wrong = (scores < _checked_threshold(threshold)) != same
    # Pairs alike in all that counts here are added up first, once for all groups.
    traits = np.stack([same, wrong, *masks.values()], axis=1)
    kinds, kind_of = np.unique(traits, axis=0, return_inverse=True)
    order = np.argsort(kind_of.reshape(-1), kind="stable")
    starts = np.flatnonzero(np.diff(kind_of.reshape(-1)[order], prepend=-1))
    parts = {
        (name, rate): inside & (kinds[:, 0] == genuine)
        for name, inside in zip(masks, kinds.T[2:], strict=True)
        for rate, genuine in (("fmr", False), ("fnmr", True))
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
    order = np.argsort(scores, kind="stable")
    distinct, counts = np.unique(scores, return_counts=True)
    ends = np.concatenate(([0], np.cumsum(counts)))
    return _Ranking(order, same[order], distinct, ends)


def _thresholds(ranking: _Ranking) -> np.ndarray:
    """Give the highest threshold of each operating point, (K + 1,), of at least one score."""
    return np.append(ranking.distinct, np.nextafter(ranking.distinct[-1], np.inf))


def _operating_point(ranking: _Ranking, threshold: float) -> int:
    """Give how many distinct scores are below `threshold`."""
    return int(np.searchsorted(ranking.distinct, _checked_threshold(threshold), side="left"))


def _accepted(ranking: _Ranking, weights: np.ndarray) -> _Accepted:
    """Add up `weights` (R, P), whose columns are in the order of the ranking."""

    def at_ends(kind: np.ndarray) -> np.ndarray:
        running = np.zeros((len(weights), weights.shape[1] + 1), weights.dtype)
        np.cumsum(weights * kind, axis=1, out=running[:, 1:])
        return np.take(running, ranking.ends, axis=1)

    return _Accepted(at_ends(ranking.genuine), at_ends(~ranking.genuine))


def _pair_figures(accepted: _Accepted, points: _Points, impostors: int) -> _Figures:
    """Compute the figures of `measure`; `impostors` is how many impostor pairs there really are."""
    refused = accepted.genuine_total - accepted.genuine[:, points.accept]
    found = {
        "accuracy": _accuracy(accepted, points.threshold),
        "accuracy_fitted": _accuracy(accepted, points.fitted),
        "auc": _auc(accepted),
        "eer": _eer(accepted),
        "fmr": _ratio(accepted.impostor[:, points.accept], accepted.impostor_total),
        "fnmr": _ratio(refused, accepted.genuine_total),
    }
    for name, one_in in _TAR_POINTS.items():
        enough = impostors >= _IMPOSTORS_PER_STEP * one_in
        found[name] = _tar(accepted, one_in) if enough else np.full(len(refused), np.nan)
    return found


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; NaN where `whole` is 0."""
    undefined = np.full(part.shape, np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)


def _accuracy(accepted: _Accepted, point: int) -> np.ndarray:
    refused = accepted.impostor_total - accepted.impostor[:, point]
    total = accepted.genuine_total + accepted.impostor_total
    return _ratio(accepted.genuine[:, point] + refused, total)


def _auc(accepted: _Accepted) -> np.ndarray:
    # An impostor score outdoes the genuine scores below it, and half of those equal to it.
    impostors = np.diff(accepted.impostor, axis=1)
    twice_outdone = accepted.genuine[:, 1:] + accepted.genuine[:, :-1]
    return _ratio(np.einsum("rk,rk->r", impostors, twice_outdone), 2 * accepted.both_kinds)


def _eer(accepted: _Accepted) -> np.ndarray:
    # FMR - FNMR, times both totals: whole numbers that never fall along the operating points.
    gap = accepted.impostor * accepted.genuine_total[:, None]
    gap += accepted.genuine * accepted.impostor_total[:, None]
    gap -= accepted.both_kinds[:, None]
    rows = np.arange(len(gap))
    after = np.count_nonzero(gap < 0, axis=1)
    before = np.maximum(after - 1, 0)  # undefined rows have a gap of 0 throughout
    share = _ratio(-gap[rows, before], gap[rows, after] - gap[rows, before])
    start, end = accepted.impostor[rows, before], accepted.impostor[rows, after]
    return _ratio(start + share * (end - start), accepted.impostor_total)


def _tar(accepted: _Accepted, one_in: int) -> np.ndarray:
    """Give the highest TAR with an FMR of at most 1 / `one_in`, (R,)."""
    allowed = accepted.impostor * one_in <= accepted.impostor_total[:, None]
    point = np.count_nonzero(allowed, axis=1) - 1
    genuine = accepted.genuine[np.arange(len(point)), point]
    return _ratio(genuine * accepted.impostor_total, accepted.both_kinds)


def _drawn(resampling: _Resampling, people: int) -> Iterator[np.ndarray]:
    """Yield how often each person is drawn, (R, people + 1), in chunks of resamples.

    Each resample draws as many people as there are, with replacement. A last column is 1.
    """
    random = np.random.default_rng(resampling.seed)
    rows = max(1, _CHUNK_WEIGHTS // resampling.same.size)
    for done in range(0, resampling.resamples, rows):
        drawn = np.ones((min(rows, resampling.resamples - done), people + 1), int)
        for times in drawn:
            times[:-1] = np.bincount(random.integers(people, size=people), minlength=people)
        yield drawn


def _resampled(
    figures: Callable[[np.ndarray], _Figures], resampling: _Resampling
) -> list[_Figures]:
    """Compute figures on the weights of each resample, in chunks, on all cores.

    With n_i how often person i was drawn, a genuine pair of i weighs n_i, an impostor pair of
    i and j weighs n_i * n_j.
    """
    names, index = np.unique(resampling.identities, return_inverse=True)
    first, second = index.reshape(resampling.identities.shape).T
    # The last column makes the weight of a genuine pair a product as well.
    second = np.where(resampling.same, len(names), second)

    def chunk(drawn: np.ndarray) -> _Figures:
        weights = np.take(drawn, first, axis=1)
        weights *= np.take(drawn, second, axis=1)
        return figures(weights)

    jobs = (joblib.delayed(chunk)(drawn) for drawn in _drawn(resampling, len(names)))
    # Threads: NumPy's loops run side by side, and the pairs are copied to nobody.
    return joblib.Parallel(n_jobs=-1, backend="threading")(jobs)


def _with_intervals(
    figures: Callable[[np.ndarray], _Figures], resampling: _Resampling
) -> dict[object, tuple[float | None, float | None, float | None]]:
    """Give each figure as (estimate, low, high), None where undefined."""
    pairs = resampling.same.size
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
