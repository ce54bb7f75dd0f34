"""Find a photo's main face by dlib: which way it is turned, where its 68 landmarks lie."""

import copy
import functools
import threading
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import numpy as np

from faceverify.faces import landmarks
from faceverify.faces.aligned_photos import resized

# Sides of the photo, in pixels, at which faces are searched; dlib's smallest face has 73 pixels.
SEARCH_SIDES = (320, 640, 1280, 2048)
MAX_ENLARGEMENT = 3
SMALLEST_FACE = 73
# Width of the replicated border around a photo whose face touches its frame, as a share of its
# longest side.
BORDER = 0.15
# dlib's detection scores. Of real faces, 97 in 100 score above the first; wrong second faces in
# photos of one person score below it. An upside-down face never scores above the second.
SURE_SCORE, UPRIGHT_SCORE = 0.4, 1.0
# Side, in pixels, to which a face is scaled for dlib's predictor, whose points are whole pixels.
PREDICTOR_SIDE = 256


class Located(NamedTuple):
    """The main face of a photo, in pixels of the photo after `turns` quarter turns.

    `turns` counter-clockwise bring it upright. `points`: its 68 landmarks, float (68, 2) as
    (x, y). `others`: how many further faces of comparable size there are.
    """

    turns: int
    points: np.ndarray
    others: int


def locate(
    grey: np.ndarray, predictor_file: Path, second_face: float, *, any_side: bool
) -> Located | None:
    """Find the largest face of a grey photo, uint8 (height, width); None where there is none.

    `predictor_file` is dlib's 68-point model. Another face counts when its side is at least
    `second_face`, 0 .. 1, of the largest one's. With `any_side` a face that lies on its side or
    upside down is found too. May be called from several threads at once.
    """
    faces = _search(grey, (0, 1, 2, 3) if any_side else (0,))
    if not faces.scores:
        return None
    faces = _search_small(grey, faces, second_face)
    main = faces.main()
    points = _predict(np.rot90(grey, faces.turns), faces.boxes[main], predictor_file)
    return Located(faces.turns, points, faces.others(main, second_face))


class _Faces(NamedTuple):
    """Found faces: `boxes` as (left, top, right, bottom) in pixels of the photo after `turns`."""

    turns: int
    side: float  # at which the photo was searched
    boxes: list[np.ndarray]
    scores: list[float]

    def best(self) -> float:
        return max(self.scores, default=-np.inf)

    def size(self, i: int) -> float:
        return self.boxes[i][2] - self.boxes[i][0]

    def main(self) -> int:
        """The largest of the sure faces; where none is sure, the likeliest."""
        sure = [i for i, score in enumerate(self.scores) if score >= SURE_SCORE]
        return max(sure, key=self.size) if sure else int(np.argmax(self.scores))

    def others(self, main: int, share: float) -> int:
        """How many further sure faces have at least this share of the main one's side."""
        return sum(
            score >= SURE_SCORE and self.size(i) >= share * self.size(main)
            for i, score in enumerate(self.scores)
            if i != main
        )


def _search(grey: np.ndarray, turns: tuple[int, ...]) -> _Faces:
    """Search from coarse to fine, until a face is sure; else give the likeliest faces."""
    doubtful = []
    for side, border in [*((side, 0.0) for side in SEARCH_SIDES), (SEARCH_SIDES[0], BORDER)]:
        found = _detect(grey, side, turns[0], border)
        if found.best() < UPRIGHT_SCORE:
            # An upside-down face can look like a face as well, but less so.
            tried = [found, *(_detect(grey, side, turn, border) for turn in turns[1:])]
            found = max(tried, key=_Faces.best)
        if found.best() >= SURE_SCORE:
            return found
        doubtful.append(found)
    return max(doubtful, key=_Faces.best)


def _search_small(grey: np.ndarray, faces: _Faces, share: float) -> _Faces:
    """Search again at a larger scale if a face of this share of the largest may be overlooked."""
    smallest = share * faces.size(faces.main()) * faces.side / max(grey.shape)
    if smallest >= SMALLEST_FACE:
        return faces
    # A share of 0 counts every face, however small.
    side = min(faces.side * SMALLEST_FACE / max(smallest, 1.0), SEARCH_SIDES[-1])
    if side <= faces.side:
        return faces
    finer = _detect(grey, side, faces.turns, 0.0)
    return finer if finer.best() >= SURE_SCORE else faces


@functools.cache
def detector() -> dlib.fhog_object_detector:
    """dlib's face detector, which takes 0.4 s to unpack: a copy of it is ready at once."""
    return dlib.get_frontal_face_detector()


# Detecting changes the detector inside, so that each thread has its own.
_local = threading.local()


def _detect(grey: np.ndarray, side: float, turns: int, border: float) -> _Faces:
    """Detect the faces of a photo that is scaled to this longest side, turned and given a border.

    The boxes are in pixels of the unscaled photo, without the border.
    """
    if not hasattr(_local, "detector"):
        _local.detector = copy.copy(detector())
    longest = max(grey.shape)
    factor = min(side / longest, MAX_ENLARGEMENT)
    small = np.rot90(resized(grey, factor), turns)
    margin = round(border * max(small.shape))
    small = cv2.copyMakeBorder(
        np.ascontiguousarray(small), *[margin] * 4, borderType=cv2.BORDER_REPLICATE
    )
    rectangles, scores, _ = _local.detector.run(small, 0, 0.0)
    boxes = [
        (np.array([r.left(), r.top(), r.right() + 1, r.bottom() + 1]) - margin) / factor
        for r in rectangles
    ]
    return _Faces(turns, factor * longest, boxes, list(scores))


def _predict(grey: np.ndarray, box: np.ndarray, predictor_file: Path) -> np.ndarray:
    """The 68 landmarks, float (68, 2), of the face in a box; both in pixels of the photo.

    The face is cut out with half a box around it and brought to PREDICTOR_SIDE, so that neither
    the noise of a large one nor the whole pixels of dlib's points in a small one matter.
    """
    height, width = grey.shape
    margin = (box[2] - box[0]) / 2
    left, top = np.floor(box[:2] - margin).astype(int)
    right, bottom = np.ceil(box[2:] + margin).astype(int)
    columns = np.arange(left, right).clip(0, width - 1)
    rows = np.arange(top, bottom).clip(0, height - 1)
    factor = PREDICTOR_SIDE / (box[2] - box[0])
    cut = resized(grey[rows[:, None], columns], factor)
    ratio = np.array(cut.shape[::-1]) / (right - left, bottom - top)
    place = np.rint((box - [left, top, left, top]) * np.tile(ratio, 2)).astype(int)
    place[2:] -= 1  # dlib's last pixel lies inside
    shape = landmarks.predictor(predictor_file)(cut, dlib.rectangle(*place.tolist()))
    points = np.array([(point.x, point.y) for point in shape.parts()])
    # Pixel centres lie at whole numbers in both pictures.
    return (points + 0.5) / ratio - 0.5 + (left, top)
