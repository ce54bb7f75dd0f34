"""The face on a photographed card, as `verify` finds it; work for many processes, see `workers`."""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.schema import Capture
from faceverify.cards import phone
from faceverify.cards.effects import Effects
from faceverify.faces.aligned_photos import decode_aligned, encode_png
from faceverify.faces.dlib_descriptor import landmarks_of_aligned
from faceverify.faces.landmarks import flatten
from faceverify.verify import camera_photos, face_networks
from faceverify.verify.capture import find_face
from faceverify.verify.refusals import CaptureError


class Cards(NamedTuple):
    """What decides the cards, and whether a face on one can be used."""

    effects: Effects
    seed: int
    networks: Path  # the folder of the two networks that find a face
    landmark_model: Path  # dlib's 68-point model, for its descriptor
    limits: Capture


class CardFace(NamedTuple):
    """What `verify` found on a card: an aligned face and dlib's landmarks, or why there is none."""

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
        face = find_face(decoded, networks(cards.networks), cards.limits, any_side=True)
    except CaptureError as error:
        return CardFace(error.code, b"", np.empty(0, np.int32))
    points = landmarks_of_aligned(face.aligned, cards.landmark_model)
    return CardFace("", encode_png(face.aligned), np.array(flatten(points), np.int32))


@functools.cache
def networks(folder: Path) -> face_networks.FaceNetworks:
    """The networks that find a face, once per process; InputError for files that are others."""
    face_networks.check(folder)
    finder, mesh = (file.read_bytes() for file in face_networks.paths(folder))
    return face_networks.FaceNetworks(face_networks.Finder(finder), face_networks.Mesh(mesh))
