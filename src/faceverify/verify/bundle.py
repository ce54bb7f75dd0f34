"""The bundle's test vectors: what a right app makes of three photos, and what it must refuse.

They are written when a verifier is exported, and checked by `faceverify selftest`. An app in
another language runs the same list.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import Field

from faceverify.base.errors import InputError
from faceverify.base.files import content, parse_json, path_inside, replacing, write_json
from faceverify.base.schema import Angle, Digest, Group, Number, Share, checked
from faceverify.faces import alignment
from faceverify.faces.aligned_photos import CANVAS_SIZE, PHOTO_HEIGHT, PHOTO_WIDTH, to_canvas
from faceverify.verify import camera_photos, verifier_file
from faceverify.verify.face_networks import (
    FINDER,
    MESH,
    POINT_VERTICES,
    FaceNetworks,
    Finder,
    Mesh,
)
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import Embedding, Verifier

DESCRIPTION, MODEL, VECTORS = "verifier.json", "verifier.tflite", "vectors.json"
LARGEST = 2**20  # bytes of the vectors, and of a photo
# What a right app may differ by: the points in pixels of the photo, a quality, and in radians the
# angle between its embedding and the stated one, and theta.
TOLERANCES = {"points": 1.5, "quality": 0.05, "embedding": 0.1, "theta": 0.05}
# The photos are small and old: only the quality decides on them.
LENIENT = {
    "min_interocular": 0.0,
    "min_sharpness": 0.0,
    "min_brightness": 0.0,
    "max_brightness": 255.0,
}
SWAPPED = (1, 0, 2, 4, 3)  # the five points, right for left
BOX = 2.4  # side of a detector's box, in distances of the eyes
# What ML Kit calls the five points, see `verifier_file.MlKitPoint`. NOSE_BRIDGE ends at the tip.
_ML_KIT = {
    "right_eye": ("contour", "RIGHT_EYE", []),
    "left_eye": ("contour", "LEFT_EYE", []),
    "nose_tip": ("contour", "NOSE_BRIDGE", [1]),
    "mouth_right": ("landmark", "MOUTH_RIGHT", []),
    "mouth_left": ("landmark", "MOUTH_LEFT", []),
}
Position = Annotated[list[Number], Field(min_length=2, max_length=2)]


class Right(Group):
    """A photo of the bundle and what a right app makes of it.

    `points`: the five points of `verifier_file.Alignment`, (x, y) in pixels of the photo. `canvas`:
    SHA-256 of the canvas's bytes, row by row, for an app with the arithmetic of OpenCV.
    """

    file: str
    sha256: Digest
    points: Annotated[list[Position], Field(min_length=5, max_length=5)]
    canvas: Digest
    embedding: list[Number]
    quality: Share
    refused: bool


class Wrong(Group):
    """A wrong canvas of a photo, its quality, and whether it is refused for that.

    `theta`: the angle of its embedding to the right one's.
    """

    kind: str
    file: str
    quality: Share
    refused: bool
    theta: Angle


class Pair(Group):
    """Two photos compared."""

    first: str
    second: str
    theta: Angle
    accepted: bool


class Tolerances(Group):
    """See TOLERANCES."""

    points: Number
    quality: Number
    embedding: Angle
    theta: Angle


class Vectors(Group):
    """The contents of `vectors.json`; `model` is the SHA-256 of the file that they are of."""

    model: Digest
    tolerances: Tolerances
    right: Annotated[list[Right], Field(min_length=2)]
    pairs: list[Pair]
    wrong: list[Wrong]


def input_values() -> dict[str, Any]:
    """`input` of `verifier.json`: how this library makes a canvas of a photo."""
    return {
        "front_camera": "unmirrored",
        "transform": "least_squares_similarity",
        "mirroring": False,
        "pixel_centres": "whole_numbers",
        "shrinking": "area",
        "sampling": "bilinear",
        "border": "replicate",
        "stretch": "bilinear",
        "aligned_width": PHOTO_WIDTH,
        "aligned_height": PHOTO_HEIGHT,
        "canvas_width": CANVAS_SIZE,
        "canvas_height": CANVAS_SIZE,
        "channels": "RGB",
        "type": "uint8",
        "alignment": dict(zip(POINT_VERTICES, alignment.CANONICAL_POINTS.tolist(), strict=True)),
        "points": {
            name: {
                "mesh": vertices,
                "ml_kit": dict(zip(("kind", "name", "points"), _ML_KIT[name], strict=True)),
            }
            for name, vertices in POINT_VERTICES.items()
        },
    }


def mirrored(aligned: np.ndarray, photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A front camera's picture that was not mirrored back."""
    return to_canvas(np.ascontiguousarray(aligned[:, ::-1]))


def blue_for_red(aligned: np.ndarray, photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The channels in the order BGR."""
    return np.ascontiguousarray(to_canvas(aligned)[..., ::-1])


def box(aligned: np.ndarray, photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A square around the five points, without an alignment."""
    side = BOX * np.linalg.norm(points[1] - points[0])
    left, top = np.rint(points.mean(axis=0) - side / 2).astype(int).clip(0)
    cut = photo[top : top + round(side), left : left + round(side)]
    return cv2.resize(cut, (CANVAS_SIZE, CANVAS_SIZE), interpolation=cv2.INTER_LINEAR_EXACT)


def swapped(aligned: np.ndarray, photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An alignment in which right and left are the viewer's."""
    return to_canvas(alignment.align(photo, alignment.alignment_matrix(points[list(SWAPPED)])))


# Each makes a canvas of an aligned face, the upright photo, and the five points in it.
WRONG: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "mirrored": mirrored,
    "bgr": blue_for_red,
    "box": box,
    "swapped": swapped,
}


def write(
    folder: Path,
    description: dict[str, Any],
    model: bytes,
    networks: tuple[bytes, bytes],
    photos: dict[str, bytes],
) -> None:
    """Write a bundle: the models, `photos` by name, their vectors, and `verifier.json`, the last.

    `networks`: finder and mesh, see `face_networks`.

    `description` is that of `VerifierDescription` without version and vectors. Raises InputError
    as `make` does, before anything is written.
    """
    none = "0" * 64
    unnamed = {"version": none, "vectors": {"file": VECTORS, "sha256": none, "bytes": 1}}
    whole = checked(verifier_file.VerifierDescription, description | unnamed, folder / DESCRIPTION)
    faces = FaceNetworks(*(kind(data) for kind, data in zip((Finder, Mesh), networks, strict=True)))
    vectors = make(Verifier(whole, verifier_file.Network(model), faces), photos)
    found_by = dict(zip((FINDER, MESH), networks, strict=True))
    for name, data in (photos | found_by | {MODEL: model}).items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(data)
    write_json(folder / VECTORS, vectors, indent=1)
    named = (folder / VECTORS).read_bytes()
    description = description | {
        "vectors": {
            "file": VECTORS,
            "sha256": hashlib.sha256(named).hexdigest(),
            "bytes": len(named),
        }
    }
    verifier_file.write(folder / DESCRIPTION, description)


def make(verifier: Verifier, photos: dict[str, bytes]) -> dict[str, Any]:
    """The vectors of a verifier for photos, name -> file; see `Vectors`.

    The first two photos are of one person. Raises InputError for a photo in which the verifier
    finds no face.
    """
    least = verifier.description.capture.min_quality
    found = {name: _embedded(verifier, name, data) for name, data in photos.items()}
    first, *others = found
    return {
        "model": verifier.description.model.sha256,
        "tolerances": TOLERANCES,
        "right": [
            {
                "file": name,
                "sha256": hashlib.sha256(photos[name]).hexdigest(),
                "points": np.round(own.face.points, 3).tolist(),
                "canvas": _digest(to_canvas(own.face.aligned)),
                "embedding": np.round(own.vector.astype(float), 6).tolist(),
                "quality": round(own.quality, 6),
                "refused": own.quality < least,
            }
            for name, own in found.items()
        ],
        "pairs": [
            {
                "first": first,
                "second": other,
                "theta": (theta := _theta(verifier, found[first].vector, found[other].vector)),
                "accepted": theta < verifier.description.threshold,
            }
            for other in others
        ],
        "wrong": [
            {"kind": kind, "file": name, **_judged(verifier, canvas, own.vector)}
            for name, own in found.items()
            for kind, canvas in _wrong(photos[name], own)
        ],
    }


def selftest(path: Path) -> tuple[Verifier, list[str]]:
    """Load a bundle by its `verifier.json` and run its vectors: the verifier, and all faults.

    Raises InputError for a bundle that is damaged or lacks a file.
    """
    verifier = Verifier.load(path)
    named = verifier.description.vectors
    text = _file(path.parent, named.file, named.sha256)
    try:
        stated = checked(Vectors, parse_json(text), path.parent / named.file)
    except ValueError as error:
        raise InputError(f"{path.parent / named.file} is not valid JSON: {error}") from None
    if stated.model != verifier.description.model.sha256:
        raise InputError(f"{path.parent / named.file} is of another model")
    photos = {one.file: _file(path.parent, one.file, one.sha256) for one in stated.right}
    return verifier, list(faults(stated, checked(Vectors, make(verifier, photos), "this run")))


def faults(stated: Vectors, found: Vectors) -> Iterator[str]:
    """What is not as stated, in a line each; an app's own run may be compared in this way."""
    limit = stated.tolerances
    for one, other in zip(stated.right, found.right, strict=True):
        off = np.linalg.norm(np.subtract(one.points, other.points), axis=1).max()
        if off > limit.points:
            yield f"{one.file}: a point is {off:.2f} pixels off"
        if one.canvas != other.canvas:
            yield f"{one.file}: the canvas has other bytes"
        if (angle := _apart(one.embedding, other.embedding)) > limit.embedding:
            yield f"{one.file}: the embedding is {angle:.3f} radians off"
        yield from _quality_faults(one.file, one, other, limit.quality)
    for pair, again in zip(stated.pairs, found.pairs, strict=True):
        name = f"{pair.first} and {pair.second}"
        if abs(pair.theta - again.theta) > limit.theta:
            yield f"{name}: theta is {again.theta:.3f}, not {pair.theta:.3f}"
        if pair.accepted != again.accepted:
            yield f"{name}: {'accepted' if again.accepted else 'not accepted'}"
    for wrong, again in zip(stated.wrong, found.wrong, strict=True):
        yield from _quality_faults(f"{wrong.file}, {wrong.kind}", wrong, again, limit.quality)


def _quality_faults(
    name: str, one: Right | Wrong, other: Right | Wrong, limit: float
) -> Iterator[str]:
    if abs(one.quality - other.quality) > limit:
        yield f"{name}: the quality is {other.quality:.3f}, not {one.quality:.3f}"
    if one.refused != other.refused:
        yield f"{name}: {'refused' if other.refused else 'not refused'}"


def _file(folder: Path, name: str, sha256: str) -> bytes:
    """A file of the bundle; InputError where it is missing or another one."""
    path = path_inside(folder, name)
    try:
        data = content(path, LARGEST)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; bring the whole bundle again") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{path} is not the bundle's; bring the whole bundle again")
    return data


def _embedded(verifier: Verifier, name: str, photo: bytes) -> Embedding:
    """The face of a photo, whatever the limits of the verifier are."""
    limits = verifier.description.capture.model_copy(update=LENIENT | {"min_quality": 0.0})
    description = verifier.description.model_copy(update={"capture": limits})
    lenient = Verifier(description, verifier.network, verifier.faces)
    try:
        points = np.round(lenient.embed(photo).face.points, 3)
        # An app that begins with the stated points has the stated canvas, to the byte.
        return lenient.embed_points(photo, points)
    except CaptureError as error:
        raise InputError(f"{name}: {error}") from None


def _wrong(photo: bytes, own: Embedding) -> Iterator[tuple[str, np.ndarray]]:
    pixels = camera_photos.decode(photo).pixels
    for kind, canvas in WRONG.items():
        yield kind, canvas(own.face.aligned, pixels, own.face.points)


def _judged(verifier: Verifier, canvas: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    (vector,), (quality,) = verifier.network.embed(canvas[None])
    return {
        "quality": round(float(quality), 6),
        "refused": bool(quality < verifier.description.capture.min_quality),
        "theta": _theta(verifier, right, vector),
    }


def _theta(verifier: Verifier, first: np.ndarray, second: np.ndarray) -> float:
    theta, _ = verifier.network.compare(first[None], second[None])
    return round(float(theta[0]), 6)


def _apart(first: list[float], second: list[float]) -> float:
    """The angle between two embeddings, as a whole."""
    one, other = (np.array(v) / max(float(np.linalg.norm(v)), 1e-12) for v in (first, second))
    return float(2 * np.arctan2(np.linalg.norm(one - other), np.linalg.norm(one + other)))


def _digest(canvas: np.ndarray) -> str:
    return hashlib.sha256(canvas.tobytes()).hexdigest()
