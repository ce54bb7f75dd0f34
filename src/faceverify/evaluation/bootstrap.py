"""Confidence intervals of verification figures: a bootstrap over the people on the photos.

FiguresByRow are computed from weighted pairs: the estimate gives each pair the weight 1, and every
resample of the people gives the pairs other weights (Bolle, Ratha, Pankanti, "Error analysis of
pattern recognition systems: the subsets bootstrap", CVIU 93, 2004). Pairs that share a person are
not independent, so people are drawn, never pairs.
"""

import math
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import joblib
import numpy as np

from faceverify.evaluation.summary import ENDS

# Weights that a thread works on at once (resamples x pairs), 8 bytes each, in some six arrays: with
# fewer, Python's own time counts, with more, they leave the processor's last cache. A longer list
# of pairs is taken whole, one resample at a time.
CHUNK_WEIGHTS = 400_000
PERCENTILES = (2.5, 97.5)  # a 95% interval
# Resampling fewer people, or photos, says nothing of what others would do.
FEWEST_UNITS = 3

# Name of a figure -> its value for each row of weights, (R,), NaN where it is undefined.
FiguresByRow = dict[object, np.ndarray]
# A figure of all pairs, and the low and high end of its interval; None where undefined.
Estimate = tuple[float | None, float | None, float | None]


class Resampling(NamedTuple):
    """How many times the people are drawn anew, and the seed of these draws."""

    resamples: int
    seed: int


class ScratchArrays(threading.local):
    """Large integer arrays that each thread allocates once and overwrites from then on.

    The system gives new memory page by page, which takes longer than the arithmetic done in it.
    """

    def __init__(self) -> None:
        """Begin without an array, in every thread."""
        self._kept: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        """An uninitialised array; it overwrites the thread's previous one of this name."""
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, int)
        return self._kept[name][:size].reshape(shape)

    def columns(self, name: str, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """`values[:, chosen]` as the array of this name: columns (n,) of (R, m) as (R, n)."""
        into = self.array(name, (len(values), len(chosen)))
        # With "raise", the default, NumPy would fill a copy first. All `chosen` are columns.
        return np.take(values, chosen, axis=1, out=into, mode="clip")


scratch = ScratchArrays()


def with_intervals(
    figures: Callable[[np.ndarray], FiguresByRow], identities: np.ndarray, resampling: Resampling
) -> dict[object, Estimate]:
    """Each figure of P pairs with its 95% interval over people.

    `figures` computes them from weights (R, P), a row for each resample. `identities` (P, 2) are
    the people of each pair, genuine pairs first. The interval lies between the 2.5 and 97.5
    percentiles of those resamples in which the figure is defined.
    """
    pairs = len(identities)
    estimates = figures(np.ones((1, pairs), int))
    chunks = _of_resamples(figures, identities, resampling) if pairs else []
    found = {}
    for name, (estimate,) in estimates.items():
        values = np.concatenate([np.empty(0), *(chunk[name] for chunk in chunks)])
        defined = values[~np.isnan(values)]
        interval = np.percentile(defined, PERCENTILES) if defined.size else (np.nan, np.nan)
        found[name] = tuple(rounded(value) for value in (estimate, *interval))
    return found


def _of_resamples(
    figures: Callable[[np.ndarray], FiguresByRow], identities: np.ndarray, resampling: Resampling
) -> list[FiguresByRow]:
    """The figures of all resamples, a chunk of resamples at a time, on all cores.

    Where person i is drawn n_i times, a genuine pair of i weighs n_i, and an impostor pair of
    i and j weighs n_i * n_j.
    """
    people, index = np.unique(identities, return_inverse=True)
    first, second = index.reshape(identities.shape).T
    genuine = np.count_nonzero(first == second)
    second = second[genuine:]

    def chunk(drawn: np.ndarray) -> FiguresByRow:
        weights = scratch.columns("weights", drawn, first)
        weights[:, genuine:] *= scratch.columns("second person", drawn, second)
        return figures(weights)

    draws = _draws(len(people), max(1, CHUNK_WEIGHTS // len(identities)), resampling)
    # Threads: NumPy's loops run side by side, and the pairs are copied to nobody.
    return joblib.Parallel(n_jobs=-1, backend="threading")(map(joblib.delayed(chunk), draws))


def _draws(people: int, rows: int, resampling: Resampling) -> Iterator[np.ndarray]:
    """How often each person is drawn in each resample, (R, people), at most `rows` at a time.

    A resample draws as many people as there are, with replacement.
    """
    random = np.random.default_rng(resampling.seed)
    for done in range(0, resampling.resamples, rows):
        yield np.stack(
            [
                np.bincount(random.integers(people, size=people), minlength=people)
                for _ in range(min(rows, resampling.resamples - done))
            ]
        )


def negative_points(
    values: Callable[[np.ndarray], np.ndarray], rows: int, count: int
) -> np.ndarray:
    """How many of the points 0 to `count` - 1 have a negative value, in each of R rows, (R,).

    `values` gives the values of some points of each row, (R, n) -> (R, n). Along the points they
    never fall: it is enough to look at every `step`th point, and then at those between the last
    negative one of them and the next.
    """
    step = math.isqrt(count)
    coarse = np.broadcast_to(np.arange(0, count, step), (rows, -(-count // step)))
    seen = np.count_nonzero(values(coarse) < 0, axis=1)
    start = np.maximum(seen - 1, 0)[:, None] * step
    fine = start + np.arange(step)
    negative = (values(np.minimum(fine, count - 1)) < 0) & (fine < count)
    return start[:, 0] + np.count_nonzero(negative, axis=1)


def bounded(rate: Estimate, units: np.ndarray) -> Estimate:
    """An error rate of pairs, its interval replaced where resampling says nothing.

    `units` (P, 2) are what is drawn of both photos of each pair: people, or photos. A rate of fewer
    than FEWEST_UNITS has no interval. Where no pair errs, or all do, resampling shows no spread:
    the far end is then where as many independent trials, one for each two units (or each one, of
    genuine pairs), would show no error once in 40 times.
    """
    value, low, high = rate
    if len(np.unique(units)) < FEWEST_UNITS:
        return value, None, None
    if value in (0, 1) and low is not None:
        trials = len(np.unique(np.sort(units, axis=1), axis=0))
        rare = rounded((PERCENTILES[0] / 100) ** (1 / trials))
        low, high = (low, rounded(1 - rare)) if value == 0 else (rare, high)
    return value, low, high


def flat(estimates: dict[object, Estimate]) -> dict[str, float | None]:
    """`<name>`, `<name>_low` and `<name>_high` of each figure, as keys of one dictionary."""
    return {
        f"{name}{end}": value
        for name, values in estimates.items()
        for end, value in zip(ENDS, values, strict=True)
    }


def rounded(value: float) -> float | None:
    """A figure with six decimals, None for NaN."""
    return None if np.isnan(value) else round(float(value), 6)
