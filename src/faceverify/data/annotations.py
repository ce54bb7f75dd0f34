"""CelebA's annotation files in each published form: a photo's identity and its attributes."""

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

# Limits, far above CelebA's own: 4 and 27 MB, and 500 characters for the 40 names.
IDENTITIES_BYTES, ATTRIBUTES_BYTES = 64 * 2**20, 128 * 2**20
LINE_LENGTH = 10_000


class Attributes(NamedTuple):
    """The attribute table: `values`, bool (photos, names), says which photo has which attribute."""

    names: list[str]
    photos: list[str]
    values: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """One attribute of all photos, bool (photos,); InputError for an unknown name."""
        if name not in self.names:
            raise InputError(f"there is no attribute {name!r}; there are {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]


class IdentityRow(NamedTuple):
    """A row of `identity_CelebA.txt`: the person on a photo; `line` counts from 1."""

    line: int
    photo: str
    identity: int


def read_identities(path: Path) -> dict[str, int]:
    """Photo name -> identity, read as by `read_identity_rows`."""
    return {row.photo: row.identity for row in read_identity_rows(path)}


def read_identity_rows(path: Path) -> list[IdentityRow]:
    """Read the rows of `identity_CelebA.txt`, in the order of the file.

    The file has the official form (`000001.jpg 2880`), with or without a header line, or is CSV.
    Raises InputError, naming file and line, for any other line and for a photo listed twice.
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
    """Read `list_attr_celeba.txt`.

    The file has the official form (a count line, a line of names, rows of -1 and 1), with or
    without the count line, or is CSV. Raises InputError, naming file and line, for anything else.
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
        names = names[1:]  # CSV has a heading for the photos, too
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
    values = bytearray()  # grows row by row: the count line may promise far more than follows
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
    """The cells of each line that is not blank, with its number, which counts from 1.

    Cells are separated by commas or by white space. Lines are split one at a time, because all
    of them as Python lists take 20 times the file's size.
    """
    try:
        text = content(path, limit).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} is missing; data/ must hold CelebA's layout") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file") from None
    # The first line decides whether it is CSV; below a count line, the two lines after it.
    first = list(islice(filter(str.strip, _lines(path, text)), 3))
    comma = "," in "".join(first if first and _is_number(first[0].strip()) else first[:1])
    for number, line in enumerate(_lines(path, text), start=1):
        if line.strip():
            yield number, [cell.strip() for cell in line.split(",")] if comma else line.split()


def _lines(path: Path, text: str) -> Iterator[str]:
    """The lines of a text with any line ending; InputError for one longer than LINE_LENGTH."""
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
