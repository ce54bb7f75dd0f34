"""Results kept row by row in a SQLite file, so that a killed run continues where it stopped.

Each row has a checksum of its own, because a result is used without being computed again. A
library such as diskcache has none, and unpickles values where its file says so; here a file that
was damaged, or made by somebody else, can give wrong bytes but never run code.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from faceverify.base.digests import sha256

# Keys that `waiting` reads at once; only these are in memory.
PART = 1000


class RowStore:
    """Rows of texts and bytes under a key of one or more texts, in one SQLite file.

    What was put in survives a kill of the process at any moment. All methods raise sqlite3.Error
    for a file that is damaged, is no database, or is in use by a process that opened it as
    `exclusive`.
    """

    def __init__(
        self,
        path: Path,
        made_by: str,
        keys: Sequence[str],
        values: Sequence[str],
        *,
        exclusive: bool = False,
    ) -> None:
        """Open the file or create it, with the columns `keys` and `values`.

        `made_by` names all that the values depend on beside their key: rows that were made by
        something else, or have other columns, are dropped. `exclusive` keeps other processes out
        until `close`.
        """
        self._keys, self._values = tuple(keys), tuple(values)
        self._database = sqlite3.connect(path, timeout=0 if exclusive else 5, isolation_level=None)
        try:
            if exclusive:
                self._run("PRAGMA locking_mode = EXCLUSIVE")
            # A killed process harms nothing; only a power failure could damage the file.
            self._run("PRAGMA synchronous = OFF")
            self._prepare(repr((self._keys, self._values, made_by)))
        except sqlite3.Error:
            self.close()
            raise

    def _prepare(self, made_by: str) -> None:
        run = self._run
        with self._database:
            run("BEGIN IMMEDIATE")
            run("CREATE TABLE IF NOT EXISTS made_by (made_by TEXT)")
            if run("SELECT made_by FROM made_by") != [(made_by,)]:
                run("DROP TABLE IF EXISTS kept")
                run("DELETE FROM made_by")
                run("INSERT INTO made_by VALUES (?)", (made_by,))
            columns = ", ".join([*self._keys, *self._values, "checksum"])
            key = ", ".join(self._keys)
            run(f"CREATE TABLE IF NOT EXISTS kept ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID")

    def _run(self, statement: str, values: tuple = ()) -> list[tuple]:
        try:
            return self._database.execute(statement, values).fetchall()
        except UnicodeDecodeError:  # SQLite's message quotes the damaged file
            raise sqlite3.DatabaseError("the file is damaged") from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def expect(self, keys: Iterable[tuple[str, ...]]) -> None:
        """Let these keys wait for their values, and no others; those that have values do not wait.

        A key may come more than once.
        """
        marks = ", ".join("?" * len(self._keys))
        with self._database:
            self._run("BEGIN")
            self._run("DELETE FROM kept WHERE checksum IS NULL")
            self._database.executemany(
                f"INSERT OR IGNORE INTO kept ({', '.join(self._keys)}) VALUES ({marks})", keys
            )

    def expect_changed(self, column: str, current: Callable[[str], str]) -> None:
        """Let rows wait again whose `column` is not what `current` gives for their first key."""
        self._database.create_function("current", 1, current)
        self._run(
            "UPDATE kept SET checksum = NULL "
            f"WHERE checksum IS NOT NULL AND {column} IS NOT current({self._keys[0]})"
        )

    def counts(self) -> tuple[int, int]:
        """How many different first keys have all their values, and how many there are."""
        query = f"SELECT COUNT(DISTINCT {self._keys[0]}) FROM kept"
        ((total,),) = self._run(query)
        ((waiting,),) = self._run(f"{query} WHERE checksum IS NULL")
        return total - waiting, total

    def waiting(self) -> Iterator[tuple[str, ...]]:
        """The keys that wait for their values, in ascending order; `put` may come in between."""
        keys, marks = ", ".join(self._keys), ", ".join("?" * len(self._keys))
        query = (
            f"SELECT {keys} FROM kept WHERE checksum IS NULL AND ({keys}) > ({marks}) "
            f"ORDER BY {keys} LIMIT {PART}"
        )
        last = ("",) * len(self._keys)
        while rows := self._run(query, last):
            for row in rows:
                # A damaged file may give anything, and the same again without end.
                if not (all(isinstance(key, str) for key in row) and row > last):
                    raise sqlite3.DatabaseError("the list of what waits is damaged")
                yield row
                last = row

    def put(self, rows: Iterable[tuple[str | bytes | None, ...]]) -> None:
        """Store rows, each its key and then its values: all of them or, when killed, none."""
        marks = ", ".join("?" * (len(self._keys) + len(self._values) + 1))
        with self._database:
            self._run("BEGIN")
            self._database.executemany(
                f"REPLACE INTO kept VALUES ({marks})", [(*row, _checksum(row)) for row in rows]
            )

    def get(self, key: tuple[str, ...], called: object) -> tuple[str | bytes | None, ...]:
        """The values under a key; `called` is its name in the error when they are damaged."""
        where = " AND ".join(f"{name} = ?" for name in self._keys)
        row, *_ = self._run(f"SELECT * FROM kept WHERE {where} LIMIT 1", key) or [None]
        if row is None or _checksum(row[:-1]) != row[-1]:
            raise sqlite3.DatabaseError(f"what is kept of {called} is damaged")
        return row[len(self._keys) : -1]


def why_unusable(file: Path, error: sqlite3.Error, in_use: str = "") -> str:
    """Why a file of kept rows cannot be used, and what to do: one line.

    `in_use` is said instead where another process holds the file.
    """
    # What the store finds damaged by itself has no number. The lowest byte is the kind of error.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return in_use or f"{file}: another run uses it now; wait until that has ended"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return f"{file}: {error}; remove it and run the same command again"
    return f"{file}: {error}; see that there is room and that you may write there"


def _checksum(row: tuple[str | bytes | None, ...]) -> str:
    return sha256(repr(row))
