"""Brain features: a frozen brain's outputs for photos, computed once and kept on disk."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
from tqdm import tqdm

from faceverify.base import backend
from faceverify.base.cache import stored
from faceverify.base.digests import sha256
from faceverify.faces.aligned_photos import decode_aligned, name_in_errors, to_canvas

BATCH_SIZE = 32
# Part of the key of kept features: change it when photos are prepared in another way, in front of a
# network or inside it; a fingerprint does not tell.
FORMAT = "2"


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of a model's layers and weights: equal for models that give equal outputs.

    Names of layers are left out, because Keras numbers them as a process builds models.
    """
    weights = (weight.tobytes() for weight in model.get_weights())
    return sha256(json.dumps(_described(model)), *weights)


def _described(layer: keras.Layer) -> list:
    """A layer's class, output shapes and settings, and the same of the layers within it."""
    settings = {
        key: value
        for key, value in layer.get_config().items()
        if isinstance(value, str | int | float | bool) and key != "name"
    } | {"precision": layer.compute_dtype}
    shape = [str(tensor.shape) for tensor in keras.tree.flatten(layer.output)]
    inner = [_described(part) for part in getattr(layer, "layers", [])]
    return [type(layer).__name__, shape, settings, inner]


def brain_features(
    brain: keras.Model, names: Sequence[str], read: Callable[[str], bytes], cache: Path
) -> tuple[np.ndarray, np.ndarray]:
    """The features of photos, float32 (distinct photos, height, width, channels), and their rows.

    `read` gives a photo's encoded bytes by its name; the second array, (names,), has the row of
    each of `names`. The features are kept in the folder `cache` under a hash of brain and photos,
    whatever the photos' names. Raises InputError for a damaged photo.
    """
    digests = [sha256(read(name)) for name in names]
    names_of = dict(sorted(zip(digests, names, strict=True)))
    rounding = [os.environ.get(name, "") for name in backend.ALIKE]
    versions = [FORMAT, keras.backend.backend(), keras.version(), cv2.__version__, *rounding]
    shape = (len(names_of), *brain.output_shape[1:])
    values = stored(
        cache,
        [" ".join(versions), fingerprint(brain), *names_of],
        shape,
        lambda: run_photos(brain, list(names_of.values()), read),
    )
    row_of = {digest: row for row, digest in enumerate(names_of)}
    return values, np.array([row_of[digest] for digest in digests])


def run_photos(
    model: keras.Model, names: Sequence[str], read: Callable[[str], bytes]
) -> Iterator[np.ndarray | dict[str, np.ndarray]]:
    """A model's outputs for photos, in batches of BATCH_SIZE, with a progress bar.

    `read` gives a photo's encoded bytes by its name.
    """
    starts = range(0, len(names), BATCH_SIZE)
    for start in tqdm(starts, f"Running the {model.name}", unit="batch", disable=None):
        part = names[start : start + BATCH_SIZE]
        yield model.predict_on_batch(canvases([read(name) for name in part], part))


def canvases(encoded: Sequence[bytes], names: Sequence[str]) -> np.ndarray:
    """Decoded photos stretched to the brain's canvas, uint8 (photos, 218, 218, 3).

    In a thread for each core: OpenCV lets them run side by side. Raises InputError, with the
    name, for a damaged photo.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(_canvas, encoded, names)))


def _canvas(encoded: bytes, name: str) -> np.ndarray:
    with name_in_errors(name):
        return to_canvas(decode_aligned(encoded))
