"""CelebA's annotation files in every published form: who is on a photo, and its attributes."""

import io
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.errors import InputError
from faceverify.base.files import content, is_plain
from faceverify.faces.aligned_photos import SUFFIXES

# Many times CelebA's own: 4 and 27 MB, and 500 characters for the names of 40 attributes.
IDENTITIES_BYTES, ATTRIBUTES_BYTES = 64 * 2**20, 128 * 2**20
LINE_LENGTH = 10_000


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
    for place, (line, fields) in enumerate(_rows(path, IDENTITIES_BYTES)):
        if place == 0 and not _is_photo(fields[0]) and not _is_number(fields[-1]):
            continue  # a header
        if len(fields) != 2 or not _is_photo(fields[0]) or not _is_number(fields[1]):
            raise InputError(f"{path}, line {line}: expected `000001.jpg 2880`")
        _check_name(path, line, fields[0])
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
    rows = _rows(path, ATTRIBUTES_BYTES)
    count = None
    first = list(islice(rows, 1))
    if first and len(first[0][1]) == 1 and _is_number(first[0][1][0]):
        count = int(first.pop()[1][0])
    first += islice(rows, 2 - len(first))
    if len(first) < 2:
        raise InputError(f"{path} lists no photos")
    line, names = first.pop(0)
    if names[0].lower() in ("", "image_id"):
        names = names[1:]  # CSV names the photo column, too
    if len(set(names)) != len(names) or any(_is_photo(name) for name in names):
        raise InputError(f"{path}, line {line}: expected the attributes' names, each once")
    photos, values = _attribute_rows(path, chain(first, rows), len(names))
    if count is not None and count != len(photos):
        raise InputError(f"{path}, line 1: says {count} photos, but {len(photos)} follow")
    return Attributes(names, photos, values)


def _attribute_rows(
    path: Path, rows: Iterable[tuple[int, list[str]]], width: int
) -> tuple[list[str], np.ndarray]:
    photos: dict[str, None] = {}
    values = bytearray()  # grows with the rows: what the names promise may be far more
    present = {"1": True, "-1": False}
    for line, (photo, *marks) in rows:
        if not _is_photo(photo) or len(marks) != width:
            raise InputError(f"{path}, line {line}: expected a photo name and {width} values")
        _check_name(path, line, photo)
        if photo in photos:
            raise InputError(f"{path}, line {line}: {photo} is listed twice; remove one line")
        photos[photo] = None
        try:
            values += bytes([present[mark] for mark in marks])
        except KeyError as error:
            wrong = error.args[0]
            raise InputError(f"{path}, line {line}: {wrong!r} is neither 1 nor -1") from None
    return list(photos), np.frombuffer(values, bool).reshape(len(photos), width)


def _rows(path: Path, limit: int) -> Iterator[tuple[int, list[str]]]:
    """The file's lines that hold something, numbered from 1, split at commas or white space.

    One at a time, so that the first wrong one ends it: all of them split take 20 times the file.
    """
    try:
        text = content(path, limit).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} is missing; data/ must hold CelebA's layout") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file") from None
    # The official attribute file begins with a lone number: look at the lines below it, too.
    first = list(islice(filter(str.strip, _lines(path, text)), 3))
    comma = "," in "".join(first if first and _is_number(first[0].strip()) else first[:1])
    for number, line in enumerate(_lines(path, text), start=1):
        if line.strip():
            yield number, [cell.strip() for cell in line.split(",")] if comma else line.split()


def _lines(path: Path, text: str) -> Iterator[str]:
    """The lines of a text, however they end; InputError for one that no list has."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if len(line) > LINE_LENGTH:
            raise InputError(f"{path}, line {number}: longer than {LINE_LENGTH:,} characters")
        yield line


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", text) is not None


def _check_name(path: Path, line: int, name: str) -> None:
    if not is_plain(name):
        raise InputError(
            f"{path}, line {line}: {name!r} is not a plain file name; rename the photo"
        )


def _is_photo(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
