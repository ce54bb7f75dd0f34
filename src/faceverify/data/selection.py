"""The photos that resemble an ID photo, and the faces that each person contributes."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.errors import InputError, UnusableError
from faceverify.data.annotations import Attributes
from faceverify.faces.aligned_photos import decode_aligned, read
from faceverify.faces.landmarks import find_landmarks, flatten


class Face(NamedTuple):
    """A usable photo: its file name in the data, and its 136 landmark numbers in pixels."""

    source: str
    landmarks: list[int]


class Search(NamedTuple):
    """The result of searching one person's photos: faces, and (photo, reason) of the failures."""

    faces: list[Face]
    failures: list[tuple[str, str]]


def passing(attributes: Attributes, require: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """The photos that have every attribute of `require` and none of `exclude`."""
    passed = np.ones(len(attributes.photos), dtype=bool)
    for name in require:
        passed &= attributes.column(name)
    for name in exclude:
        passed &= ~attributes.column(name)
    return [attributes.photos[i] for i in np.flatnonzero(passed)]


def qualified(
    identities: dict[str, int], photos: Sequence[str], faces_per_identity: int
) -> dict[int, list[str]]:
    """Identity -> photos, for people with at least `faces_per_identity` of these photos.

    Identities are sorted, photos keep their order. Raises InputError for a photo that is not in
    `identities`.
    """
    people: dict[int, list[str]] = {}
    for photo in photos:
        if photo not in identities:
            raise InputError(f"{photo} has attributes, but identity_CelebA.txt does not list it")
        people.setdefault(identities[photo], []).append(photo)
    return {i: people[i] for i in sorted(people) if len(people[i]) >= faces_per_identity}


def search_faces(folder: Path, photos: Sequence[str], count: int, predictor_file: Path) -> Search:
    """Find the faces on one person's first `count` usable photos.

    A photo that is missing, damaged, of a wrong size or without a face is a failure, and the next
    photo replaces it. The search ends as soon as `count` faces are found or out of reach.
    """
    faces: list[Face] = []
    failures: list[tuple[str, str]] = []
    for photo in photos:
        if len(faces) == count or len(photos) - len(failures) < count:
            break
        try:
            image = _read(folder, photo)
            points = find_landmarks(image, predictor_file)
        except UnusableError as error:
            failures.append((photo, str(error)))
        else:
            faces.append(Face(photo, flatten(points)))
    return Search(faces, failures)


def _read(folder: Path, photo: str) -> np.ndarray:
    try:
        return decode_aligned(read(folder, photo))
    except UnusableError:
        if not folder.is_dir():  # this may be another machine than the one that started the job
            raise InputError(f"{folder} is missing on {platform.node()}; share it") from None
        raise
