"""A photo in any of the forms in which Python programs hold one, decoded."""

import hashlib
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from faceverify.faces.aligned_photos import MAX_BYTES
from faceverify.verify import camera_photos
from faceverify.verify.camera_photos import Photo
from faceverify.verify.refusals import UnreadablePhotoError

# A file's path, its bytes, an open binary file, uint8 RGB (height, width, 3), or Pillow's image.
Source = Path | str | bytes | bytearray | memoryview | BinaryIO | np.ndarray | Image.Image


def decoded(source: Source) -> tuple[Photo, str]:
    """The photo, and the SHA-256 of its file, or of its pixels where there is no file.

    Raises CaptureError for what is no photo, as `camera_photos` does, and TypeError for what is
    none of the kinds of `Source`.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise UnreadablePhotoError(
                f"an array must be uint8 RGB (height, width, 3), not {source.dtype} {source.shape}"
            )
        photo = camera_photos.from_image(Image.fromarray(source))
        return photo, _digest(source.tobytes())
    if isinstance(source, Image.Image):
        photo = camera_photos.from_image(source)
        return photo, _digest(source.tobytes())
    data = _read(source)
    return camera_photos.decode(data), _digest(data)


def _read(source: Source) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | Path):
        return camera_photos.read_bytes(Path(source))
    if isinstance(source, io.TextIOBase):
        raise UnreadablePhotoError("the file is open as text; open it with mode 'rb'")
    if not hasattr(source, "read"):
        raise TypeError(f"a photo cannot be a {type(source).__name__}")
    return source.read(MAX_BYTES + 1)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
