"""Arrays that are expensive to compute, kept on disk under the hash of what they depend on."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from faceverify.base.digests import is_whole, seal, sha256
from faceverify.base.files import replacing


def stored(
    cache: Path,
    inputs: Sequence[bytes | str | Path],
    shape: tuple[int, ...],
    batches: Callable[[], Iterable[np.ndarray]],
) -> np.ndarray:
    """An array that depends on `inputs` alone: computed once, later mapped from disk.

    `batches` gives the rows of the float32 array of this `shape` in order, some at a time;
    memory holds one batch. The store is a folder of `cache` named by the hash of the inputs; what
    is damaged there is computed anew.
    """
    path = cache / sha256(*inputs) / "rows.npy"
    if not is_whole(path):
        with replacing(path) as temporary:
            # Not through a map: on a full disk, writing into one kills the process.
            with temporary.open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for batch in batches():
                    file.write(np.ascontiguousarray(batch, "<f4"))
            seal(temporary)
    return np.load(path, mmap_mode="r")
