"""MobileFaceNet, a network trained to compare faces, in the form of those of `keras.applications`.

S. Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile
Devices", 2018. Batch normalization is folded into the convolutions.
"""

import keras
from keras import layers

from faceverify.model.template_frame import SIDE, prepared

NAME = "MobileFaceNet"
EMBEDDING = 192  # numbers; the paper has 128
# Table 1 of the paper: expansion factor, channels, repeats, stride of the first.
STAGES = [(2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)]


def build() -> keras.Model:
    """The network: faces (B, 112, 112, 3), see `preprocess_input` -> (B, 1, 1, 192).

    The output is the layer `embedding`, whose direction tells who it is; it is not of unit length.
    """
    faces = keras.Input((SIDE, SIDE, 3), name="face")
    x = _convolution(faces, "conv1", 64, 3, stride=2)
    x = _depthwise(x, "conv2", 1)
    x = layers.Conv2D(64, 1, name="conv2_out")(x)
    for number, (factor, channels, repeats, stride) in enumerate(STAGES, start=3):
        for i in range(repeats):
            x = _bottleneck(x, f"stage{number}_block{i}", factor, channels, 1 if i else stride)
    x = _convolution(x, "conv8", 512, 1)
    x = layers.DepthwiseConv2D(SIDE // 16, name="global_depthwise")(x)
    x = layers.Conv2D(512, 1, name="global_out")(x)
    return keras.Model(faces, layers.Conv2D(EMBEDDING, 1, name="embedding")(x), name=NAME)


def _bottleneck(x, name: str, factor: int, channels: int, stride: int):
    """Expand the channels by `factor`, filter each one, bring them to `channels`; add the input."""
    inner = _convolution(x, f"{name}_expand", factor * x.shape[-1], 1)
    inner = _depthwise(inner, name, stride)
    inner = layers.Conv2D(channels, 1, name=f"{name}_out")(inner)
    if stride == 1:
        inner = layers.Add(name=f"{name}_add")([inner, x])
    return inner


def _convolution(x, name: str, channels: int, size: int, stride: int = 1):
    x = layers.Conv2D(channels, size, stride, padding="same", name=name)(x)
    return layers.PReLU(shared_axes=[1, 2], name=f"{name}_prelu")(x)


def _depthwise(x, name: str, stride: int):
    x = layers.DepthwiseConv2D(3, stride, padding="same", name=f"{name}_depthwise")(x)
    return layers.PReLU(shared_axes=[1, 2], name=f"{name}_depthwise_prelu")(x)


def preprocess_input(views):
    """Bring views to what the network was trained with, about [-1, 1] in the template frame.

    See `template_frame.prepared`, which takes the same.
    """
    return (prepared(views) - 127.5) / 128
