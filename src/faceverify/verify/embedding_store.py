"""Embeddings of the photos in a list of pairs, kept in a file until the list is scored."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.row_store import RowStore


class StoredEmbedding(NamedTuple):
    """A photo's result in one slot: its `vector`, float32 (N,), or the `error` instead.

    `digest` is the SHA-256 of the photo's file, empty with an error; `error` is empty without one.
    """

    vector: np.ndarray | None
    digest: str
    error: str


class EmbeddingStore:
    """Results of photos by path and slot ("first" or "second"), in a file that others may not use.

    Memory does not grow with the list, and what was put in survives a kill: see `RowStore`, which
    also says when sqlite3.Error is raised.
    """

    def __init__(self, path: Path, made_by: str) -> None:
        """Open the file or create it; results that were not made by `made_by` are dropped."""
        self._rows = RowStore(
            path,
            made_by,
            keys=("photo", "slot"),
            values=("stamp", "digest", "vector", "error"),
            exclusive=True,
        )

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def expect(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Say which (photo, slot) are wanted; each may be named more than once.

        Those without a result wait for one, and so do photos whose file has changed since.
        """
        self._rows.expect(wanted)
        self._rows.expect_changed("stamp", stamp)

    def counts(self) -> tuple[int, int]:
        """How many photos have their results, and how many photos there are."""
        return self._rows.counts()

    def waiting(self) -> Iterator[tuple[str, list[str]]]:
        """The photos that wait for results, each with its slots, both in ascending order."""
        for photo, keys in groupby(self._rows.waiting(), itemgetter(0)):
            yield photo, [slot for _, slot in keys]

    def put(self, photo: str, mark: str, found: dict[str, StoredEmbedding]) -> None:
        """Store one photo's results by slot; `mark` is the stamp taken before reading."""
        self._rows.put(
            (photo, slot, mark, stored.digest,
             None if stored.vector is None else stored.vector.tobytes(), stored.error)
            for slot, stored in found.items()
        )  # fmt: skip

    def get(self, photo: str, slot: str) -> StoredEmbedding:
        """The result of a photo in a slot; sqlite3.Error where there is none."""
        _, digest, vector, error = self._rows.get((photo, slot), repr(photo))
        return StoredEmbedding(
            None if vector is None else np.frombuffer(vector, np.float32), digest, error
        )


def stamp(photo: str) -> str:
    """Size in bytes and modification time of a file; empty when there is no file."""
    try:
        status = Path(photo).stat()
    except (OSError, ValueError):  # ValueError for a null character
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
