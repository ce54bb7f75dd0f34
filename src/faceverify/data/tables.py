"""The CSV and JSON files that stages hand on, read with every value checked."""

import csv
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from faceverify.base.errors import InputError, MadeFileError
from faceverify.base.files import content, is_plain, read_json, replacing
from faceverify.faces.aligned_photos import FARTHEST
from faceverify.faces.landmarks import LANDMARK_NUMBERS

TABLE_BYTES = 128 * 2**20  # enough for a million pairs


class Column(NamedTuple):
    """A column's cells: their meaning in words, whether a text `fits`, and the pandas type."""

    meaning: str
    fits: Callable[[str], object]
    kind: str = "str"


_NUMBER = Column("a number", re.compile(r"[0-9]{1,18}").fullmatch, "int64")
_FILE = Column("a plain file name", is_plain)
SELECTED = {"name": _FILE, "identity": _NUMBER, "source": _FILE}
PAIRS = {
    "pair": _FILE,  # the names of its photos begin with it
    "label": Column("0 or 1", {"0", "1"}.__contains__, "int64"),
    "split": Column("train or val", {"train", "val"}.__contains__),
    "first": _FILE,
    "second": _FILE,
    "first_identity": _NUMBER,
    "second_identity": _NUMBER,
    "first_source": _FILE,
    "second_source": _FILE,
}


def read(path: Path, columns: dict[str, Column]) -> pd.DataFrame:
    """Read a CSV table with exactly these columns and a different first cell in each row.

    Raises InputError, naming file and line, when the table is missing or any other.
    """
    try:
        data = io.BytesIO(content(path, TABLE_BYTES))
        with io.TextIOWrapper(data, encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            if next(reader, None) != list(columns):
                raise InputError(f"{path}, line 1: expected the columns {','.join(columns)}")
            rows: dict[str, list[str]] = {}
            for cells in reader:
                if fault := _fault(cells, columns, rows):
                    raise MadeFileError(f"{path}, line {reader.line_num}: {fault}")
                rows[cells[0]] = cells
    except FileNotFoundError:
        raise MadeFileError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a table: {error}") from None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not a table: {error}") from None
    if not rows:
        raise MadeFileError(f"{path} has no rows")
    table = pd.DataFrame(rows.values(), columns=list(columns))
    return table.astype({name: column.kind for name, column in columns.items()})


def _fault(cells: list[str], columns: dict[str, Column], known: dict[str, list[str]]) -> str:
    """What is wrong with a row; empty when it is right."""
    if len(cells) != len(columns):
        return f"{len(cells)} cells, not {len(columns)}"
    for cell, (name, column) in zip(cells, columns.items(), strict=True):
        if not column.fits(cell):
            return f"{name} is not {column.meaning}"
    return f"{cells[0]} comes twice" if cells[0] in known else ""


def read_pairs(path: Path) -> pd.DataFrame:
    """Read the table of pairs as `read` does; InputError also when a split has no pairs."""
    table = read(path, PAIRS)
    for split in ("train", "val"):
        if split not in set(table.split):
            raise MadeFileError(f"{path} has no pairs of {split}")
    return table


def read_landmarks(path: Path, names: Iterable[str], label: bool = False) -> dict[str, list[int]]:
    """Read the 136 landmark numbers of these faces, in pixels; with `label` a 0 or 1 follows.

    Raises InputError, naming file and face, for anything else.
    """
    values = read_json(path)
    found = {name: values.get(name) if isinstance(values, dict) else None for name in names}
    for name, numbers in found.items():
        if not (
            isinstance(numbers, list)
            and len(numbers) == LANDMARK_NUMBERS + label
            and all(type(number) is int and abs(number) <= FARTHEST for number in numbers)
            and (not label or numbers[-1] in (0, 1))
        ):
            what = f"{LANDMARK_NUMBERS} whole numbers" + (" and a label" if label else "")
            raise MadeFileError(f"{path} does not have {what} for {name}")
    return found


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, without its index."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
