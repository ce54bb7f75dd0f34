"""EdgeFace, a network trained to compare faces, in the form of those of `keras.applications`.

A. George et al., "EdgeFace: Efficient Face Recognition Model for Edge Devices", 2024: M. Maaz et
al., "EdgeNeXt", 2022, whose dense layers are products of two smaller ones. The size is S, and the
rank half of the channels. What follows a layer normalization takes its scale and shift in, and the
last dense layer of a branch the branch's weight.
"""

import keras
from keras import layers, ops

from faceverify.model.template_frame import SIDE, prepared

NAME = "EdgeFace"
EMBEDDING = 512  # numbers
# Channels, blocks, side of the filters; parts of the last block's attention, 0 for none, and
# whether each place has something of its own added there, which says where it is.
STAGES = [(48, 3, 3, 0, False), (96, 3, 5, 2, True), (160, 9, 7, 3, False), (304, 3, 9, 4, False)]
EXPANSION = 4  # of the channels, inside a block
HEADS = 8  # of an attention
EPSILON = 1e-6  # of a normalization


def build() -> keras.Model:
    """The network: faces (B, 112, 112, 3), see `preprocess_input` -> (B, 1, 1, 512).

    The output is the layer `embedding`, whose direction tells who it is; it is not of unit length.
    Before it, `normalized` gives the last feature maps (B, 3, 3, 304): the embedding is a linear
    function of their mean.
    """
    faces = keras.Input((SIDE, SIDE, 3), name="face")
    x = layers.Conv2D(STAGES[0][0], 4, 4, name="stem")(faces)
    x = layers.LayerNormalization(epsilon=EPSILON, name="stem_norm")(x)
    for number, (channels, blocks, size, parts, placed) in enumerate(STAGES, start=1):
        if number > 1:
            x = _normalized(x, f"stage{number}_norm")
            x = layers.Conv2D(channels, 2, 2, name=f"stage{number}_down")(x)
        for i in range(blocks):
            name = f"stage{number}_block{i}"
            attends = parts and i == blocks - 1
            inner = _attended(x, name, parts, placed) if attends else _filtered(x, name, size)
            x = layers.Add(name=f"{name}_add")([x, _mixed(inner, name)])
    x = PooledNormalization(name="normalized")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="global_average")(x)
    x = layers.Conv2D(STAGES[-1][0] // 2, 1, use_bias=False, name="embedding_low")(x)
    return keras.Model(faces, layers.Conv2D(EMBEDDING, 1, name="embedding")(x), name=NAME)


def preprocess_input(views):
    """Bring views to what the network was trained with, about [-1, 1] in the template frame.

    `views` are the squares that a brain sees of canvases, (B, size, size, 3) in 0..255; the result
    is (B, 112, 112, 3). See `template_frame.prepared`.
    """
    return prepared(views) / 127.5 - 1


def _filtered(x, name: str, size: int):
    return layers.DepthwiseConv2D(size, padding="same", name=f"{name}_depthwise")(x)


def _attended(x, name: str, parts: int, placed: bool):
    """Filter the channels part by part, each with the one before; let them attend to each other.

    EdgeNeXt's split depth-wise transpose attention.
    """
    height, width, channels = x.shape[1:]
    part = -(-channels // parts)
    done, before = [], None
    for i in range(parts - 1):
        own = x[..., i * part : (i + 1) * part]
        own = own if before is None else layers.Add(name=f"{name}_join{i}")([before, own])
        before = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise{i}")(own)
        done.append(before)
    x = layers.Concatenate(name=f"{name}_parts")([*done, x[..., (parts - 1) * part :]])
    x = layers.Reshape((height * width, channels), name=f"{name}_places")(x)
    if placed:
        x = Position(name=f"{name}_position")(x)
    mixed = _low_rank(_normalized(x, f"{name}_attention_norm"), f"{name}_queries", 3 * channels)
    mixed = CrossCovariance(HEADS, name=f"{name}_attention")(mixed)
    x = layers.Add(name=f"{name}_attention_add")([x, _low_rank(mixed, f"{name}_out", channels)])
    return layers.Reshape((height, width, channels), name=f"{name}_maps")(x)


def _mixed(x, name: str):
    """Two dense layers over the channels of each place."""
    channels = x.shape[-1]
    x = _low_rank(_normalized(x, f"{name}_norm"), f"{name}_expand", EXPANSION * channels)
    return _low_rank(layers.Activation("gelu", name=f"{name}_gelu")(x), f"{name}_project", channels)


def _low_rank(x, name: str, units: int):
    """A dense layer as the product of two, by way of half of the fewer channels."""
    rank = min(x.shape[-1], units) // 2
    x = layers.Dense(rank, use_bias=False, name=f"{name}_low")(x)
    return layers.Dense(units, name=name)(x)


def _normalized(x, name: str):
    return layers.LayerNormalization(epsilon=EPSILON, center=False, scale=False, name=name)(x)


@keras.saving.register_keras_serializable(package="faceverify")
class Position(layers.Layer):
    """Adds to each place (B, places, channels) a weight of its own."""

    def build(self, shape) -> None:
        """Make the weight."""
        self.position = self.add_weight(shape=shape[1:], initializer="zeros", name="position")

    def call(self, places):
        """The places with their weights."""
        return places + self.position


@keras.saving.register_keras_serializable(package="faceverify")
class CrossCovariance(layers.Layer):
    """Attention between channels: A. El-Nouby et al., "XCiT", 2021, section 3.2.

    Queries, keys and values, (B, places, 3 channels), give (B, places, channels). Within a head
    each channel's value becomes a mean of all, weighted by how its query correlates with their keys
    over all places.
    """

    def __init__(self, heads: int, **options) -> None:
        """Take the number of heads, which divides the channels, and Keras's layer options."""
        super().__init__(**options)
        self.heads = heads

    def build(self, shape) -> None:
        """Make the weight by which a head's correlations are multiplied."""
        self.sharpness = self.add_weight(
            shape=(self.heads, 1, 1), initializer="ones", name="sharpness"
        )

    def call(self, mixed):
        """The means of the values."""
        _, places, width = mixed.shape
        channels = width // 3
        parted = ops.transpose(
            ops.reshape(mixed, (-1, places, 3 * self.heads, channels // self.heads)), (0, 2, 3, 1)
        )
        queries, keys, values = ops.split(parted, 3, axis=1)  # (B, heads, channels, places) each
        alike = ops.matmul(_unit(queries), ops.transpose(_unit(keys), (0, 1, 3, 2)))
        weights = ops.softmax(alike * self.sharpness, axis=-1)
        means = ops.transpose(ops.matmul(weights, values), (0, 3, 1, 2))
        return ops.reshape(means, (-1, places, channels))

    def get_config(self) -> dict:
        """What a layer of the same form is built from."""
        return super().get_config() | {"heads": self.heads}


@keras.saving.register_keras_serializable(package="faceverify")
class PooledNormalization(layers.Layer):
    """Feature maps (B, height, width, channels) moved and scaled so that their mean is normalized.

    The mean over the places then has mean 0 and variance 1 over the channels, as a layer
    normalization behind the pooling would give it; what follows is linear in the maps.
    """

    def call(self, maps):
        """The maps, moved and scaled."""
        pooled = ops.mean(maps, axis=(1, 2), keepdims=True)
        mean = ops.mean(pooled, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(pooled - mean), axis=-1, keepdims=True)
        return (maps - mean) * ops.rsqrt(variance + EPSILON)


def _unit(rows):
    """Rows brought to length 1; zeros stay."""
    squared = ops.sum(ops.square(rows), axis=-1, keepdims=True)
    return rows * ops.rsqrt(ops.maximum(squared, 1e-24))
