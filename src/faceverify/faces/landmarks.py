"""The 68 landmarks of a face: found by dlib, and as the 136 numbers of the data."""

import bz2
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dlib
import numpy as np

from faceverify.base.digests import check_checksum
from faceverify.base.errors import GivenFileError, InputError, UnusableError

POINTS = 68
LANDMARK_NUMBERS = 2 * POINTS  # the 68 x's, then the 68 y's
# The name of the model's file in data/, as dlib publishes it.
PREDICTOR = "shape_predictor_68_face_landmarks.dat"
# SHA-256 of that file, of 100 MB, and the limit for another, unpacked model.
PUBLISHED = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
MAX_BYTES = 256 * 2**20
# Indices in the 68-point scheme of the iBUG 300-W annotations;
# https://ibug.doc.ic.ac.uk/resources/300-W/
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
NOSE_TIP, MOUTH_RIGHT, MOUTH_LEFT = 30, 48, 54
OUTER_EYE_CORNERS = (36, 45)


def find_landmarks(
    photo: np.ndarray, predictor_file: Path, otherwise: dlib.rectangle | None = None
) -> np.ndarray:
    """The 68 landmarks of a photo's largest face, int (68, 2) as (x, y) in pixels.

    `photo` is uint8 RGB (height, width, 3); it is searched at its own size and, where no face is
    found, at twice that size. Landmarks can lie outside the photo. Without a face they are those
    of the rectangle `otherwise`, if given; else UnusableError is raised.
    """
    detector = _detector()
    faces = detector(photo, 0) or detector(photo, 1)
    if not faces and otherwise is None:
        raise UnusableError("no face found")
    faces = faces or [otherwise]
    largest = max(faces, key=lambda face: face.area())
    shape = predictor(predictor_file)(photo, largest)
    return np.array([(point.x, point.y) for point in shape.parts()])


def check_predictor(file: Path) -> None:
    """Load a 68-point landmark model; InputError when it is missing or no such model.

    A damaged file may crash dlib. So the file must be the published model, packed or not, or have
    its SHA-256 beside it, in `<file>.sha256`.
    """
    _check_there(file)
    found = hashlib.sha256()
    for part in _unpacked(file):
        found.update(part)
    if found.hexdigest() != PUBLISHED:
        try:
            check_checksum(file)
        except InputError as error:
            raise InputError(f"{file} is not dlib's published landmark model: {error}") from None
    predictor(file)


def flatten(points: np.ndarray) -> list[int]:
    """Points (68, 2) as the 136 numbers of the data's files: the 68 x's, then the 68 y's."""
    return points.T.reshape(-1).tolist()


def unflatten(numbers: np.ndarray) -> np.ndarray:
    """The 136 numbers of each face, (..., 136), as points (..., 68, 2): `flatten` undone."""
    numbers = np.asarray(numbers)
    return np.moveaxis(numbers.reshape(*numbers.shape[:-1], 2, POINTS), -2, -1)


def five_points(points: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners, float (5, 2), of the 68 landmarks (68, 2)."""
    return np.array(
        [
            points[RIGHT_EYE].mean(axis=0),
            points[LEFT_EYE].mean(axis=0),
            points[NOSE_TIP],
            points[MOUTH_RIGHT],
            points[MOUTH_LEFT],
        ]
    )


def interocular_distance(points: np.ndarray) -> np.ndarray:
    """Distance between the outer eye corners of points (..., 68, 2), which 300-W normalises by."""
    right, left = OUTER_EYE_CORNERS
    return np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1)


@functools.cache
def _detector() -> dlib.fhog_object_detector:
    return dlib.get_frontal_face_detector()


@functools.cache
def predictor(file: Path) -> dlib.shape_predictor:
    """Load a landmark model, once per process; InputError unless it has 68 points."""
    _check_there(file)
    try:
        if file.suffix != ".bz2":
            loaded = dlib.shape_predictor(os.fsencode(file))  # bytes: any name
        else:
            with tempfile.NamedTemporaryFile(suffix=".dat") as unpacked:
                unpacked.writelines(_unpacked(file))
                unpacked.flush()
                loaded = dlib.shape_predictor(unpacked.name)
    except RuntimeError as error:
        raise InputError(f"{file} is not a dlib landmark model: {error}") from None
    blank = np.zeros((2, 2, 3), np.uint8)
    points = loaded(blank, dlib.rectangle(0, 0, 1, 1)).num_parts
    if points != POINTS:
        raise InputError(f"{file} gives {points} landmarks; use dlib's {POINTS}-point model")
    return loaded


def _check_there(file: Path) -> None:
    if not file.is_file():
        raise GivenFileError(f"{file} is missing")


def _unpacked(file: Path) -> Iterator[bytes]:
    """The model's bytes in parts; InputError when it does not unpack or exceeds MAX_BYTES."""
    left = MAX_BYTES
    try:
        with bz2.open(file) if file.suffix == ".bz2" else file.open("rb") as packed:
            while part := packed.read(2**20):
                left -= len(part)
                if left < 0:
                    raise InputError(f"{file} holds more than {MAX_BYTES // 2**20} MB")
                yield part
    except EOFError as error:
        raise InputError(f"{file} is not a dlib landmark model: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{file} is not a dlib landmark model: {error}") from None
