"""Audit observations per photo, cached by content hash: each distinct photo is observed once."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import joblib
import numpy as np
from tqdm import tqdm

from faceverify.base.digests import sha256
from faceverify.base.errors import GivenFileError, InputError, UnusableError
from faceverify.base.files import path_inside
from faceverify.base.row_store import RowStore, why_unusable
from faceverify.faces import dlib_descriptor
from faceverify.faces.aligned_photos import decode_aligned, read
from faceverify.faces.landmarks import check_predictor, find_landmarks

# Change this when `observe` gives another result for the same photo: cached ones are not used then.
FORMAT = "2"
THUMBNAIL = 16  # pixels, width and height


class Observation(NamedTuple):
    """One photo; `digest` is the SHA-256 of its file, empty when that cannot be read.

    `fault` says why the photo is unusable, or is empty. `thumbnail` is uint8 (16, 16), grey;
    `descriptor` is dlib's, float32 (128,), or None where no face was found.
    """

    digest: str
    fault: str
    thumbnail: np.ndarray | None = None
    descriptor: np.ndarray | None = None


class Observations(NamedTuple):
    """All photos, n rows: the fields of `Observation` as arrays, 0 where a field is None.

    `faces`, bool (n,), says which photos have a face; `thumbnails` is uint8 (n, 256),
    `descriptors` float32 (n, 128).
    """

    digests: list[str]
    faults: list[str]
    faces: np.ndarray
    thumbnails: np.ndarray
    descriptors: np.ndarray


class Models(NamedTuple):
    """The files of dlib's landmark model and of its face descriptor network."""

    predictor: Path
    network: Path


def observe_all(folder: Path, photos: Sequence[str], models: Models, cache: Path) -> Observations:
    """Observe the photos of a folder, on all cores.

    Each result is stored in `cache` at once, under the hash of the photo's file, so that a killed
    run continues from there. Raises InputError for a name that leads out of `folder`, for a file
    of `models` that is missing or is another one, and for a photo that changes meanwhile.
    """
    if not folder.is_dir():
        raise GivenFileError(f"{folder} is missing")
    paths = [path_inside(folder, photo) for photo in photos]
    check_predictor(models.predictor)
    dlib_descriptor.check_network(models.network)
    versions = f"{FORMAT} dlib {dlib.__version__} OpenCV {cv2.__version__}"
    file = cache / sha256(versions, *models) / "observations.sqlite"
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = ("fault", "thumbnail", "descriptor")
    try:
        with closing(RowStore(file, versions, ("digest",), columns)) as store:
            return _observations(store, paths, models)
    except sqlite3.Error as error:
        raise InputError(why_unusable(file, error)) from None


def _observations(store: RowStore, paths: list[Path], models: Models) -> Observations:
    bar = tqdm(paths, "Reading photos", unit="photo", disable=None)
    found = [_digest(path) for path in bar]
    digests, unread = ([pair[k] for pair in found] for k in (0, 1))
    path_of = {digest: path for digest, path in zip(digests, paths, strict=True) if digest}
    store.expect((digest,) for digest in path_of)
    waiting = {digest for (digest,) in store.waiting()}
    new = [path for digest, path in path_of.items() if digest in waiting]
    changed = []
    for path, seen in zip(new, _observed(new, models), strict=True):
        if path_of.get(seen.digest) != path:
            changed.append(path)
            continue
        arrays = (a if a is None else a.tobytes() for a in (seen.thumbnail, seen.descriptor))
        store.put([(seen.digest, seen.fault, *arrays)])
    if changed:
        raise InputError(f"{changed[0]} was changed meanwhile; run the same command again")
    return _stored(store, paths, digests, unread)


def _digest(path: Path) -> tuple[str, str]:
    """The SHA-256 of a photo's file and why it cannot be read; one of the two is empty."""
    try:
        return sha256(read(path.parent, path.name)), ""
    except UnusableError as error:
        return "", str(error)


def _observed(paths: list[Path], models: Models) -> Iterator[Observation]:
    jobs = (joblib.delayed(observe)(path, models) for path in paths)
    found = joblib.Parallel(n_jobs=-1, return_as="generator")(jobs)
    return iter(tqdm(found, "Looking at photos", len(paths), unit="photo", disable=None))


def observe(path: Path, models: Models) -> Observation:
    """Observe one photo: decode it, find its face, describe the face."""
    try:
        encoded = read(path.parent, path.name)
    except UnusableError as error:
        return Observation("", str(error))
    digest = sha256(encoded)
    try:
        photo = decode_aligned(encoded)
    except UnusableError as error:
        return Observation(digest, str(error))
    size = (THUMBNAIL, THUMBNAIL)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    try:
        points = find_landmarks(photo, models.predictor)
    except UnusableError:
        return Observation(digest, "", thumbnail)
    descriptor = dlib_descriptor.describe(photo, points, models.network)
    return Observation(digest, "", thumbnail, descriptor)


def _stored(
    store: RowStore, paths: list[Path], digests: list[str], unread: list[str]
) -> Observations:
    """The observations of all photos; `unread` says why a file without a digest was not read."""
    count = len(digests)
    faults, faces = list(unread), np.zeros(count, bool)
    thumbnails = np.zeros((count, THUMBNAIL**2), np.uint8)
    descriptors = np.zeros((count, dlib_descriptor.NUMBERS), np.float32)
    for i, digest in enumerate(digests):
        if not digest:
            continue
        faults[i], thumbnail, descriptor = store.get((digest,), paths[i])
        if thumbnail:
            thumbnails[i] = np.frombuffer(thumbnail, np.uint8)
        if descriptor:
            faces[i] = True
            descriptors[i] = np.frombuffer(descriptor, np.float32)
    return Observations(digests, faults, faces, thumbnails, descriptors)
