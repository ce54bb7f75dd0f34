"""Weights of the ensemble other than the shipped ones, for comparison."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

# Keeps the fit finite where theta tells training people apart without an error, and equal
# members equally weighted.
RIDGE = 1e-3
DECIMALS = 3


def alternatives(
    thetas: Mapping[str, np.ndarray], same: np.ndarray, aucs: Mapping[str, float | None]
) -> dict[str, dict[str, float]]:
    """Name of a weighting -> weight by member: the best single member, uniform, and fitted.

    `thetas` has each member's scores (P,) of pairs of training people, `same` (P,) is true for the
    genuine ones, `aucs` has each member's AUC on these pairs. Of equally good members the first
    is the best one.
    """
    best = max(aucs, key=lambda name: -np.inf if aucs[name] is None else aucs[name])
    weights = fitted(np.stack([thetas[name] for name in thetas]), same)
    return {
        "best single": {name: float(name == best) for name in thetas},
        "uniform": {name: 1 / len(thetas) for name in thetas},
        "fitted": dict(zip(thetas, weights.tolist(), strict=True)),
    }


def fitted(thetas: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Weights (M,) with which the weighted theta of pairs best tells who is who.

    `thetas` (M, P) are the members' scores, `same` (P,) is true for genuine pairs. A logistic
    regression of `same` on the scores whose slopes cannot favour impostors; the weights are the
    slopes over their sum, in thousandths that sum to 1. Uniform where no member tells anything or
    one kind of pair is missing.
    """
    members, pairs = thetas.shape
    thetas = thetas / (thetas.std() or 1)  # the ridge means the same at every scale of theta
    sign = np.where(same, 1.0, -1.0)

    def loss(slopes: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (slopes[-1] - slopes[:-1] @ thetas)
        value = np.logaddexp(0, -margin).mean() + RIDGE * (slopes[:-1] ** 2).sum()
        wrong = -sign * np.exp(-np.logaddexp(0, margin)) / pairs
        return value, np.append(-thetas @ wrong + 2 * RIDGE * slopes[:-1], wrong.sum())

    bounds = [(0, None)] * members + [(None, None)]
    slopes = np.zeros(members)
    if same.any() and not same.all():
        start = np.zeros(members + 1)
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        slopes = found.x[:-1]
    if slopes.sum() == 0:
        slopes = np.ones(members)
    weights = np.round(slopes / slopes.sum(), DECIMALS)
    weights[np.argmax(weights)] += 1 - weights.sum()
    return np.round(weights, DECIMALS)
