"""Views, the student's inputs: the square around the face, changed at random while it trains."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np

from faceverify.faces.aligned_photos import CANVAS_SIZE, decode, view_corner
from recipe import Augment, Recipe

UNCHANGED = np.eye(3)


def view_of(photo: np.ndarray, size: int, change: np.ndarray = UNCHANGED) -> np.ndarray:
    """The square around the face that the brain sees of a photo, uint8 (size, size, 3).

    The photo shows what an aligned photo of CelebA does, at any size. `change` (3, 3) is an affine
    map of the photo's pixels around the middle of the view.
    """
    height, width = photo.shape[:2]
    top, left = view_corner(size)
    x, y = width / CANVAS_SIZE, height / CANVAS_SIZE
    # The centre of pixel i is at i + 1/2, before and after the scaling.
    to_photo = np.array([[x, 0, (left + 0.5) * x - 0.5], [0, y, (top + 0.5) * y - 0.5], [0, 0, 1]])
    middle = np.eye(3)
    middle[:2, 2] = to_photo[:2] @ [(size - 1) / 2, (size - 1) / 2, 1]
    positions = (middle @ change @ np.linalg.inv(middle) @ to_photo)[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REPLICATE
    return cv2.warpAffine(photo, positions, (size, size), flags=flags, borderMode=border)


def augmented(photo: np.ndarray, size: int, how: Augment, rng: np.random.Generator) -> np.ndarray:
    """A random view, uint8 (size, size, 3), as a phone or a printed card might show the face."""
    angle = np.deg2rad(rng.uniform(-how.rotation, how.rotation))
    zoom = 1 + rng.uniform(-how.scale, how.scale)
    mirror = rng.choice([-1, 1])
    shift = rng.uniform(-how.shift, how.shift, 2) * photo.shape[1]
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    change = np.array([[mirror * cos, -sin, shift[0]], [mirror * sin, cos, shift[1]], [0, 0, 1]])
    image = view_of(photo, size, change)
    if rng.random() < how.small:
        side = int(size * rng.uniform(0.33, 0.8))
        little = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(little, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < how.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0))
    if rng.random() < how.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    contrast, brightness = 1 + rng.uniform(-how.light, how.light, 2)
    mean = image.mean()
    image = np.clip((image - np.float32(mean)) * np.float32(contrast) + mean * brightness, 0, 255)
    image = image.astype(np.uint8)
    if rng.random() < how.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image


class Views(keras.utils.PyDataset):
    """One epoch's batches: augmented views (B, size, size, 3) and their targets (B, 128).

    A batch depends on the seed, the epoch and its index alone, so that a resumed run sees what an
    undisturbed one would.
    """

    def __init__(
        self, photos: Sequence[Path], targets: np.ndarray, settings: Recipe, epoch: int
    ) -> None:
        """Take photos, their targets (n, 128), and the epoch's number, from 0."""
        super().__init__(workers=min(os.cpu_count() or 1, 16), max_queue_size=32)
        self._photos, self._targets, self._settings = photos, targets, settings
        self._epoch = epoch
        rng = np.random.default_rng((settings.seed, epoch))
        self._order = rng.permutation(len(photos))

    def __len__(self) -> int:
        """Whole batches only; what is left over differs from epoch to epoch."""
        return len(self._photos) // self._settings.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The views and the targets of a batch."""
        settings = self._settings
        rows = self._order[index * settings.batch_size :][: settings.batch_size]
        rng = np.random.default_rng((settings.seed, self._epoch, index))
        read = (decode(self._photos[row].read_bytes()) for row in rows)
        views = [augmented(photo, settings.view, settings.augment, rng) for photo in read]
        return np.stack(views), self._targets[rows]
