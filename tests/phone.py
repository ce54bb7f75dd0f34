"""Photos as phones take them, made of real faces."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def phone_photo(face: Path | np.ndarray, width: int, height: int, share: float = 0.5) -> np.ndarray:
    """An aligned photo in the middle of a larger one, uint8 RGB (height, width, 3).

    It takes `share` of the photo's height; around it lies a wall with soft light.
    """
    if isinstance(face, Path):
        face = np.asarray(Image.open(face).convert("RGB"))
    factor = min(height * share / face.shape[0], width * 0.95 / face.shape[1])
    size = round(face.shape[1] * factor), round(face.shape[0] * factor)
    face = cv2.resize(face, size, interpolation=cv2.INTER_CUBIC)
    light = np.linspace(60, 160, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    photo = np.broadcast_to(light, (height, width, 3)).astype(np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    photo[top : top + size[1], left : left + size[0]] = face
    return photo


def encoded(photo: np.ndarray | Image.Image, kind: str = "JPEG", **options) -> bytes:
    """A photo as the bytes of a file of one of Pillow's formats."""
    buffer = io.BytesIO()
    image = photo if isinstance(photo, Image.Image) else Image.fromarray(photo)
    image.save(buffer, kind, **options)
    return buffer.getvalue()
