"""Embedded photos kept on disk: memory stays bounded, and a killed run loses nothing."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.digests import row_sum

# Change this with the columns: files that have others are then begun anew.
FORMAT = "2"
# Photos that are asked for at once.
PART = 1000


class Kept(NamedTuple):
    """What is known of a photo in a slot: `vector`, float32 (N,), or the `error` that it met."""

    vector: np.ndarray | None
    digest: str
    error: str


class Embedded:
    """The photos of a list of pairs, each with the slots, "first" or "second", that it is in.

    One SQLite file, which only one process may use. What is put in is kept even when the process
    is killed at once. Raises sqlite3.Error, also for a row that is not what was put in.
    """

    def __init__(self, path: Path, made_by: str) -> None:
        """Open or make the file; whatever was made by other means than `made_by` is dropped."""
        self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            self._prepare(made_by)
        except sqlite3.Error:
            self.close()
            raise

    def _prepare(self, made_by: str) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        # A killed process harms nothing; only a power failure could damage the file.
        run("PRAGMA synchronous = OFF")
        self._database.create_function("stamp", 1, stamp)
        run("CREATE TABLE IF NOT EXISTS made_by (means TEXT)")
        means = f"{FORMAT} {made_by}"
        if run("SELECT means FROM made_by").fetchall() != [(means,)]:
            run("DROP TABLE IF EXISTS photos")
            run("DELETE FROM made_by")
            run("INSERT INTO made_by VALUES (?)", (means,))
        run(
            "CREATE TABLE IF NOT EXISTS photos (photo TEXT, slot TEXT, stamp TEXT, digest TEXT, "
            "vector BLOB, error TEXT, checksum TEXT, PRIMARY KEY (photo, slot)) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def expect(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Take in which photos are wanted, as (photo, slot), however often each is named.

        A photo whose file has changed since it was put in is waited for again.
        """
        run = self._database.execute
        run("BEGIN")
        self._database.executemany(
            "INSERT OR IGNORE INTO photos (photo, slot) VALUES (?, ?)", wanted
        )
        run("UPDATE photos SET error = NULL WHERE error IS NOT NULL AND stamp != stamp(photo)")
        run("COMMIT")

    def counts(self) -> tuple[int, int]:
        """How many photos are done with, and how many there are."""
        query = "SELECT COUNT(DISTINCT photo) FROM photos"
        (total,) = self._database.execute(query).fetchone()
        (left,) = self._database.execute(f"{query} WHERE error IS NULL").fetchone()
        return total - left, total

    def waiting(self) -> Iterator[tuple[str, list[str]]]:
        """The photos that are still to be put in, each with its slots."""
        last = ""
        while True:
            rows = self._database.execute(
                "SELECT photo, group_concat(slot) FROM photos WHERE error IS NULL AND photo > ? "
                "GROUP BY photo ORDER BY photo LIMIT ?",
                (last, PART),
            ).fetchall()
            if not rows:
                return
            for photo, slots in rows:
                # A damaged file may give anything, and the same again without end.
                if not (isinstance(photo, str) and isinstance(slots, str) and photo > last):
                    raise sqlite3.DatabaseError("the list of photos is damaged")
                yield photo, sorted(slots.split(","))
                last = photo

    def put(self, photo: str, mark: str, found: dict[str, Kept]) -> None:
        """Put in what was found of a photo, by slot; `mark` is its `stamp` before it was read."""
        rows = [
            (photo, slot, mark, kept.digest,
             None if kept.vector is None else kept.vector.tobytes(), kept.error)
            for slot, kept in found.items()
        ]  # fmt: skip
        self._database.execute("BEGIN")
        self._database.executemany(
            "REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*row, row_sum(row)) for row in rows],
        )
        self._database.execute("COMMIT")

    def get(self, photo: str, slot: str) -> Kept:
        """What was put in of a photo in a slot."""
        row = self._database.execute(
            "SELECT * FROM photos WHERE photo = ? AND slot = ?", (photo, slot)
        ).fetchone()
        if row is None or row_sum(row[:-1]) != row[-1]:
            raise sqlite3.DatabaseError(f"what is kept of {photo!r} is damaged")
        _, _, _, digest, vector, error, _ = row
        return Kept(None if vector is None else np.frombuffer(vector, np.float32), digest, error)


def stamp(photo: str) -> str:
    """Size and time of a file, which change when it does; empty when there is none."""
    try:
        status = Path(photo).stat()
    except (OSError, ValueError):  # the latter for a null character
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
