"""CSV files that people write, read line by line: what is wrong is said with its line."""

import csv
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from faceverify.base.errors import InputError
from faceverify.base.text_lines import numbered_lines

_OTHER_SEPARATORS = {";": "a semicolon", "\t": "a tab"}


class Row(NamedTuple):
    """A row of a table: the number of its line, and its cells by column."""

    line: int
    cells: dict[str, str]


def rows(path: Path, required: Collection[str], optional: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a CSV file with these columns, in any order.

    Raises InputError, naming file and line, for other columns, another separator than a comma, a
    row of another length and as `numbered_lines` does.
    """
    numbered = numbered_lines(path)
    number, heading = next(numbered, (1, ""))
    columns = _columns(path, number, heading, required, optional)
    for number, line in numbered:
        cells = _cells(path, number, line)
        if len(cells) != len(columns):
            raise InputError(
                f"{path}, line {number}: {len(cells)} cells for {len(columns)} columns; "
                "a cell that holds a comma stands in quotes"
            )
        yield Row(number, dict(zip(columns, cells, strict=True)))


def _columns(
    path: Path, number: int, heading: str, required: Collection[str], optional: Collection[str]
) -> list[str]:
    found = [cell.strip() for cell in _cells(path, number, heading)]
    for separator, name in _OTHER_SEPARATORS.items():
        if set(required) <= {cell.strip().strip('"') for cell in heading.split(separator)}:
            raise InputError(f"{path}: its columns are separated by {name}; separate by a comma")
    if missing := [name for name in required if name not in found]:
        raise InputError(f"{path}, line {number}: the heading has no column {missing[0]!r}")
    if unknown := [name for name in found if name not in {*required, *optional}]:
        known = ", ".join([*required, *optional])
        raise InputError(
            f"{path}, line {number}: the column {unknown[0]!r} is unknown; there may be {known}"
        )
    if len(set(found)) < len(found):
        raise InputError(f"{path}, line {number}: a column comes twice")
    return found


def _cells(path: Path, number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise InputError(
            f"{path}, line {number}: {error}; a quoted cell ends with a quote, on its line"
        ) from None
