"""One embedding against many: the nearest of a hundred thousand in a few passes of a cache."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Rows that fit in a processor's cache: each number is read from memory once. With more rows NumPy
# starts threads of its own, which wait for each other.
ROWS = 256
# Threads, and rows that one takes at a time.
WORKERS, SHARE = 2, 64 * ROWS


def thetas(
    vector: np.ndarray, vectors: np.ndarray, tails: Sequence[int], weights: Sequence[float]
) -> np.ndarray:
    """The ensemble's angles between one embedding and many, float32 (M,), in radians.

    `vector` (N,), `vectors` float32 (M, N): embeddings whose members' tails have `tails` numbers.
    By arccos, which is fast, and within 0.001 of the model's own angle near 0 and pi, elsewhere
    nearer. As there, a vector of zeros is pi / 2 from every other.
    """
    owners = np.repeat(np.arange(len(tails)), tails)
    members = (owners[:, None] == np.arange(len(tails))).astype(np.float32)  # (N, members)
    lengths = np.sqrt(vector**2 @ members)
    turned = vector[:, None] * members / np.where(lengths == 0, 1, lengths)
    shares = np.asarray(weights, np.float32)

    def found(rows: np.ndarray) -> np.ndarray:
        squares = rows**2 @ members
        cosines = rows @ turned / np.sqrt(np.where(squares == 0, 1, squares))
        return np.arccos(np.clip(cosines, -1, 1)) @ shares

    def share(start: int) -> np.ndarray:
        end = min(start + SHARE, len(vectors))
        return np.concatenate(
            [found(vectors[at : min(at + ROWS, end)]) for at in range(start, end, ROWS)]
        )

    with ThreadPoolExecutor(WORKERS) as pool:
        return np.concatenate(list(pool.map(share, range(0, len(vectors), SHARE))))
