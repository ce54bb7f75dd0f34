"""The quality network: how far a canvas is believed to show an aligned face, in RGB.

It is a small network of its own, which reads the canvas and no brain: a member that is trained
further, or another brain, leaves it as it is.
"""

from pathlib import Path

import keras
from keras import layers

from faceverify.base.digests import check_checksum
from faceverify.faces.aligned_photos import CANVAS_SIZE
from faceverify.model.weight_files import load_weights

WEIGHTS = Path("pretrained/quality.weights.h5")
POOLED = 4  # canvas pixels, along each side, that it sees as one
SIDE = CANVAS_SIZE // POOLED
FILTERS = (24, 32, 48, 64)


def build() -> keras.Model:
    """The network without its first mean: (B, 54, 54, 3) in 0..255 -> (B, 1) in [0, 1].

    Each pixel is the mean of POOLED x POOLED pixels of the canvas. Every layer has a name, because
    the exported file holds the names, and equal networks are to have equal bytes.
    """
    means = keras.Input((SIDE, SIDE, 3), name="means")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scaled")(means)
    for i, filters in enumerate(FILTERS):
        stride = 2 if i < len(FILTERS) - 1 else 1
        x = layers.Conv2D(filters, 3, stride, activation="relu", name=f"quality{i}")(x)
    x = layers.Flatten(name="flat")(x)
    quality = layers.Dense(1, activation="sigmoid", name="quality")(x)
    return keras.Model(means, quality, name="quality")


def load(weights: Path = WEIGHTS) -> keras.Model:
    """The whole network, canvases (B, 218, 218, 3) in 0..255 -> (B, 1), with its weights.

    Raises InputError for a weight file that is not what its checksum says, or does not fit.
    """
    check_checksum(weights)
    network = build()
    load_weights(network, weights)
    photos = keras.Input((CANVAS_SIZE, CANVAS_SIZE, 3), name="photo")
    means = layers.AveragePooling2D(POOLED, name="means")(photos)
    return keras.Model(photos, network(means), name="believed")
