"""What a look at each photo tells, kept on disk: each distinct photo is looked at once."""

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

from faceverify.base import digests, files
from faceverify.base.errors import GivenFileError, InputError, UnusableError
from faceverify.faces import dlib_descriptor
from faceverify.faces.aligned_photos import decode_aligned, read
from faceverify.faces.landmarks import check_predictor, find_landmarks

# Change this when a look tells something else of the same photo: old ones are then left alone.
FORMAT = "2"
THUMBNAIL = 16


class Look(NamedTuple):
    """One photo, by the SHA-256 of its file, which is empty for what is no file to read.

    `fault` says why it cannot be read, or is empty. `thumbnail` is uint8 (16, 16), grey;
    `descriptor` is dlib's, float32 (128,), or None where no face was found.
    """

    digest: str
    fault: str
    thumbnail: np.ndarray | None = None
    descriptor: np.ndarray | None = None


class Looks(NamedTuple):
    """All photos: what `Look` holds of each, as arrays; 0 where it holds nothing.

    `faces` says which have a face, bool (n,); `thumbnails` is uint8 (n, 256), `descriptors`
    float32 (n, 128).
    """

    digests: list[str]
    faults: list[str]
    faces: np.ndarray
    thumbnails: np.ndarray
    descriptors: np.ndarray


class Models(NamedTuple):
    """The files of dlib's landmark model and of its face descriptor."""

    predictor: Path
    network: Path


def look_at_all(folder: Path, photos: Sequence[str], models: Models, cache: Path) -> Looks:
    """Look at the photos of a folder, on all cores.

    What was seen is kept in `cache` under the photo's content, at once: a run that was killed
    goes on from there. Raises InputError for a name that leads out of `folder` and for a file of
    `models` that is missing or is none.
    """
    if not folder.is_dir():
        raise GivenFileError(f"{folder} is missing")
    paths = [files.path_inside(folder, photo) for photo in photos]
    check_predictor(models.predictor)
    dlib_descriptor.check_network(models.network)
    versions = f"{FORMAT} dlib {dlib.__version__} OpenCV {cv2.__version__}"
    store = cache / digests.sha256(versions, *models) / "looks.sqlite"
    store.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(store, isolation_level=None)) as database:
            return _gathered(database, paths, models)
    except sqlite3.DatabaseError as error:
        raise InputError(f"{store}: {error}; remove it and run the same command again") from None


def _gathered(database: sqlite3.Connection, paths: list[Path], models: Models) -> Looks:
    # A killed process harms nothing; only a power failure could damage the file.
    database.execute("PRAGMA synchronous = OFF")
    database.execute(
        "CREATE TABLE IF NOT EXISTS looks "
        "(digest TEXT PRIMARY KEY, fault TEXT, thumbnail BLOB, descriptor BLOB, checksum TEXT) "
        "WITHOUT ROWID"
    )
    known = {digest for (digest,) in database.execute("SELECT digest FROM looks")}
    bar = tqdm(paths, "Reading photos", unit="photo", disable=None)
    found = [_digest(path) for path in bar]
    digests, unread = ([pair[k] for pair in found] for k in (0, 1))
    wanted = dict(zip(digests, paths, strict=True))
    new = [path for digest, path in wanted.items() if digest and digest not in known]
    changed = []
    for path, look in zip(new, _examined(new, models), strict=True):
        if wanted.get(look.digest) != path:
            changed.append(path)
            continue
        row = (look.digest, look.fault, *(a if a is None else a.tobytes() for a in look[2:]))
        row += (digests.row_sum(row),)
        database.execute("INSERT OR IGNORE INTO looks VALUES (?, ?, ?, ?, ?)", row)
    if changed:
        raise InputError(f"{changed[0]} was changed meanwhile; run the same command again")
    return _arrays(database, paths, digests, unread)


def _digest(path: Path) -> tuple[str, str]:
    """The SHA-256 of a photo's file, and why that cannot be read: one of the two is empty."""
    try:
        return digests.sha256(read(path.parent, path.name)), ""
    except UnusableError as error:
        return "", str(error)


def _examined(paths: list[Path], models: Models) -> Iterator[Look]:
    jobs = (joblib.delayed(examine)(path, models) for path in paths)
    found = joblib.Parallel(n_jobs=-1, return_as="generator")(jobs)
    return iter(tqdm(found, "Looking at photos", len(paths), unit="photo", disable=None))


def examine(path: Path, models: Models) -> Look:
    """Look at one photo."""
    try:
        encoded = read(path.parent, path.name)
    except UnusableError as error:
        return Look("", str(error))
    digest = digests.sha256(encoded)
    try:
        photo = decode_aligned(encoded)
    except UnusableError as error:
        return Look(digest, str(error))
    size = (THUMBNAIL, THUMBNAIL)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    try:
        points = find_landmarks(photo, models.predictor)
    except UnusableError:
        return Look(digest, "", thumbnail)
    return Look(digest, "", thumbnail, dlib_descriptor.describe(photo, points, models.network))


def _arrays(
    database: sqlite3.Connection, paths: list[Path], digests: list[str], unread: list[str]
) -> Looks:
    count = len(digests)
    faults, faces = list(unread), np.zeros(count, bool)
    thumbnails = np.zeros((count, THUMBNAIL**2), np.uint8)
    descriptors = np.zeros((count, dlib_descriptor.NUMBERS), np.float32)
    query = "SELECT * FROM looks WHERE digest = ?"
    for i, digest in enumerate(digests):
        if not digest:
            continue
        row = database.execute(query, (digest,)).fetchone()
        if row is None or digests.row_sum(row[:-1]) != row[-1]:
            raise sqlite3.DatabaseError(f"what is kept of {paths[i]} is damaged")
        _, faults[i], thumbnail, descriptor, _ = row
        if thumbnail:
            thumbnails[i] = np.frombuffer(thumbnail, np.uint8)
        if descriptor:
            faces[i] = True
            descriptors[i] = np.frombuffer(descriptor, np.float32)
    return Looks(digests, faults, faces, thumbnails, descriptors)
