"""Photos as the model sees them: one decoder and one resize, for training and for `verify`."""

import cv2
import numpy as np

from faceverify.errors import UnusableError

# CelebA's aligned photos; https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
PHOTO_WIDTH, PHOTO_HEIGHT = 178, 218
# What the brain sees: the photo stretched to a square.
CANVAS_SIZE = 218
# The middle of the face there, from forehead to chin: x, y.
_FACE_CENTRE = (109, 125)
SUFFIXES = (".jpg", ".jpeg", ".png")

# How the two formats begin and end. libjpeg fills a cut-off photo with grey and only warns.
_FORMATS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"))


def decode(encoded: bytes) -> np.ndarray:
    """Decode a JPEG or PNG to RGB, uint8 (height, width, 3), grey ones too.

    JPEG goes through libjpeg's accurate integer transform. An orientation tag is not applied:
    CelebA's photos are stored upright. Raises UnusableError when the bytes are not a whole photo.
    """
    if not any(encoded.startswith(start) and end in encoded[-64:] for start, end in _FORMATS):
        raise UnusableError("not a whole JPEG or PNG file")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        photo = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:  # its header claims more pixels than OpenCV takes
        photo = None
    if photo is None:
        raise UnusableError("damaged JPEG or PNG data")
    return photo


def decode_aligned(encoded: bytes) -> np.ndarray:
    """Decode a photo of CelebA's aligned size, uint8 (218, 178, 3); UnusableError for another."""
    photo = decode(encoded)
    height, width = photo.shape[:2]
    if (width, height) != (PHOTO_WIDTH, PHOTO_HEIGHT):
        raise UnusableError(f"{width} x {height} pixels, not {PHOTO_WIDTH} x {PHOTO_HEIGHT}")
    return photo


def to_canvas(photo: np.ndarray) -> np.ndarray:
    """Stretch an aligned photo to the brain's canvas, uint8 (218, 218, 3).

    Bilinear in OpenCV's bit-exact arithmetic, so that every machine gives the same bytes.
    """
    size = (CANVAS_SIZE, CANVAS_SIZE)
    return cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR_EXACT)


def view_corner(size: int) -> tuple[int, int]:
    """Top and left of the square of `size` canvas pixels around the face, inside the canvas."""
    left, top = (min(max(c - size // 2, 0), CANVAS_SIZE - size) for c in _FACE_CENTRE)
    return top, left


def encode_png(photo: np.ndarray) -> bytes:
    """Encode uint8 RGB (height, width, 3) or grey (height, width) as PNG."""
    if photo.ndim == 3:
        photo = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".png", photo, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not encoded:
        raise ValueError(f"cannot encode an array of shape {photo.shape} as PNG")
    return data.tobytes()
