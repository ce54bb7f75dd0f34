"""What a judged list shows, as the values of `report.json`."""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from faceverify.base.errors import InputError
from faceverify.evaluation import plot_data
from faceverify.evaluation.bootstrap import Resampling, flat
from faceverify.faces import dlib_descriptor
from faceverify.judge import figures, findings
from faceverify.judge.figures import REFUSED, Judged, Scored
from faceverify.judge.labelled_pairs import LabelledPairs
from faceverify.judge.scoring import Scores
from faceverify.verify.verifier import SLOTS

VERIFIER, DLIB = "verifier", "dlib"
RESAMPLING = Resampling(resamples=1000, seed=2356)
FMRS = {"1pct": Fraction(1, 100), "0.1pct": Fraction(1, 1000), "0.01pct": Fraction(1, 10_000)}
# Pairs of each kind of error that are shown.
WORST = 12


class Question(NamedTuple):
    """What is asked of the scores.

    `threshold`: the verifier's, radians. `fmr`: a wanted FMR beside FMRS, or None. `wrong`:
    bool (P,), the pairs whose labels a person says are wrong; None where nobody said so.
    """

    threshold: float
    fmr: Fraction | None
    wrong: np.ndarray | None


def make(pairs: LabelledPairs, scores: Scores, question: Question) -> dict[str, Any]:
    """All values of a report, rates in [0, 1], angles in radians.

    Pairs are named by their `row`, from 0, in scores.csv. Raises InputError where no pair is left
    without those whose labels are wrong.
    """
    models = _models(scores, question.threshold)
    found = {
        "threshold": question.threshold,
        "pairs": _counts(pairs, scores),
        "no_answer": _no_answer(pairs, scores),
        **_measured(pairs, scores, question),
        "curves": {name: _curve(model, pairs.same) for name, model in models.items()},
        "histograms": {name: _histogram(model, pairs.same) for name, model in models.items()},
        "worst": {
            kind: [_pair(pairs, scores, row) for row in rows]
            for kind, rows in findings.worst(
                scores.theta, pairs.same, question.threshold, WORST
            ).items()
        },
    }
    if scores.distance is not None:
        rows = findings.suspected(scores, pairs.same, question.threshold, dlib_descriptor.THRESHOLD)
        found["suspected_labels"] = [_pair(pairs, scores, row) for row in rows]
    if question.wrong is not None:
        if question.wrong.all():
            raise InputError("no pair is left without those whose labels are said to be wrong")
        kept = _measured(pairs.without(question.wrong), scores.without(question.wrong), question)
        found["without_wrong_labels"] = {"left_out": int(question.wrong.sum()), **kept}
    return found


def _models(scores: Scores, threshold: float) -> dict[str, Scored]:
    found = {VERIFIER: Scored(_refused(scores.theta), threshold)}
    if scores.distance is not None:
        found[DLIB] = Scored(_refused(scores.distance), dlib_descriptor.THRESHOLD)
    return found


def _refused(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(scores), REFUSED, scores)


def _measured(pairs: LabelledPairs, scores: Scores, question: Question) -> dict[str, Any]:
    """The figures of all models, and in what each is better."""
    fmrs = dict(FMRS)
    if question.fmr is not None and question.fmr not in fmrs.values():
        fmrs[f"{float(100 * question.fmr):g}pct"] = question.fmr
    judged = Judged(pairs.same, pairs.units(), pairs.groups, fmrs)
    models = _models(scores, question.threshold)
    found = figures.measure(models, judged, RESAMPLING)
    share = figures.no_answer_share(~scores.answered, judged, RESAMPLING)
    found["no_answer_share"] = flat({"no_answer": share})
    if len(models) == 2:
        found["better"] = figures.verdicts(found["differences"], list(models))
    return found


def _counts(pairs: LabelledPairs, scores: Scores) -> dict[str, Any]:
    used = np.unique(pairs.pairs)
    return {
        "genuine": int(pairs.same.sum()),
        "impostor": int((~pairs.same).sum()),
        "photos": len(used),
        "people": None if pairs.people is None else len(np.unique(pairs.people[used])),
        "drawn": "photos" if pairs.people is None else "people",
        "identical_files": int(scores.identical.sum()),
    }


def _no_answer(pairs: LabelledPairs, scores: Scores) -> dict[str, Any]:
    """How many pairs, by label, have no answer, and the reasons: photos and pairs by slot."""
    silent = ~scores.answered
    reasons = []
    for place, code in enumerate(scores.reasons):
        for slot, name in enumerate(SLOTS):
            mask = scores.reason[:, slot] == place
            if mask.any():
                photos = len(np.unique(pairs.pairs[mask, slot]))
                reasons.append(
                    {"reason": code, "slot": name, "photos": photos, "pairs": int(mask.sum())}
                )
    reasons.sort(key=lambda reason: -reason["pairs"])
    return {
        "genuine": int((silent & pairs.same).sum()),
        "impostor": int((silent & ~pairs.same).sum()),
        "reasons": reasons,
    }


def _curve(model: Scored, same: np.ndarray) -> list[dict[str, float]]:
    """The DET curve; it ends where every pair that has an answer is accepted."""
    answered = np.isfinite(model.scores)
    beyond = np.max(model.scores[answered], initial=model.threshold) + 1
    points = plot_data.operating_points(np.minimum(model.scores, beyond), same)
    if not answered.all():
        points = points[:-1]  # the point that accepts refusals
    return points.to_dict("records")


def _histogram(model: Scored, same: np.ndarray) -> list[dict[str, Any]]:
    answered = np.isfinite(model.scores)
    table = plot_data.histogram(
        model.scores[answered], same[answered], model.threshold, model.threshold
    )
    return table.drop(columns=["threshold", "accept_threshold"]).to_dict("records")


def _pair(pairs: LabelledPairs, scores: Scores, row: int) -> dict[str, Any]:
    first, second = (pairs.photos[photo] for photo in pairs.pairs[row])
    found = {
        "row": row,
        "first": first,
        "second": second,
        "same": bool(pairs.same[row]),
        "theta": round(float(scores.theta[row]), 6),
    }
    if scores.distance is not None:
        found[DLIB] = round(float(scores.distance[row]), 6)
    return found
