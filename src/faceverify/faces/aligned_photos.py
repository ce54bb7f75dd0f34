"""Photos as the model sees them: one decoder and one resize, for training and for `verify`."""

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

# CelebA's aligned photos; https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
PHOTO_WIDTH, PHOTO_HEIGHT = 178, 218
# What the brain sees: the photo stretched to a square.
CANVAS_SIZE = 218
# The middle of the face there, from forehead to chin: x, y.
_FACE_CENTRE = (109, 125)
SUFFIXES = (".jpg", ".jpeg", ".png")

# No landmark of a face on an aligned photo lies this many pixels away.
FARTHEST = 10_000
# Why a photo fails that the lists name and the folder lacks.
MISSING = "missing file"
_NO_FILE = "not a file"
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
# A progressive JPEG has about 10 scans. Each takes a pass over all pixels and only a few bytes
# of the file, so that a small file of many scans would keep a machine busy for hours.
MAX_SCANS = 100

# How the two formats begin and end. libjpeg fills a cut-off photo with grey and only warns.
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FORMATS = ((_JPEG, b"\xff\xd9"), (_PNG, b"IEND\xaeB`\x82"))
# The next marker of a JPEG that has a length: no stuffed zero, restart, fill byte or reserved
# one. Of a reserved marker, below 0xC0, libjpeg skips these two bytes alone or refuses the file.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_SCAN, _END_OF_IMAGE = b"\xff\xda", 0xD9
# What gives a frame its size; three markers between them mean something else.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read(folder: Path, name: str) -> bytes:
    """Read a photo of the data, still encoded; `name` is a plain file name.

    Raises UnusableError for one that is missing, larger than MAX_BYTES, or no regular file:
    reading a pipe could wait forever, and a link can lead to itself.
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
    """Decode a JPEG or PNG to RGB, uint8 (height, width, 3), grey ones too.

    JPEG goes through libjpeg's accurate integer transform. An orientation tag is not applied:
    CelebA's photos are stored upright. Raises UnusableError when the bytes are not a whole photo,
    and by the header alone for one of more than MAX_PIXELS.
    """
    width, height = _size(encoded)
    if width * height > MAX_PIXELS:
        raise UnusableError(f"more than {MAX_PIXELS // 1_000_000} megapixels")
    return _decode(encoded)


def _decode(encoded: bytes) -> np.ndarray:
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
    width, height = _size(encoded)
    if (width, height) != (PHOTO_WIDTH, PHOTO_HEIGHT):
        raise UnusableError(f"{width} x {height} pixels, not {PHOTO_WIDTH} x {PHOTO_HEIGHT}")
    return _decode(encoded)


def _size(encoded: bytes) -> tuple[int, int]:
    """Width and height as the header claims; UnusableError for what is no whole photo."""
    if not any(encoded.startswith(start) and end in encoded[-64:] for start, end in _FORMATS):
        raise UnusableError("not a whole JPEG or PNG file")
    if encoded.startswith(_PNG):
        return int.from_bytes(encoded[16:20]), int.from_bytes(encoded[20:24])
    if has_many_scans(encoded):
        raise UnusableError(f"a JPEG of more than {MAX_SCANS} scans")
    found = 0, 0
    for marker, place in _jpeg_markers(encoded):
        if marker in _FRAMES:  # behind its length and depth: height, then width
            sides = encoded[place + 5 : place + 7], encoded[place + 3 : place + 5]
            found = max(found, tuple(map(int.from_bytes, sides)), key=math.prod)
    return found


def has_many_scans(encoded: bytes) -> bool:
    """Whether a JPEG has more than MAX_SCANS scans.

    Behind the first one no length is believed: every start of a scan up to the image's end counts,
    even inside another segment, where no encoder leaves one. Before it, a thumbnail has its own.
    """
    if encoded.count(_SCAN) <= MAX_SCANS:
        return False  # at no cost, for nearly every photo; a video behind it has some by chance
    first = last = len(encoded)
    for marker, place in _jpeg_markers(encoded):
        if marker == _SCAN[1]:
            first = min(first, place)
        if marker == _END_OF_IMAGE:
            last = place
    return encoded.count(_SCAN, first, last) >= MAX_SCANS  # besides the first


def _jpeg_markers(encoded: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG up to its end, and where what belongs to each begins: its length."""
    place = 2
    while found := _MARKER.search(encoded, place):
        marker, place = encoded[found.start() + 1], found.end()
        yield marker, place
        if marker == _END_OF_IMAGE:
            return
        place += int.from_bytes(encoded[place : place + 2])


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
