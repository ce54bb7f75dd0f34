"""Aligned photos: the one decoder and the one resize that training and verifying share."""

import errno
import math
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from faceverify.base.errors import MadeFileError, UnusableError
from faceverify.base.files import path_inside

# Pixels of CelebA's aligned photos; https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
PHOTO_WIDTH, PHOTO_HEIGHT = 178, 218
CANVAS_SIZE = 218  # pixels: the photo stretched to a square, the brain's input
# The middle of a face on the canvas, from forehead to chin: x, y.
_FACE_CENTRE = (109, 125)
SUFFIXES = (".jpg", ".jpeg", ".png")

FARTHEST = 10_000  # pixels: a landmark coordinate beyond this is no face's
MISSING = "missing file"  # why a listed photo that is not in the folder is unusable
_NO_FILE = "not a file"
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
# A progressive JPEG has about 10 scans. A scan takes a few bytes of the file and a pass over all
# pixels, so that a small file with many scans would keep a machine busy for hours.
MAX_SCANS = 100

# The first and last bytes of the two formats, checked because libjpeg fills the missing part of
# a cut-off photo with grey and only warns.
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FORMATS = ((_JPEG, b"\xff\xd9"), (_PNG, b"IEND\xaeB`\x82"))
# A JPEG marker with a length: not a stuffed zero, a restart, a fill byte or a reserved marker.
# Reserved are those below 0xC0: libjpeg skips their two bytes alone or refuses the file.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_SCAN, _END_OF_IMAGE = b"\xff\xda", 0xD9
# Start-of-frame markers, which hold the size; three markers between them mean something else.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read(folder: Path, name: str) -> bytes:
    """Read the encoded bytes of the photo `name` of the data's `folder`.

    Raises UnusableError for a photo that is missing, larger than MAX_BYTES or no regular file
    (reading a pipe could wait forever, a link can lead to itself), and InputError for a name that
    is not plain or a link out of `folder`.
    """
    path = path_inside(folder, name)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnusableError(MISSING) from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UnusableError(_NO_FILE) from None
    if not stat.S_ISREG(status.st_mode):
        raise UnusableError(_NO_FILE)
    if status.st_size > MAX_BYTES:
        raise UnusableError(f"larger than {MAX_BYTES // 2**20} MB")
    return path.read_bytes()


@contextmanager
def name_in_errors(photo: Path | str) -> Iterator[None]:
    """Turn an UnusableError of the block into a MadeFileError that names the photo."""
    try:
        yield
    except UnusableError as error:
        raise MadeFileError(f"{photo}: {error}") from None


def decode(encoded: bytes) -> np.ndarray:
    """Decode a JPEG or PNG, colour or grey, to RGB, uint8 (height, width, 3).

    JPEG is decoded by libjpeg's accurate integer transform. An orientation tag is not applied:
    CelebA's photos are stored upright. Raises UnusableError when the bytes are not a whole photo
    and, by the header alone, when it has more than MAX_PIXELS.
    """
    width, height = _size(encoded)
    if width * height > MAX_PIXELS:
        raise UnusableError(f"more than {MAX_PIXELS // 1_000_000} megapixels")
    return _decode(encoded)


def _decode(encoded: bytes) -> np.ndarray:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        photo = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:  # its header claims more pixels than OpenCV accepts
        photo = None
    if photo is None:
        raise UnusableError("damaged JPEG or PNG data")
    return photo


def decode_aligned(encoded: bytes) -> np.ndarray:
    """Decode a photo of the aligned size, uint8 (218, 178, 3); UnusableError for another size."""
    width, height = _size(encoded)
    if (width, height) != (PHOTO_WIDTH, PHOTO_HEIGHT):
        raise UnusableError(f"{width} x {height} pixels, not {PHOTO_WIDTH} x {PHOTO_HEIGHT}")
    return _decode(encoded)


def _size(encoded: bytes) -> tuple[int, int]:
    """Width and height that the header claims; UnusableError when the photo is not whole."""
    if not any(encoded.startswith(start) and end in encoded[-64:] for start, end in _FORMATS):
        raise UnusableError("not a whole JPEG or PNG file")
    if encoded.startswith(_PNG):
        return int.from_bytes(encoded[16:20]), int.from_bytes(encoded[20:24])
    if has_many_scans(encoded):
        raise UnusableError(f"a JPEG of more than {MAX_SCANS} scans")
    found = 0, 0
    for marker, place in _jpeg_markers(encoded):
        if marker in _FRAMES:  # after length (2 bytes) and depth (1): height, then width
            sides = encoded[place + 5 : place + 7], encoded[place + 3 : place + 5]
            found = max(found, tuple(map(int.from_bytes, sides)), key=math.prod)
    return found


def has_many_scans(encoded: bytes) -> bool:
    """Whether a JPEG has more than MAX_SCANS scans.

    After the first scan no segment's length is trusted: every start-of-scan marker up to the end
    of the image counts, even inside a segment, where no encoder writes one. Segments before the
    first scan are skipped, because a thumbnail there has scans of its own.
    """
    if encoded.count(_SCAN) <= MAX_SCANS:
        return False  # cheap, and enough for nearly every photo; data after it may hold some, too
    first = last = len(encoded)
    for marker, place in _jpeg_markers(encoded):
        if marker == _SCAN[1]:
            first = min(first, place)
        if marker == _END_OF_IMAGE:
            last = place
    return encoded.count(_SCAN, first, last) >= MAX_SCANS  # besides the first


def _jpeg_markers(encoded: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG up to its end, each with the offset of its segment's length."""
    place = 2
    while found := _MARKER.search(encoded, place):
        marker, place = encoded[found.start() + 1], found.end()
        yield marker, place
        if marker == _END_OF_IMAGE:
            return
        place += int.from_bytes(encoded[place : place + 2])


def to_canvas(photo: np.ndarray) -> np.ndarray:
    """Stretch an aligned photo to the brain's canvas, uint8 (218, 218, 3).

    The bilinear resize uses OpenCV's bit-exact arithmetic: every machine gives the same bytes.
    """
    size = (CANVAS_SIZE, CANVAS_SIZE)
    return cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR_EXACT)


def resized(photo: np.ndarray, factor: float) -> np.ndarray:
    """Scale a photo of any size, uint8 (height, width[, 3]), by a factor, to 1 pixel at least.

    Shrinking averages over areas, so that fine detail does not alias; enlarging is bilinear.
    """
    height, width = photo.shape[:2]
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def view_corner(size: int) -> tuple[int, int]:
    """Top and left of the square of side `size` around the face, all in canvas pixels."""
    left, top = (min(max(c - size // 2, 0), CANVAS_SIZE - size) for c in _FACE_CENTRE)
    return top, left


def encode_png(photo: np.ndarray) -> bytes:
    """Encode a picture, uint8 RGB (height, width, 3) or grey (height, width), as PNG."""
    if photo.ndim == 3:
        photo = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".png", photo, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not encoded:
        raise ValueError(f"cannot encode an array of shape {photo.shape} as PNG")
    return data.tobytes()
