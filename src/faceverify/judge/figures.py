"""The figures of a judged list: error rates, TAR and angles at wanted FMRs, with 95% intervals.

What a resample draws are people where they are named, and photos elsewhere; all figures, of both
models and of their difference, are taken from the same draws. A pair without an answer counts as
refused at every threshold.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from faceverify.evaluation.bootstrap import (
    Estimate,
    FiguresByRow,
    Resampling,
    bounded,
    flat,
    scratch,
    with_intervals,
)
from faceverify.judge.labelled_pairs import Groups

ALL = "all pairs"
REFUSED = np.inf  # the score of a pair without an answer
# An FMR of one in `n` needs this many times `n` impostor pairs to be more than a few chance hits.
IMPOSTORS_PER_STEP = 10
RATES = ("fmr", "fnmr")
# Name of a figure -> whether more of it is better. TARs, named by their FMR, are too.
MORE_IS_BETTER = {"fmr": False, "fnmr": False, "auc": True}


class Scored(NamedTuple):
    """What a model says of P pairs: distances, float64 (P,), accepted below the threshold.

    REFUSED without an answer.
    """

    scores: np.ndarray
    threshold: float


class Judged(NamedTuple):
    """P labelled pairs, and what is asked of them.

    `same`: bool (P,). `units`: int (P, 2), what is drawn of both photos. `groups`: which pairs
    count apart. `fmrs`: the wanted false match rates, by what they are called.
    """

    same: np.ndarray
    units: np.ndarray
    groups: Groups
    fmrs: Mapping[str, Fraction]


class _Ranked(NamedTuple):
    """A model's pairs, as columns of the weights."""

    genuine: np.ndarray  # (G,) ascending by score
    impostor: np.ndarray  # (I,) ascending by score
    thresholds: np.ndarray  # (I,) the highest that does not accept an impostor pair
    below: np.ndarray  # (I,) how many genuine pairs score lower than an impostor pair
    up_to: np.ndarray  # (I,) how many score no higher
    by_kind: np.ndarray  # (P,) sorted by the kind: code of the group, label, mistake
    starts: np.ndarray  # (K,) where each kind begins
    kinds: np.ndarray  # (K, 3) code, same, wrong


def measure(
    models: Mapping[str, Scored], judged: Judged, resampling: Resampling
) -> dict[str, dict]:
    """The figures of some models of the same pairs.

    `models`: name -> `figures` (auc, and tar_at_fmr_... where enough impostor pairs exist, each
    with `_low` and `_high`), `thresholds` (by the name of the wanted FMR, in the same way) and
    `rates` (by row, ALL first: fmr and fnmr at the threshold with `_low` and `_high`, and the
    counts `genuine`, `impostor`). `differences`: for two models, how much higher a figure is for
    the second, by its name. All are rounded to 6 decimals, None where undefined.
    """
    order = np.argsort(judged.units[:, 0] != judged.units[:, 1], kind="stable")
    ordered = judged._replace(
        same=judged.same[order], units=judged.units[order],
        groups=judged.groups._replace(code=judged.groups.code[order]),
    )  # fmt: skip
    functions = {
        name: _figures(model._replace(scores=model.scores[order]), ordered)
        for name, model in models.items()
    }

    def figures(weights: np.ndarray) -> FiguresByRow:
        found = {
            (name, *figure): values
            for name, function in functions.items()
            for figure, values in function(weights).items()
        }
        if len(models) == 2:
            first, second = models
            for kind, name in _compared(judged.fmrs):
                difference = found[second, kind, name] - found[first, kind, name]
                found["difference", kind, name] = difference
        return found

    estimates = with_intervals(figures, ordered.units, resampling)
    report = {name: _report(name, estimates, ordered) for name in models}
    differences = {
        name: estimates["difference", kind, name]
        for kind, name in _compared(judged.fmrs)
        if len(models) == 2
    }
    return {"models": report, "differences": flat(differences)}


def _compared(fmrs: Mapping[str, Fraction]) -> list[tuple[str, str]]:
    """Kind and name of the figures that two models are compared by."""
    rates = [(ALL, rate) for rate in RATES]
    return [*rates, ("figure", "auc"), *(("figure", tar_name(name)) for name in fmrs)]


def tar_name(fmr: str) -> str:
    """The name of the TAR at a wanted FMR, by what that is called."""
    return f"tar_at_fmr_{fmr}"


def verdicts(differences: Mapping[str, float | None], models: Sequence[str]) -> dict[str, str]:
    """Which of two models is better in each compared figure; empty where the interval has 0."""
    first, second = models
    found = {}
    for name in (key for key in differences if f"{key}_low" in differences):
        low, high = differences[f"{name}_low"], differences[f"{name}_high"]
        found[name] = ""
        if None not in (low, high) and not low <= 0 <= high:
            found[name] = second if (low > 0) == MORE_IS_BETTER.get(name, True) else first
    return found


def _figures(model: Scored, judged: Judged) -> Callable[[np.ndarray], FiguresByRow]:
    """What computes a model's figures from weights (R, P) in the order of its scores (P,)."""
    ranked = _ranked(model, judged)
    impostors = len(ranked.impostor)
    enough = {
        name: fmr for name, fmr in judged.fmrs.items() if fmr * impostors >= IMPOSTORS_PER_STEP
    }

    def figures(weights: np.ndarray) -> FiguresByRow:
        undefined = np.full(len(weights), np.nan)
        genuine, impostor = _sums(ranked, weights)
        found = {("figure", "auc"): _auc(ranked, weights, genuine)}
        for name, fmr in judged.fmrs.items():
            tar, threshold = (
                _at_fmr(ranked, genuine, impostor, fmr) if name in enough else [undefined] * 2
            )
            found |= {("figure", tar_name(name)): tar, ("threshold", name): threshold}
        return found | _rates(ranked, weights, judged.groups.rows)

    return figures


def _ranked(model: Scored, judged: Judged) -> _Ranked:
    scores, same = model.scores, judged.same
    genuine, impostor = (
        mask[np.argsort(scores[mask], kind="stable")]
        for mask in (np.flatnonzero(same), np.flatnonzero(~same))
    )
    sides = (
        np.searchsorted(scores[genuine], scores[impostor], side=side) for side in ("left", "right")
    )
    wrong = (scores < model.threshold) != same
    traits = np.stack([judged.groups.code, same, wrong], axis=1)
    kinds, kind_of = np.unique(traits, axis=0, return_inverse=True)
    by_kind = np.argsort(kind_of.reshape(-1), kind="stable")
    starts = np.flatnonzero(np.diff(kind_of.reshape(-1)[by_kind], prepend=-1))
    # The threshold that accepts every answer stands for those that would accept a refusal.
    answers = scores[np.isfinite(scores)]
    most = np.nextafter(np.max(answers, initial=0), np.inf)
    thresholds = np.minimum(scores[impostor], most)
    return _Ranked(genuine, impostor, thresholds, *sides, by_kind, starts, kinds)


def _sums(ranked: _Ranked, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the first 0 ... G genuine, and 0 ... I impostor pairs: (R, G + 1), (R, I + 1)."""
    found = []
    for name, columns in (("genuine", ranked.genuine), ("impostor", ranked.impostor)):
        sums = scratch.array(f"judged {name} sums", (len(weights), len(columns) + 1))
        sums[:, 0] = 0
        np.cumsum(scratch.columns(f"judged {name}", weights, columns), axis=1, out=sums[:, 1:])
        found.append(sums)
    return tuple(found)


def _auc(ranked: _Ranked, weights: np.ndarray, genuine: np.ndarray) -> np.ndarray:
    # An impostor pair outdoes the genuine pairs that score lower, and half of those equal to it.
    impostor = scratch.columns("judged impostor", weights, ranked.impostor)
    twice = scratch.columns("judged below", genuine, ranked.below)
    twice += scratch.columns("judged up to", genuine, ranked.up_to)
    total = 2 * genuine[:, -1] * impostor.sum(axis=1)
    return _ratio(np.einsum("ri,ri->r", impostor, twice), total)


def _at_fmr(
    ranked: _Ranked, genuine: np.ndarray, impostor: np.ndarray, fmr: Fraction
) -> tuple[np.ndarray, np.ndarray]:
    """The highest TAR with at most this FMR, and the highest threshold that gives it, (R,) each."""
    total = impostor[:, -1:]
    # The first impostor pair that must not be accepted.
    place = np.count_nonzero(impostor[:, 1:] * fmr.denominator <= total * fmr.numerator, axis=1)
    defined = (place < len(ranked.impostor)) & (genuine[:, -1] > 0)
    place = np.minimum(place, len(ranked.impostor) - 1)
    accepted = np.take_along_axis(genuine, ranked.below[place][:, None], axis=1)[:, 0]
    tar = np.where(defined, _ratio(accepted, genuine[:, -1]), np.nan)
    threshold = np.where(total[:, 0] > 0, ranked.thresholds[place], np.nan)
    return tar, threshold


def _rates(ranked: _Ranked, weights: np.ndarray, rows: Mapping[str, Sequence[int]]) -> FiguresByRow:
    ordered = scratch.columns("judged kinds", weights, ranked.by_kind)
    sums = np.add.reduceat(ordered, ranked.starts, axis=1)  # (R, K)
    code, same, wrong = ranked.kinds.T
    found = {}
    for row, codes in {ALL: None, **rows}.items():
        inside = np.ones(len(code), bool) if codes is None else np.isin(code, codes)
        for rate, kind in (("fmr", inside & (same == 0)), ("fnmr", inside & (same == 1))):
            total = sums[:, kind].sum(axis=1)
            found[row, rate] = _ratio(sums[:, kind & (wrong == 1)].sum(axis=1), total)
    return found


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; NaN where `whole` is 0."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _report(model: str, estimates: Mapping[object, Estimate], judged: Judged) -> dict:
    """A model's figures of `measure`."""
    names = ["auc", *map(tar_name, judged.fmrs)]
    rates = {}
    for row, codes in {ALL: None, **judged.groups.rows}.items():
        inside = True if codes is None else np.isin(judged.groups.code, codes)
        kinds = {"fmr": inside & ~judged.same, "fnmr": inside & judged.same}
        found = {
            rate: bounded(estimates[model, row, rate], judged.units[mask])
            for rate, mask in kinds.items()
        }
        rates[row] = flat(found) | {
            "genuine": int(kinds["fnmr"].sum()),
            "impostor": int(kinds["fmr"].sum()),
        }
    return {
        "figures": flat({name: estimates[model, "figure", name] for name in names}),
        "thresholds": flat({name: estimates[model, "threshold", name] for name in judged.fmrs}),
        "rates": rates,
    }


def no_answer_share(silent: np.ndarray, judged: Judged, resampling: Resampling) -> Estimate:
    """The share of the pairs that a mask (P,) marks as without an answer, with its interval."""
    order = np.argsort(judged.units[:, 0] != judged.units[:, 1], kind="stable")
    marked = silent[order].astype(int)

    def figures(weights: np.ndarray) -> FiguresByRow:
        return {"share": _ratio(weights @ marked, weights.sum(axis=1))}

    share = with_intervals(figures, judged.units[order], resampling)["share"]
    return bounded(share, judged.units)
