"""Pairs that a person should look at: the worst errors, and labels that are probably wrong."""

import numpy as np

from faceverify.judge.scoring import Scores

# Both models place a pair far on the wrong side: two people below this share of the threshold,
# one person above that.
FAR_BELOW, FAR_ABOVE = 2 / 3, 4 / 3


def worst(theta: np.ndarray, same: np.ndarray, threshold: float, count: int) -> dict[str, list]:
    """Places of the worst false accepts and false refusals, worst first, at most `count` each.

    `theta` (P,) is NaN without an answer: such a refusal is no error of the comparison.
    """
    order = np.argsort(theta, kind="stable")  # NaN last
    accepts = order[~same[order] & (theta[order] < threshold)]
    refusals = order[same[order] & (theta[order] >= threshold)][::-1]
    return {
        "false_accepts": accepts[:count].tolist(),
        "false_refusals": refusals[:count].tolist(),
    }


def suspected(
    scores: Scores, same: np.ndarray, threshold: float, distance_threshold: float
) -> list[int]:
    """Places of the pairs whose label is probably wrong, the likeliest first.

    Those that both the verifier and dlib place far on the wrong side, and two photos of different
    people that are one file.
    """
    shares = np.stack([scores.theta / threshold, scores.distance / distance_threshold])
    below, above = shares.max(axis=0), shares.min(axis=0)
    found = np.where(same, above > FAR_ABOVE, (below < FAR_BELOW) | scores.identical)
    beyond = np.where(same, above / FAR_ABOVE, FAR_BELOW / np.maximum(below, 1e-6))
    places = np.flatnonzero(found)
    return places[np.argsort(-beyond[places], kind="stable")].tolist()
