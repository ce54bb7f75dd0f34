"""Faces and their 68 landmarks, by dlib."""

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
# The file of the model in data/, as dlib publishes it.
PREDICTOR = "shape_predictor_68_face_landmarks.dat"
# SHA-256 of that file. It has 100 MB; a model of one's own may have this many bytes.
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
    """Give the 68 landmarks of a photo's largest face, int (68, 2) as (x, y) in pixels.

    `photo` is uint8 RGB (height, width, 3). A photo without a face at its own size is searched
    again at twice that size. Points can lie outside the photo. Where there is no face, the
    landmarks are sought in the rectangle `otherwise`; without it UnusableError is raised.
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
    """Load dlib's 68-point model once; InputError when it is missing or not such a model.

    dlib itself may fall over a damaged file: it only gets the published model, packed or not, or
    one with its SHA-256 beside it.
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
    """(68, 2) points as the data contract's 136 numbers: the 68 x's, then the 68 y's."""
    return points.T.reshape(-1).tolist()


def unflatten(numbers: np.ndarray) -> np.ndarray:
    """The 136 numbers of each face, (..., 136), as points (..., 68, 2)."""
    numbers = np.asarray(numbers)
    return np.moveaxis(numbers.reshape(*numbers.shape[:-1], 2, POINTS), -2, -1)


def interocular_distance(points: np.ndarray) -> np.ndarray:
    """Distance between the outer eye corners of (..., 68, 2) points, the 300-W norm."""
    right, left = OUTER_EYE_CORNERS
    return np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1)


@functools.cache
def _detector() -> dlib.fhog_object_detector:
    return dlib.get_frontal_face_detector()


@functools.cache
def predictor(file: Path) -> dlib.shape_predictor:
    """Load a landmark model, once for each file; InputError when it has not 68 points."""
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
    """The model in parts; InputError when it is damaged or unpacks to more than MAX_BYTES."""
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
