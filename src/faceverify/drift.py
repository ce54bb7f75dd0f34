"""Whether two runs of the same code, parameters and data differ by rounding, or in earnest."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

MOST_PAIRS = 2000
PAIR = {"first": str, "second": str, "same": "int64"}


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
