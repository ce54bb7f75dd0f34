"""The same job by dlib alone, in the steps of the `face_recognition` package.

Pillow decodes, dlib's frontal detector searches at twice the size (the package's default), the
68-point model gives the landmarks and the ResNet the descriptor; below 0.6 it is one person.
"""

import functools
import sys
from pathlib import Path

import dlib
import numpy as np
from PIL import Image

DATA = Path("data")
PREDICTOR = "shape_predictor_68_face_landmarks.dat"
DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"
THRESHOLD = 0.6


@functools.cache
def models() -> tuple:
    """The detector, the landmark model and the descriptor model."""
    return (
        dlib.get_frontal_face_detector(),
        dlib.shape_predictor(str(DATA / PREDICTOR)),
        dlib.face_recognition_model_v1(str(DATA / DESCRIPTOR)),
    )


def describe(path: str) -> np.ndarray | None:
    """The descriptor (128,) of a photo's first face; None where there is no face."""
    detector, predictor, descriptor = models()
    photo = np.array(Image.open(path).convert("RGB"))
    faces = detector(photo, 1)
    if not faces:
        return None
    return np.array(descriptor.compute_face_descriptor(photo, predictor(photo, faces[0]), 1))


def distance(first: str, second: str) -> float:
    """How far two photos' faces are apart."""
    return float(np.linalg.norm(describe(first) - describe(second)))


if __name__ == "__main__":
    found = distance(*sys.argv[1:])
    print("accept" if found < THRESHOLD else "reject", found)
