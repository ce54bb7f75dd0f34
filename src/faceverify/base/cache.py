"""Arrays that are expensive to compute, cached on disk under the hash of their inputs."""

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
    """An array, float32 of `shape`, that depends on `inputs` alone; a read-only memory map.

    It is computed once: `batches` gives its rows in order, some at a time, so that memory holds
    one batch. The file lies in a folder of `cache` named by the hash of `inputs` (bytes and texts,
    and the contents of paths); a damaged file is computed again.
    """
    path = cache / sha256(*inputs) / "rows.npy"
    if not is_whole(path):
        with replacing(path) as temporary:
            # Not a memmap: writing to one on a full disk kills the process.
            with temporary.open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for batch in batches():
                    file.write(np.ascontiguousarray(batch, "<f4"))
            seal(temporary)
    return np.load(path, mmap_mode="r")
