"""MobileFaceNet, a network trained to compare faces, in the form of those of `keras.applications`.

S. Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile
Devices", 2018. Batch normalization is folded into the convolutions.
"""

import keras
import numpy as np
from keras import layers, ops

from faceverify.faces.aligned_photos import CANVAS_SIZE, PHOTO_WIDTH, view_corner
from faceverify.faces.alignment import CANONICAL_POINTS

NAME = "MobileFaceNet"
SIDE = 112  # pixels of the template frame
# Where the five points lie in the photos that such networks are trained on, (x, y) in pixels of
# the frame: J. Deng et al., "ArcFace", 2019; in the order of CANONICAL_POINTS.
TEMPLATE_POINTS = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
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

    `views` are the squares that a brain sees of canvases, (B, size, size, 3) in 0..255, see
    `view_corner`; the result is (B, 112, 112, 3).
    """
    rows, columns = frame_matrices(views.shape[1])
    planes = ops.transpose(views, (0, 3, 1, 2))  # (B, 3, size, size)
    frames = ops.matmul(ops.matmul(rows, planes), columns.T)  # (B, 3, 112, 112)
    return (ops.transpose(frames, (0, 2, 3, 1)) - 127.5) / 128


def frame_matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The bilinear resize of a view to the template frame: rows and columns, float32 (112, size).

    `rows @ view @ columns.T` is the frame. Outside the view its border is repeated.
    """
    scale, shift = template_map()
    on_photo = (np.arange(SIDE)[:, None] - shift) / scale  # x, y of each column and row
    # Pixel centres lie at whole numbers.
    stretch = CANVAS_SIZE / PHOTO_WIDTH
    on_canvas = np.stack([(on_photo[:, 0] + 0.5) * stretch - 0.5, on_photo[:, 1]])
    top, left = view_corner(size)
    return _interpolation(on_canvas[1] - top, size), _interpolation(on_canvas[0] - left, size)


def template_map() -> tuple[float, np.ndarray]:
    """Scale and shift (x, y) from pixels of an aligned photo to those of the template frame.

    Of all such maps it has the least squared distance of CANONICAL_POINTS from TEMPLATE_POINTS.
    """
    source, target = (p - p.mean(axis=0) for p in (CANONICAL_POINTS, TEMPLATE_POINTS))
    scale = (source * target).sum() / np.square(source).sum()
    return scale, TEMPLATE_POINTS.mean(axis=0) - scale * CANONICAL_POINTS.mean(axis=0)


def _interpolation(places: np.ndarray, size: int) -> np.ndarray:
    """How much each of `size` pixels counts at each of the places (n,): float32 (n, size)."""
    inside = places.clip(0, size - 1)[:, None]
    return np.maximum(0, 1 - np.abs(inside - np.arange(size))).astype(np.float32)
