"""Find and align the face of a decoded photo; refuse one that is not good enough to compare."""

from typing import NamedTuple

import cv2
import numpy as np

from faceverify.base.schema import Capture
from faceverify.faces import alignment
from faceverify.verify import face_search
from faceverify.verify.camera_photos import Photo
from faceverify.verify.face_networks import FaceNetworks, five_points
from faceverify.verify.refusals import (
    BlurredError,
    FaceTooSmallError,
    NoFaceError,
    SeveralFacesError,
    TooDarkError,
    WashedOutError,
    WrongPointsError,
)

# Rows and columns of an aligned photo from the brows to below the lips and from cheek to cheek.
FACE_AREA = (slice(86, 174), slice(50, 128))
# Sigmas, in canvas pixels, of the two Gaussian blurs whose difference is the detail of a band.
FINE_BAND, COARSE_BAND = (1.4, 2.0), (3.0, 6.0)
# What is less sharp, or brighter, is often refused beside another photo of the person: at theta 0.6
# 60% and more of what is shaken, 44% and more of what is so bright, before pale and dull frames got
# more contrast and details; docs/verify.md has the rates.
SHARP, BRIGHT = 0.42, 220


class FoundFace(NamedTuple):
    """The face that was found in a photo.

    `points`: its five points, float (5, 2) as (x, y), in the order of
    `alignment.CANONICAL_POINTS`, and `mesh`: all that was read of it, float (N, 2). Both are in
    pixels of the photo after `turns` quarter turns counter-clockwise, which brought it upright.
    `aligned`: uint8 RGB (218, 178, 3). `interocular`: distance between the eye centres in pixels
    of the photo as taken. `others`: how many further faces of comparable size there are.
    """

    points: np.ndarray
    mesh: np.ndarray
    turns: int
    aligned: np.ndarray
    interocular: float
    others: int


def find_face(
    photo: Photo,
    networks: FaceNetworks,
    limits: Capture,
    *,
    any_side: bool = False,
    allow_several: bool = False,
) -> FoundFace:
    """Find a photo's face and align it.

    With `any_side` a face that lies on its side or upside down is found too, as on a card. With
    `allow_several` the largest face is taken where there are several. Raises the CaptureError that
    says why the photo cannot be used. May be called from several threads at once.
    """
    face = face_search.locate(photo.pixels, networks, limits.second_face, any_side=any_side)
    if face is None:
        raise NoFaceError("no face was found; show the whole face, from the front and upright")
    if face.others and not allow_several:
        raise SeveralFacesError("there is more than one face; show only your own")
    upright = photo._replace(pixels=np.ascontiguousarray(np.rot90(photo.pixels, face.turns)))
    taken = face_at(upright, five_points(face.mesh), limits)
    return taken._replace(mesh=face.mesh, turns=face.turns, others=face.others)


def face_at(photo: Photo, points: np.ndarray, limits: Capture) -> FoundFace:
    """Align the face of which the five points are known, float (5, 2), in pixels of `photo`.

    They are in the order of `alignment.CANONICAL_POINTS`. Raises WrongPointsError for points that
    do not lie as a face's do, and the CaptureError that says why the photo cannot be used.
    """
    matrix = alignment.alignment_matrix(points) if np.isfinite(points).all() else None
    if matrix is None or alignment.residual(points, matrix) > limits.max_residual:
        raise WrongPointsError(
            "eyes, nose and mouth do not lie as in a face seen from the front; look at the camera"
        )
    interocular = float(np.linalg.norm(points[1] - points[0])) * photo.scale
    if interocular < limits.min_interocular:
        raise FaceTooSmallError("the face is too small; move the phone closer")
    aligned = alignment.align(photo.pixels, matrix)
    check_quality(aligned, limits)
    return FoundFace(points, points, 0, aligned, interocular, 0)


def check_quality(aligned: np.ndarray, limits: Capture) -> None:
    """Raise TooDarkError, WashedOutError or BlurredError where an aligned face exceeds a limit."""
    light = brightness(aligned)
    if light < limits.min_brightness:
        raise TooDarkError("the face is too dark; use more light")
    if light > limits.max_brightness:
        raise WashedOutError("the face is washed out; avoid flash, glare and bright light on it")
    if sharpness(aligned) < limits.min_sharpness:
        raise BlurredError("the face is blurred; hold the phone still and use more light")


def advice(aligned: np.ndarray) -> list[str]:
    """What may keep the person on an aligned face from being recognised, each with what to do."""
    said = []
    if brightness(aligned) > BRIGHT:
        said.append("the face is rather bright; avoid flash, glare and bright light on it")
    if sharpness(aligned) < SHARP:
        said.append("the face is rather blurred; hold the phone still and use more light")
    return said


def brightness(aligned: np.ndarray) -> float:
    """Mean luma of an aligned face, uint8 RGB (218, 178, 3); 0 (black) .. 255 (white).

    Luma is ITU-R BT.601's, taken inside FACE_AREA.
    """
    return float(cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)[FACE_AREA].mean())


def sharpness(aligned: np.ndarray) -> float:
    """Fine detail of an aligned face, uint8 RGB (218, 178, 3), over its coarse detail; 0 or more.

    Both are differences of Gaussians (Marr and Hildreth, "Theory of edge detection", 1980)
    inside FACE_AREA: their gradients' standard deviations, whose ratio does not change with the
    photo's brightness or contrast. The lesser of the ratios along x and along y, because a
    shaken phone blurs in one direction only. The finest detail, where the sensor's noise is, is
    in neither. Around 1 for a sharp photo; 0 for a face without any detail.
    """
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = (_band(grey, *sigmas) for sigmas in (FINE_BAND, COARSE_BAND))
    ratios = []
    for axis in (0, 1):
        most = np.diff(coarse, axis=axis).std()
        ratios.append(np.diff(fine, axis=axis).std() / most if most > 0 else 0.0)
    return float(min(ratios))


def _band(grey: np.ndarray, low: float, high: float) -> np.ndarray:
    blurred = [cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (low, high)]
    return (blurred[0] - blurred[1])[FACE_AREA]
