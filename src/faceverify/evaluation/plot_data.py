"""Tables of the plots: ROC and DET points, histograms, decisions, group rates, training curves."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from faceverify.base.errors import MadeFileError
from faceverify.base.files import content, read_json
from faceverify.evaluation import metrics
from faceverify.evaluation.summary import ENDS

POINTS, BINS = 100, 40
KINDS = ("genuine", "impostor")
SAME, DIFFERENT = "same person", "different people"
ACCEPTED, REFUSED = "accepted", "refused"
# Column of the training curves -> name of the figure in the training's log.
TRAINING = {
    "contrastive_loss": "targetD_contrastive",
    "pairwise_accuracy": "targetD_accuracy",
    "landmark_error": "target0_landmark_error",
}
CURVE_BYTES = 2**24  # the largest file of a curve


def operating_points(scores: np.ndarray, same: np.ndarray) -> pd.DataFrame:
    """Points of the ROC and DET curve, FMR ascending: `threshold`, `fmr`, `tar`, `fnmr`.

    About as many for each decade of FMR as of FNMR, at most `2 * POINTS + 2`. FMR and FNMR are kept
    half a pair away from 0 and 1, which logarithmic and normal-deviate axes do not have. Empty
    where one kind of pair is missing.
    """
    impostors, genuine = np.count_nonzero(~same), np.count_nonzero(same)
    if not impostors or not genuine:
        return pd.DataFrame({"threshold": [], "fmr": [], "tar": [], "fnmr": []})
    fmr, tar, thresholds = metrics.roc(scores, same)
    by_fmr = np.searchsorted(fmr, np.geomspace(0.5 / impostors, 1, POINTS), side="right") - 1
    by_fnmr = np.searchsorted(tar, 1 - np.geomspace(0.5 / genuine, 1, POINTS), side="left")
    keep = np.unique(np.concatenate([[0, len(fmr) - 1], by_fmr, by_fnmr]))
    return pd.DataFrame(
        {
            "threshold": thresholds[keep],
            "fmr": _within(fmr[keep], impostors),
            "tar": tar[keep],
            "fnmr": _within(1 - tar[keep], genuine),
        }
    ).round(6)


def operating_points_by_model(scores: Mapping[str, np.ndarray], same: np.ndarray) -> pd.DataFrame:
    """The `operating_points` of several models on the same pairs, with a first column `model`."""
    parts = []
    for name, values in scores.items():
        parts.append(operating_points(values, same))
        parts[-1].insert(0, "model", name)
    return pd.concat(parts)


def _within(rates: np.ndarray, pairs: int) -> np.ndarray:
    return np.clip(rates, 0.5 / pairs, 1 - 0.5 / pairs)


def histogram(
    scores: np.ndarray, same: np.ndarray, threshold: float, accept_threshold: float
) -> pd.DataFrame:
    """The histogram of the scores, in BINS bins from 0 on, of genuine and of impostor pairs.

    Columns: `start` and `end` of the bin, `kind` of KINDS, `share` of that kind in [0, 1], and both
    thresholds. Pairs without an answer count in the shares and are in no bin.
    """
    answered = scores[scores < metrics.NO_ANSWER]
    edges = np.linspace(0, np.max(answered, initial=accept_threshold), BINS + 1)
    parts = [
        pd.DataFrame(
            {
                "start": edges[:-1],
                "end": edges[1:],
                "kind": kind,
                "share": np.histogram(scores[mask], edges)[0] / max(mask.sum(), 1),
                "threshold": threshold,
                "accept_threshold": accept_threshold,
            }
        )
        for kind, mask in zip(KINDS, (same, ~same), strict=True)
    ]
    return pd.concat(parts).round(6)


def decisions(scores: np.ndarray, same: np.ndarray, accept_threshold: float) -> pd.DataFrame:
    """The confusion table: how many pairs, by `actual` and `predicted`, in the column `pairs`."""
    accepted = scores < accept_threshold
    counts = [
        (SAME, ACCEPTED, same & accepted),
        (SAME, REFUSED, same & ~accepted),
        (DIFFERENT, ACCEPTED, ~same & accepted),
        (DIFFERENT, REFUSED, ~same & ~accepted),
    ]
    return pd.DataFrame(
        [(actual, predicted, int(mask.sum())) for actual, predicted, mask in counts],
        columns=["actual", "predicted", "pairs"],
    )


def group_rates(groups: Mapping[str, Mapping[str, float | int | None]]) -> pd.DataFrame:
    """Error rates by group: `group`, `rate` (FMR or FNMR), `value`, `low`, `high`, `pairs`.

    `groups` is what `metrics.group_error_rates` gives. A rate without pairs has no numbers, one of
    too few people no interval: their rows name what is missing.
    """
    rows = [
        (group, name.upper(), *(found[f"{name}{end}"] for end in ENDS), found[kind])
        for name, kind in (("fmr", "impostor"), ("fnmr", "genuine"))
        for group, found in groups.items()
    ]
    return pd.DataFrame(rows, columns=["group", "rate", "value", "low", "high", "pairs"])


def training_curves(folder: Path, members: Iterable[str]) -> pd.DataFrame:
    """Training curves of all members: `member`, `split`, `epoch` from 1, `kept`, and TRAINING.

    `folder` has what DVCLive wrote for each member, in a folder of the member's name. `kept` is 1
    in the rows of the epoch whose weights are the model's, else 0. Raises MadeFileError for a file
    that is missing or damaged.
    """
    parts = []
    for member in members:
        report = folder / member / "metrics.json"
        values = read_json(report)
        kept = values.get("kept_epoch") if isinstance(values, dict) else None
        for split in ("train", "val"):
            place = folder / member / "plots" / "metrics" / split
            curves = {figure: _curve(place, name) for figure, name in TRAINING.items()}
            epochs = np.arange(1, len(curves["contrastive_loss"]) + 1)
            if {len(curve) for curve in curves.values()} != {len(epochs)} or kept not in epochs:
                raise MadeFileError(f"{place} and {report.name} do not have the same epochs")
            table = pd.DataFrame({"epoch": epochs, "kept": (epochs == kept).astype(int), **curves})
            table.insert(0, "member", member)
            table.insert(1, "split", split)
            parts.append(table)
    return pd.concat(parts)


def _curve(folder: Path, name: str) -> np.ndarray:
    """The values of a figure after each epoch, float64 (epochs,), from DVCLive's table."""
    path = folder / f"{name}.tsv"
    try:
        _, *rows = content(path, CURVE_BYTES).decode("ascii").splitlines()
        steps, values = np.array([row.split("\t") for row in rows], float).T
    except FileNotFoundError:
        raise MadeFileError(f"{path} is missing") from None
    except ValueError:
        raise MadeFileError(f"{path} is not a training curve") from None
    if not np.array_equal(steps, np.arange(len(steps))):
        raise MadeFileError(f"{path} does not have a row for each epoch")
    return values
