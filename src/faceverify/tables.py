"""CSV tables that stages hand to each other, read with their columns and types checked."""

from pathlib import Path

import pandas as pd

from faceverify.errors import InputError
from faceverify.files import replacing

SELECTED = {"name": str, "identity": "int64", "source": str}
PAIRS = {
    "pair": str,
    "label": "int64",
    "split": str,
    "first": str,
    "second": str,
    "first_identity": "int64",
    "second_identity": "int64",
    "first_source": str,
    "second_source": str,
}


def read(path: Path, columns: dict[str, type | str]) -> pd.DataFrame:
    """Read a table with exactly these columns; InputError, naming the file, for another."""
    try:
        # No value stands for "missing": a file may well be called NA.png.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run `dvc repro` to make it") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} is not a table: {error}") from None
    if list(table.columns) != list(columns):
        raise InputError(f"{path}, line 1: expected the columns {','.join(columns)}")
    for name, kind in columns.items():
        if kind is not str:
            wrong = ~table[name].str.fullmatch(r"\d{1,18}")
            if wrong.any():
                line = wrong.idxmax() + 2
                raise InputError(f"{path}, line {line}: {name} is not a number")
            table[name] = table[name].astype(kind)
    return table


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
