"""The baseline: dlib's face descriptor, 128 numbers; a distance below 0.6 means the same person."""

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import dlib
import joblib
import numpy as np
from tqdm import tqdm

from faceverify.base.cache import stored
from faceverify.base.digests import check_digest
from faceverify.base.errors import GivenFileError
from faceverify.base.workers import LOCAL, results
from faceverify.faces.aligned_photos import decode_aligned
from faceverify.faces.landmarks import find_landmarks, unflatten

# dlib's own threshold on the Euclidean distance of two descriptors;
# http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html
THRESHOLD = 0.6
NUMBERS = 128  # of a descriptor
# About dlib's box of the face in an aligned photo.
_FACE_BOX = dlib.rectangle(38, 75, 138, 175)
# The file of the network in data/, as dlib publishes it, and its SHA-256.
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
PUBLISHED = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"


def descriptors(
    paths: Sequence[Path],
    landmarks: Sequence[Sequence[int]],
    model_file: Path,
    cache: Path,
    workers: str = LOCAL,
) -> np.ndarray:
    """The descriptors of aligned photos, float32 (photos, 128), cached by their inputs.

    `landmarks` are each photo's 136 numbers in pixels; `workers` says where the work is done, as
    for `results`. Raises InputError as `check_network` and `results` do.
    """
    check_network(model_file)

    def batches() -> Iterator[np.ndarray]:
        jobs = (
            joblib.delayed(_describe)(path, numbers, model_file)
            for path, numbers in zip(paths, landmarks, strict=True)
        )
        found = results(jobs, workers)
        for row in tqdm(found, "dlib descriptors", len(paths), unit="photo", disable=None):
            yield row[None]

    inputs = [f"dlib {dlib.__version__} {list(landmarks)}", model_file, *paths]
    return stored(cache, inputs, (len(paths), NUMBERS), batches)


def _describe(path: Path, landmarks: Sequence[int], model_file: Path) -> np.ndarray:
    return describe(decode_aligned(path.read_bytes()), unflatten(landmarks), model_file)


def describe(photo: np.ndarray, landmarks: np.ndarray, model_file: Path) -> np.ndarray:
    """The descriptor, float32 (128,), of the face with these landmarks, (68, 2) in photo pixels."""
    points = [dlib.point(int(x), int(y)) for x, y in landmarks]
    whole = dlib.rectangle(0, 0, photo.shape[1] - 1, photo.shape[0] - 1)
    shape = dlib.full_object_detection(whole, points)
    return np.array(_model(model_file).compute_face_descriptor(photo, shape), np.float32)


def landmarks_of_aligned(photo: np.ndarray, predictor_file: Path) -> np.ndarray:
    """dlib's 68 landmarks, int (68, 2), of an aligned photo, uint8 RGB (218, 178, 3)."""
    return find_landmarks(photo, predictor_file, _FACE_BOX)


def check_network(file: Path) -> None:
    """Load dlib's descriptor network; GivenFileError when the file is missing or another one.

    The file's hash is checked first, because a damaged file may crash dlib.
    """
    check_digest(file, PUBLISHED, "dlib's published face descriptor model", GivenFileError)
    _model(file)


@functools.cache
def _model(file: Path) -> dlib.face_recognition_model_v1:
    return dlib.face_recognition_model_v1(os.fsencode(file))  # bytes: any name
