"""Other weights of the ensemble, chosen on training people, to compare the shipped ones with."""

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

    `thetas` has each member's theta (P,) of the pairs of training people, `same` (P,) is true for
    genuine pairs, `aucs` has each member's AUC on these pairs. Of equally good members the first
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
    """Weights (M,) of the members, fitted by logistic regression of `same` on theta.

    `thetas` (M, P) are the members' thetas, `same` (P,) is true for genuine pairs. No slope may be
    positive: a larger theta never speaks for one person. The weights are the slopes over their
    sum, in thousandths that sum to 1; uniform where all slopes are 0 or one kind of pair is
    missing.
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
