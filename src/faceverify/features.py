"""Brain features of photos, computed once and kept on disk for every later use."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import keras
import numpy as np
from tqdm import tqdm

from faceverify.files import replacing, sha256
from faceverify.photos import decode_aligned, to_canvas

BATCH_SIZE = 32
# Change this when photos reach the brain in another way: old features are then left alone.
FORMAT = "1"


class PhotoFeatures(NamedTuple):
    """The brain's output for some photos: `values[rows[name]]` is that of one photo.

    `values` is float32 (photos, height, width, channels), mapped from disk.
    """

    rows: dict[str, int]
    values: np.ndarray

    def of(self, names: Sequence[str]) -> np.ndarray:
        """The features of some photos in the order of `names`."""
        return self.values[[self.rows[name] for name in names]]


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of a model's layers and weights: equal for models that give equal outputs."""
    config = json.dumps(model.get_config(), sort_keys=True, default=str)
    weights = (np.ascontiguousarray(weight).tobytes() for weight in model.get_weights())
    return sha256(config, *weights)


def brain_features(
    brain: keras.Model, names: Sequence[str], read: Callable[[str], bytes], cache: Path
) -> PhotoFeatures:
    """Run photos through a frozen brain, or map what an earlier call with equal inputs stored.

    `read` gives a photo's encoded bytes by its name. The store is a folder of `cache` named by
    the hash of everything that the features depend on: the brain, the photos in their order,
    and the libraries. Memory holds one batch. Raises UnusableError for a photo that is damaged.
    """
    versions = f"{FORMAT} {keras.backend.backend()} {keras.version()} {cv2.__version__}"
    key = sha256(versions, fingerprint(brain), *(read(name) for name in names))
    path = cache / key / "features.npy"
    rows = {name: row for row, name in enumerate(names)}
    if not path.is_file():
        with replacing(path) as temporary:
            shape = (len(names), *brain.output_shape[1:])
            values = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            starts = range(0, len(names), BATCH_SIZE)
            for start in tqdm(starts, "Brain features", unit="batch", disable=None):
                batch = [read(name) for name in names[start : start + BATCH_SIZE]]
                values[start : start + BATCH_SIZE] = brain.predict_on_batch(canvases(batch))
            values.flush()
    return PhotoFeatures(rows, np.load(path, mmap_mode="r"))


def canvases(encoded: Sequence[bytes]) -> np.ndarray:
    """Decode photos and bring them to the brain's canvas, uint8 (photos, 218, 218, 3)."""
    return np.stack([to_canvas(decode_aligned(photo)) for photo in encoded])
