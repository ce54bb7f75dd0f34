"""The face on a photographed card, as `verify` finds it; work for many processes, see `workers`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.schema import Capture
from faceverify.cards import phone
from faceverify.cards.effects import Effects
from faceverify.faces.aligned_photos import decode_aligned, encode_png
from faceverify.faces.alignment import alignment_matrix
from faceverify.faces.landmarks import flatten
from faceverify.verify import camera_photos
from faceverify.verify.capture import find_face
from faceverify.verify.refusals import CaptureError


class Cards(NamedTuple):
    """What decides the cards, and whether a face on one can be used."""

    effects: Effects
    seed: int
    landmark_model: Path  # dlib's 68-point model
    limits: Capture


class CardFace(NamedTuple):
    """What `verify` found on a card: an aligned face and its landmarks, or why there is none."""

    refusal: str  # the code of a CaptureError, or empty
    aligned: bytes  # PNG
    landmarks: np.ndarray  # int32 (136,) pixels of the aligned face: the 68 x's, then the 68 y's


def face_on_card(photo: Path, source: str, cards: Cards) -> CardFace:
    """Print a face on a card, photograph it, and look for it as `verify` does.

    `photo` is an aligned photo's file and `source` the name that its card is drawn from.
    """
    printed = decode_aligned(photo.read_bytes())
    seen = phone.photographed_card(printed, cards.effects, cards.seed, source)
    try:
        decoded = camera_photos.decode(seen)
        face = find_face(decoded, cards.landmark_model, cards.limits, any_side=True)
    except CaptureError as error:
        return CardFace(error.code, b"", np.empty(0, np.int32))
    matrix = alignment_matrix(face.points)
    points = np.rint(face.points @ matrix[:, :2].T + matrix[:, 2]).astype(np.int32)
    return CardFace("", encode_png(face.aligned), np.array(flatten(points), np.int32))
