"""Whether two runs of the same code, parameters and data differ by rounding, or in earnest."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from faceverify.base.errors import InputError

MOST_PAIRS = 2000
# Radians, or units of dlib's distance. Between what other instruction sets and numbers of cores do
# to a score and what a changed parameter does: docs/drift.md has the measured figures.
TOLERANCE = 1e-4
IDENTICAL, NOISE, REAL = "identical", "numerical noise", "a real change"
PAIR = ["first", "second", "same"]


def thetas(
    scores: Mapping[str, np.ndarray], photos: np.ndarray, same: np.ndarray, seed: int
) -> pd.DataFrame:
    """The scores to keep of a run: `first`, `second`, `same` (0 or 1), and a column a model.

    `scores` gives each model's scores (P,), `photos` (P, 2) the names of each pair's photos. Of
    more than `MOST_PAIRS` pairs so many are drawn, evenly; scores have 6 decimals.
    """
    rows = np.arange(len(same))
    if len(rows) > MOST_PAIRS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_PAIRS, replace=False))
    names = photos[rows]
    pairs = {"first": names[:, 0], "second": names[:, 1], "same": same[rows].astype(int)}
    values = {name: np.round(model_scores[rows], 6) for name, model_scores in scores.items()}
    return pd.DataFrame(pairs | values)


class Drift(NamedTuple):
    """How far a model's scores moved, and how many pairs it decides otherwise."""

    largest: float  # of the absolute differences, in the scores' unit
    median: float
    changed: dict[float, int]  # threshold -> pairs
    # Largest distance from the threshold, by old score, among changed decisions; 0 without any.
    farthest: float


def parse(text: str, where: str) -> pd.DataFrame:
    """Read what `thetas` gave; InputError, which says `where`, for anything else."""
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{where} is not a table: {error}") from None
    # Rows longer than the first line would become the names of rows.
    named = isinstance(table.index, pd.RangeIndex) and list(table.columns[: len(PAIR)]) == PAIR
    if not named or len(table.columns) == len(PAIR):
        raise InputError(f"{where}, line 1: expected the columns {','.join(PAIR)} and the models'")
    for name in table.columns[len(PAIR) :]:
        table[name] = pd.to_numeric(table[name], errors="coerce")
        if not (finite := np.isfinite(table[name])).all():
            raise InputError(f"{where}, line {finite.idxmin() + 2}: {name} is not a number")
    return table


def compare(
    old: pd.DataFrame, new: pd.DataFrame, thresholds: Mapping[str, Sequence[float]]
) -> dict[str, Drift]:
    """Hold two runs' `thetas` against each other: model -> how its scores moved.

    `thresholds` are those at which each model decides. Raises InputError where the two have other
    pairs or other models.
    """
    if not old[PAIR].equals(new[PAIR]):
        raise InputError(
            "the two runs judge other pairs of photos, so their scores cannot be compared; "
            "see which stage's outputs differ: `dvc diff`"
        )
    if list(old.columns) != list(new.columns):
        raise InputError("the two runs have other models, so they cannot be compared")
    models = old.columns[len(PAIR) :]
    if unknown := sorted(set(models) - set(thresholds)):
        raise InputError(f"no threshold of {unknown[0]} is known; run `dvc repro evaluate`")
    return {name: _drift(old[name], new[name], thresholds[name]) for name in models}


def _drift(old: pd.Series, new: pd.Series, thresholds: Sequence[float]) -> Drift:
    moved = (new - old).abs()
    otherwise = {limit: (old < limit) != (new < limit) for limit in thresholds}
    distances = [(old[mask] - limit).abs().max() for limit, mask in otherwise.items() if mask.any()]
    return Drift(
        float(moved.max()),
        float(moved.median()),
        {limit: int(mask.sum()) for limit, mask in otherwise.items()},
        float(max(distances, default=0)),
    )


def verdict(moved: Mapping[str, Drift]) -> str:
    """Whether no score moved, all by rounding at most and without another decision, or more."""
    if all(found.largest == 0 for found in moved.values()):
        return IDENTICAL
    near = all(found.largest <= TOLERANCE for found in moved.values())
    decided_alike = not any(count for found in moved.values() for count in found.changed.values())
    return NOISE if near and decided_alike else REAL
