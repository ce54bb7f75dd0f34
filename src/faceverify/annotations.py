"""CelebA's annotation files in every published form: who is on a photo, and its attributes."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.errors import InputError
from faceverify.photos import SUFFIXES


class Attributes(NamedTuple):
    """The attribute table: `values[i, j]` says whether photo i has attribute j, bool (n, m)."""

    names: list[str]
    photos: list[str]
    values: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """One attribute of all photos, bool (n,); InputError for an unknown name."""
        if name not in self.names:
            raise InputError(f"there is no attribute {name!r}; there are {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]


class IdentityRow(NamedTuple):
    """A row of `identity_CelebA.txt`: which person is on a photo; lines count from 1."""

    line: int
    photo: str
    identity: int


def read_identities(path: Path) -> dict[str, int]:
    """Read `identity_CelebA.txt` as `read_identity_rows` does: photo name -> person."""
    return {row.photo: row.identity for row in read_identity_rows(path)}


def read_identity_rows(path: Path) -> list[IdentityRow]:
    """Read `identity_CelebA.txt`: its rows, in the order of the file.

    Takes the official form (`000001.jpg 2880`), one with a header line, and CSV. Raises
    InputError, naming file and line, for a line of another shape and a photo listed twice.
    """
    found: dict[str, IdentityRow] = {}
    rows = _rows(path)
    if rows and not _is_photo(rows[0][1][0]):
        rows = rows[1:]  # a header
    for line, fields in rows:
        if len(fields) != 2 or not _is_photo(fields[0]) or not re.fullmatch(r"\d{1,9}", fields[1]):
            raise InputError(f"{path}, line {line}: expected `000001.jpg 2880`")
        if fields[0] in found:
            raise InputError(f"{path}, line {line}: {fields[0]} is listed twice; remove one line")
        found[fields[0]] = IdentityRow(line, fields[0], int(fields[1]))
    if not found:
        raise InputError(f"{path} lists no photos")
    return list(found.values())


def read_attributes(path: Path) -> Attributes:
    """Read `list_attr_celeba.txt`: which photo has which attributes.

    Takes the official form (a count line, a line of names, rows of -1 and 1), the form without
    the count line, and CSV. Raises InputError, naming file and line, for anything else.
    """
    rows = _rows(path)
    count = None
    if rows and len(rows[0][1]) == 1 and rows[0][1][0].isdecimal():
        count = int(rows.pop(0)[1][0])
    if len(rows) < 2:
        raise InputError(f"{path} lists no photos")
    line, names = rows[0]
    if names[0].lower() in ("", "image_id"):
        names = names[1:]  # CSV names the photo column, too
    if len(set(names)) != len(names) or any(_is_photo(name) for name in names):
        raise InputError(f"{path}, line {line}: expected the attributes' names, each once")
    photos, values = _attribute_rows(path, rows[1:], len(names))
    if count is not None and count != len(photos):
        raise InputError(f"{path}, line 1: says {count} photos, but {len(photos)} follow")
    return Attributes(names, photos, values)


def _attribute_rows(
    path: Path, rows: list[tuple[int, list[str]]], width: int
) -> tuple[list[str], np.ndarray]:
    photos: dict[str, None] = {}
    values = np.empty((len(rows), width), dtype=bool)
    present = {"1": True, "-1": False}
    for i, (line, (photo, *marks)) in enumerate(rows):
        if not _is_photo(photo) or len(marks) != width:
            raise InputError(f"{path}, line {line}: expected a photo name and {width} values")
        if photo in photos:
            raise InputError(f"{path}, line {line}: {photo} is listed twice; remove one line")
        photos[photo] = None
        try:
            values[i] = [present[mark] for mark in marks]
        except KeyError as error:
            wrong = error.args[0]
            raise InputError(f"{path}, line {line}: {wrong!r} is neither 1 nor -1") from None
    return list(photos), values


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The file's lines that hold something, numbered from 1, split at commas or white space."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} is missing; data/ must hold CelebA's layout") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file") from None
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    # The official attribute file begins with a lone number: look at the line below it, too.
    comma = "," in first or (first.strip().isdecimal() and "," in "".join(lines[:3]))
    separator = re.compile(r"\s*,\s*" if comma else r"\s+")
    return [
        (number, separator.split(line.strip()))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _is_photo(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
