"""Photo files as phones, scanners and messengers leave them, decoded to upright RGB."""

import contextlib
import io
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from faceverify.faces.aligned_photos import MAX_BYTES, MAX_PIXELS, has_many_scans, resized
from faceverify.verify import photo_formats, photo_headers
from faceverify.verify.refusals import CaptureError, TooManyPixelsError, UnreadablePhotoError

# The most pixels of formats whose decoders need more memory than others: WebP's makes three
# copies, JPEG 2000's keeps what it knows of each block.
_FEWER_PIXELS = {"WEBP": 24_000_000, "AVIF": 24_000_000, "JPEG2000": 16_000_000}
# What JPEG ends with, and what may stand before that instead of what is missing.
_END, _OTHER = b"\xff\xd9", b"\xaa" * 16
# Longest side, in pixels, to which larger photos are shrunk: JPEGs by the decoder, at little cost,
# to at least the first (12 megapixels to half their side), then all to at most the second.
LEAST_SIDE, LONGEST_SIDE = 1600, 2048
# Photos that hold more pixels than this while they are decoded are decoded one at a time, so that
# memory is bounded.
LARGE = 2**23
# Rows of the shrunk photo that are made at a time.
STRIP = 64


class Photo(NamedTuple):
    """A decoded photo: `pixels`, upright as its orientation tag says, uint8 RGB (height, width, 3).

    Its longest side is at most LONGEST_SIDE; `scale` is how many pixels of the photo as taken
    lie along one of these, 1 or more.
    """

    pixels: np.ndarray
    scale: float


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a photo file.

    Raises UnreadablePhotoError for a file that cannot be read, is empty or larger than MAX_BYTES,
    and for what is no regular file: reading a pipe could wait forever.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadablePhotoError("this is a folder or a device; name a photo file")
        _check_size(status.st_size)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "read error").lower()
        raise UnreadablePhotoError(f"the photo cannot be read: {reason}") from None
    except ValueError:  # a null character in its name
        raise UnreadablePhotoError("the photo cannot be read: no such file") from None


def decode(data: bytes) -> Photo:
    """Decode the bytes of a photo file in one of `photo_formats.NAMES`, of any colour mode.

    The orientation tag is applied, transparency becomes white, 16 bits are cut to 8, of several
    frames the first is taken. Raises TooManyPixelsError by the header alone, before a pixel is
    decoded, and UnreadablePhotoError for everything else that is not a whole photo.
    """
    _check_size(len(data))
    kind = photo_formats.format_of(data)
    image = _opened(data, kind)
    with _damage_told():
        return _decoded(image, data)


def from_image(image: Image.Image) -> Photo:
    """A photo that Pillow has opened, or that was made of an array, as `decode` gives it."""
    _check_pixels(image)
    with _damage_told():  # it may not be decoded yet
        return _decoded(image)


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except CaptureError:
        raise
    except Exception:  # on damaged data Pillow's formats raise nearly every built-in exception
        raise UnreadablePhotoError("the photo is damaged or cut off; send it again") from None


def _check_size(size: int) -> None:
    if size == 0:
        raise UnreadablePhotoError("the file is empty; send the photo again")
    if size > MAX_BYTES:
        raise UnreadablePhotoError(
            f"the file is larger than {MAX_BYTES // 2**20} MB; send the photo as JPEG"
        )


def _too_many_pixels(limit: int) -> TooManyPixelsError:
    return TooManyPixelsError(
        f"the photo has more than {limit // 1_000_000} megapixels; lower the camera's resolution"
    )


def _check_scans(data: bytes) -> None:
    if has_many_scans(data):
        raise photo_headers.abnormal("JPEG")


_CHECKS = {
    "JPEG": _check_scans,
    "TIFF": photo_headers.check_tiff,
    "AVIF": photo_headers.check_avif,
    "JPEG2000": photo_headers.check_jpeg2000,
}
_large = threading.Lock()


def _opened(data: bytes, kind: str) -> Image.Image:
    """The photo by its header, with no pixel decoded."""
    try:
        if kind in _CHECKS:
            _CHECKS[kind](data)
        _import_plugin(kind)
        image = Image.open(io.BytesIO(data), formats=[kind])
    except CaptureError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(MAX_PIXELS) from None
    except Exception:  # as in `_damage_told`
        raise photo_formats.unreadable_kind(kind) from None
    _check_pixels(image)
    return image


def _check_pixels(image: Image.Image) -> None:
    limit = _FEWER_PIXELS.get(image.format, MAX_PIXELS)
    if image.width * image.height > limit:
        raise _too_many_pixels(limit)


def _import_plugin(kind: str) -> None:
    """Import what Pillow needs for a format: by itself it imports all of its fifty."""
    match kind:
        case "WEBP":
            from PIL import WebPImagePlugin  # noqa: F401
        case "TIFF":
            from PIL import TiffImagePlugin  # noqa: F401
        case "AVIF":
            from PIL import AvifImagePlugin  # noqa: F401
        case "JPEG2000":
            from PIL import Jpeg2KImagePlugin  # noqa: F401
        case "HEIF":
            from pillow_heif import HeifImagePlugin  # noqa: F401


def _decoded(image: Image.Image, data: bytes = b"") -> Photo:
    """The photo of an opened image, by the file's `data` where there is a file."""
    longest, held = max(image.size), image.width * image.height
    is_jpeg = bool(data) and image.format in ("JPEG", "MPO")
    if is_jpeg:
        _draft(image)
        # Of a progressive one libjpeg holds all coefficients, of another a few rows.
        held = held if image.info.get("progressive") else image.width * image.height
    with _large if held > LARGE else contextlib.nullcontext():
        pixels = _jpeg(image, data) if is_jpeg else _pixels(image)
    pixels = np.ascontiguousarray(_turned(pixels, _orientation(image)))
    return Photo(pixels, longest / max(pixels.shape))


def _jpeg(image: Image.Image, data: bytes) -> np.ndarray:
    """A drafted JPEG's pixels, also where nothing but the marker at its end is missing.

    libjpeg fills what is missing with what comes instead: nothing is missing if two different
    ends make the same picture.
    """
    try:
        return _pixels(image)
    except OSError:
        if _END in data[-64:]:
            raise
    one, other = (_opened(data.rstrip(b"\xff") + end, "JPEG") for end in (_END, _OTHER + _END))
    _draft(one)
    _draft(other)
    pixels = _pixels(one)
    if not np.array_equal(pixels, _pixels(other)):
        raise UnreadablePhotoError("the photo is cut off; send it again")
    return pixels


def _draft(image: Image.Image) -> None:
    """Let JPEG decode at 1/2, 1/4 or 1/8 of its size where LEAST_SIDE remains."""
    divisor = max((d for d in (2, 4, 8) if max(image.size) >= LEAST_SIDE * d), default=1)
    if divisor > 1:
        image.draft(None, tuple(max(side // divisor, 1) for side in image.size))


def _pixels(image: Image.Image) -> np.ndarray:
    """The picture as uint8 RGB (height, width, 3), shrunk to at most LONGEST_SIDE by area."""
    image.load()
    width, height = image.size
    factor = max(image.size) // LONGEST_SIDE
    if factor > 1:  # in strips: another copy at full size is too much
        rows = STRIP * factor
        tops = range(0, height, rows)
        boxes = [(0, top, width, min(top + rows, height)) for top in tops]
        strips = [resized(_rgb(image.crop(box)), 1 / factor) for box in boxes]
        pixels = np.concatenate(strips)
    else:
        pixels = _rgb(image)
    longest = max(pixels.shape)
    return resized(pixels, LONGEST_SIDE / longest) if longest > LONGEST_SIDE else pixels


def _rgb(image: Image.Image) -> np.ndarray:
    """Any of Pillow's modes as uint8 RGB (height, width, 3)."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if image.mode in ("I", "F"):
        raise photo_formats.unreadable_kind(image.format)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where it is missing or damaged."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged tags do not spoil the picture
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Bring pixels upright that have this orientation of EXIF 2.32 (tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
