"""Photo files as phones, scanners and messengers leave them, decoded to upright RGB."""

import contextlib
import io
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

# Named here because Pillow otherwise imports all of its fifty formats to find these two.
from PIL import (
    Image,
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from faceverify.faces.aligned_photos import MAX_BYTES, MAX_PIXELS, has_many_scans, resized
from faceverify.verify.refusals import CaptureError, TooManyPixelsError, UnreadablePhotoError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
# The most pixels of a WebP: its decoder makes three copies.
MAX_WEBP_PIXELS = 24_000_000
# Longest side, in pixels, to which larger photos are shrunk: JPEGs by the decoder, at little cost,
# to at least the first (12 megapixels to half their side), then all to at most the second.
LEAST_SIDE, LONGEST_SIDE = 1600, 2048
# Photos of more pixels than this are decoded one at a time, so that memory is bounded.
LARGE = 2**23
# The most pixels of a TIFF's tile, which is decoded whole however small the photo is, and the most
# strips or tiles. A strip has no more rows than the photo.
MAX_TILE, MAX_TILES = 2**24, 2**20
# TIFF tags: width and height of the photo, then of a tile; offsets of the strips, of the tiles.
_SIDES, _PLACES = (256, 257, 322, 323), (273, 324)
# TIFF types of whole numbers that Pillow and libtiff both read as a side, as `struct` formats.
_NUMBERS = {3: "H", 4: "I", 16: "Q"}
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
    """Decode the bytes of a JPEG, PNG, WebP, BMP or TIFF file, of any depth and colour mode.

    The orientation tag is applied, transparency becomes white, 16 bits are cut to 8, of several
    frames the first is taken. Raises TooManyPixelsError by the header alone, before a pixel is
    decoded, and UnreadablePhotoError for everything else that is not a whole photo.
    """
    _check_size(len(data))
    if data[4:8] == b"ftyp":
        raise UnreadablePhotoError(
            "a HEIC or AVIF photo or a video; set the camera to its most compatible format, JPEG"
        )
    try:
        return _decode(data)
    except CaptureError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(MAX_PIXELS) from None
    except Image.UnidentifiedImageError:
        raise UnreadablePhotoError(
            "not a JPEG, PNG, WebP, BMP or TIFF photo; send the photo as JPEG"
        ) from None
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


def _abnormal(kind: str) -> UnreadablePhotoError:
    return UnreadablePhotoError(f"the {kind} is built abnormally; send another photo")


_large = threading.Lock()


def _decode(data: bytes) -> Photo:
    if data.startswith(tuple(TiffImagePlugin.PREFIXES)):
        _check_tiles(data)
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    longest = max(image.size)
    limit = MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
    if image.width * image.height > limit:
        raise _too_many_pixels(limit)
    if image.format in ("JPEG", "MPO"):
        if has_many_scans(data):
            raise _abnormal("JPEG")
        _draft(image)
    with _large if image.width * image.height > LARGE else contextlib.nullcontext():
        image.load()
        pixels = _pixels(image)
    pixels = np.ascontiguousarray(_turned(pixels, _orientation(image)))
    return Photo(pixels, longest / max(pixels.shape))


def _check_tiles(data: bytes) -> None:
    """Raise UnreadablePhotoError for a TIFF whose tiles take far more memory than its photo.

    The tags are read here because Pillow does not give them as libtiff, which decodes, sees them:
    libtiff takes the first of two equal tags.
    """
    sides: dict[int, int] = {}
    for tag, count, number in _tiff_tags(data):
        if (tag in _SIDES and number is None) or (tag in _PLACES and count > MAX_TILES):
            raise _abnormal("TIFF")
        if tag in _SIDES:
            sides.setdefault(tag, number)
    width, height, across, down = (sides.get(tag, 0) for tag in _SIDES)
    if across * down > max(MAX_TILE, (width + 15) * (height + 15)):  # sides are rounded up to 16
        raise _abnormal("TIFF")


def _tiff_tags(data: bytes) -> Iterator[tuple[int, int, int | None]]:
    """The tags of a TIFF's first frame: number, count, and value if it is one whole number.

    TIFF 6.0, section 2, and BigTIFF, whose places and counts have 8 bytes.
    """
    order = "<" if data.startswith(b"II") else ">"
    if data.startswith(b"MM\0+"):  # BigTIFF to libtiff alone
        raise _abnormal("TIFF")
    big = data[2] == 43
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, place)
    place += 8 if big else 2
    for _ in range(count):
        tag, kind, values, field = entry.unpack_from(data, place)
        letter = _NUMBERS.get(kind) if values == 1 else None
        whole = letter and struct.calcsize(letter) <= len(field)
        yield tag, values, struct.unpack_from(order + letter, field)[0] if whole else None
        place += entry.size


def _draft(image: Image.Image) -> None:
    """Let JPEG decode at 1/2, 1/4 or 1/8 of its size where LEAST_SIDE remains."""
    divisor = max((d for d in (2, 4, 8) if max(image.size) >= LEAST_SIDE * d), default=1)
    if divisor > 1:
        image.draft(None, tuple(max(side // divisor, 1) for side in image.size))


def _pixels(image: Image.Image) -> np.ndarray:
    """The picture as uint8 RGB (height, width, 3), shrunk to at most LONGEST_SIDE by area."""
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
        raise UnreadablePhotoError("the photo has 32 bits a channel; send it as JPEG")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


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
