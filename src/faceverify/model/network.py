"""The Siamese model: brain, head, neck, landmark embedding, tail, and the angle of two tails.

    photo (218, 218, 3) -> brain -> head -> neck -> landmarks (136,) -> tail -> (128,)

The brain is the first part of a published network; the rest is the tower. The tail may begin on
the neck or on the brain instead. Both faces of a pair pass through the same weights, and theta is
the angle between their tails.
"""

import itertools
import math
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import keras
from keras import layers, ops

from faceverify.base.digests import check_checksum
from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import CANVAS_SIZE, view_corner
from faceverify.faces.landmarks import LANDMARK_NUMBERS
from faceverify.model import edge_face, mobile_face_net
from faceverify.model.weight_files import load_weights

PHOTO_SHAPE = (CANVAS_SIZE, CANVAS_SIZE, 3)
LEAST_SIDE = 3  # of the features, for the head's 3 x 3 convolution
# Networks trained to compare faces, beside those of keras.applications.
FACE_NETWORKS = {module.NAME: module for module in (edge_face, mobile_face_net)}
MAX_WEIGHTS = 100_000_000  # of a tower: 400 MB; the original's has 0.2 million


class Tower(NamedTuple):
    """The sizes of a tower's layers, and how they are regularised while they train."""

    head_filters: int
    neck_units: list[int]
    tail_units: list[int]
    dropout: float  # rate
    l2: float  # factor
    tail_reads: str = "landmarks"  # what the tail begins on: landmarks, neck or brain


def build_brain(
    application: str,
    layer: str,
    view: int,
    weights: str | None,
    seed: int,
    scope: AbstractContextManager | None = None,
) -> keras.Model:
    """The brain: photos (B, 218, 218, 3) in 0..255 -> feature maps (B, height, width, channels).

    It is `application`, of FACE_NETWORKS or of `keras.applications`, up to the layer `layer`, and
    sees the square of `view` pixels around the face: 218 is the whole canvas, 128 the face from
    forehead to chin. `weights` is "imagenet" (downloaded by Keras once), a `.weights.h5` file of
    this brain with its checksum beside it, or None for random ones drawn from `seed`.
    `scope` is that of the strategy that distributes the training, if one does.
    Raises InputError for an unknown network or layer, a view that the network cannot take, and
    weights that cannot be had, are not what their checksum says, or do not fit.
    """
    renew_names()
    keras.utils.set_random_seed(seed)
    downloaded = "imagenet" if weights == "imagenet" else None
    with scope or nullcontext():  # only here: a cleared session has no scope
        network = cut_network(application, layer, view, downloaded)
        # Pixels cut off above and below, then left and right.
        margins = tuple((start, CANVAS_SIZE - view - start) for start in view_corner(view))
        photos = keras.Input(PHOTO_SHAPE, name="photo")
        face = layers.Cropping2D(margins)(photos)
        brain = keras.Model(photos, network(face), name="brain")
    if weights not in (None, "imagenet"):
        check_checksum(Path(weights))
        load_weights(brain, Path(weights))
    return brain


def renew_names() -> None:
    """Let Keras number the names of layers from the beginning, whatever the process has built.

    Begun anew, the count gives each network the names among which a layer was chosen, and its
    weight file the same bytes.
    """
    policy = keras.config.dtype_policy()
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)


def cut_network(application: str, layer: str, size: int, weights: str | None) -> keras.Model:
    """Cut a network at a layer: (B, size, size, 3) -> feature maps; see `build_brain`.

    Photos are in 0..255; the scaling that the network was trained with is part of it. `weights`
    is "imagenet" or None for random ones. Raises InputError as `build_brain` does.
    """
    network = whole_network(application, size, weights)
    if layer not in (known.name for known in network.layers):
        raise InputError(f"model.brain_layer: {application} has no layer {layer!r}")
    output = network.get_layer(layer).output
    if len(getattr(output, "shape", ())) != 4:
        raise InputError(f"model.brain_layer: {layer} of {application} gives no feature maps")
    features = keras.Model(network.input, output)
    photos = keras.Input((size, size, 3), name="photo")
    scaled = _module(application).preprocess_input(photos)
    return keras.Model(photos, features(scaled), name="network")


def _module(application: str) -> ModuleType:
    """The module of a network, which has the scaling that its weights expect."""
    if application in FACE_NETWORKS:
        return FACE_NETWORKS[application]
    return sys.modules[getattr(keras.applications, application).__module__]


def whole_network(application: str, size: int, weights: str | None) -> keras.Model:
    """A network without its classifier, for photos of `size` x `size`; see `build_brain`.

    `weights` is "imagenet" or None for random ones. Raises InputError as `build_brain` does.
    """
    if application in FACE_NETWORKS:
        if weights == "imagenet":
            raise InputError(f"model.brain_weights: {application} was not trained on ImageNet")
        return FACE_NETWORKS[application].build()
    network_class = getattr(keras.applications, application, None)
    if application.startswith("_") or not callable(network_class):
        raise InputError(f"model.brain: keras.applications has no {application!r}")
    try:
        return network_class(weights=weights, include_top=False, input_shape=(size, size, 3))
    except Exception as error:
        if "Input size must be at least" in str(error):
            raise InputError(f"model.brain_view: {size} is too small for {application}") from None
        # Keras's downloader raises a bare Exception when there is no network.
        if weights is None:
            raise
        raise InputError(f"model.brain_weights: ImageNet weights: {error}") from None


def build_tower(
    feature_shape: tuple[int, ...], sizes: Tower, seed: int, weights: str | None = None
) -> keras.Model:
    """The tower: features -> {"landmarks": (B, 136), "tail": (B, 128)}, the trained part.

    `feature_shape` is (height, width, channels) of the brain's feature maps. Landmarks are in
    [0, 1] of the landmark range. A tail that does not begin on them ends in a `Calibration`, so
    that it has one number more than its last layer has units. `weights` is a `.weights.h5` file of
    this tower with its checksum beside it, or None for random ones drawn from `seed`. Raises
    InputError when the features are too small for the head, and for weights that are not what
    their checksum says or do not fit.
    """
    height, width, _ = feature_shape
    if min(height, width) < LEAST_SIDE:
        raise InputError(
            f"model.brain_layer: {height} x {width} features are too small for the head, which "
            "needs 3 x 3; cut the brain at an earlier layer"
        )
    check_size(feature_shape, sizes)
    keras.utils.set_random_seed(seed)
    features = keras.Input(feature_shape, name="features")
    tower = keras.Model(features, _tower_outputs(features, sizes), name="tower")
    if weights is not None:
        check_checksum(Path(weights))
        try:
            load_weights(tower, Path(weights))
        except InputError as error:
            remedy = "`model.tower_weights: null` starts from random ones"
            raise InputError(f"{error}; {remedy}") from None
    return tower


def _tower_outputs(features: keras.KerasTensor, sizes: Tower) -> dict[str, keras.KerasTensor]:
    """Head, neck, landmark embedding and tail on the features (B, height, width, channels)."""
    penalty = keras.regularizers.L2(sizes.l2) if sizes.l2 else None
    # head
    x = layers.Conv2D(sizes.head_filters, 3, activation="elu", name="head")(features)
    if min(x.shape[1:3]) > 1:
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)  # (B, 256) for mixed5 and 16 filters
    # neck
    for i, units in enumerate(sizes.neck_units):
        dense = layers.Dense(units, activation="elu", kernel_regularizer=penalty, name=f"neck{i}")
        x = layers.Dropout(sizes.dropout)(dense(x))
    # What is read out keeps float32 under mixed precision: bfloat16's 8 bits would round a
    # landmark to 1/256 of its range, and these layers are too small to be worth the time.
    landmarks = layers.Dense(
        LANDMARK_NUMBERS,
        kernel_initializer="random_uniform",
        bias_initializer="random_uniform",
        dtype="float32",
        name="landmarks",
    )(x)
    begin = {"landmarks": landmarks, "neck": x, "brain": features}[sizes.tail_reads]
    return {"landmarks": landmarks, "tail": _tail(begin, sizes)}


def _tail(x: keras.KerasTensor, sizes: Tower) -> keras.KerasTensor:
    """The tail on numbers (B, n), or on the brain's features (B, height, width, channels)."""
    if sizes.tail_reads == "brain":
        # Each place of the maps weighs by itself, unlike in a mean: S. Chen et al.,
        # "MobileFaceNets", 2018, section 3.2.
        whole = layers.DepthwiseConv2D(x.shape[1:3], dtype="float32", name="tail_depthwise")
        x = layers.Flatten(dtype="float32")(whole(x))  # (B, channels)
    *inner, last = sizes.tail_units
    for i, units in enumerate(inner):
        dense = layers.Dense(units, activation="elu", dtype="float32", name=f"tail{i}")
        x = layers.Dropout(sizes.dropout, dtype="float32")(dense(x))
    last_dense = layers.Dense(last, activation="tanh", dtype="float32", name=f"tail{len(inner)}")
    tail = last_dense(x)
    return tail if sizes.tail_reads == "landmarks" else Calibration(name="calibration")(tail)


def check_size(feature_shape: tuple[int, ...], sizes: Tower) -> None:
    """Raise InputError for a tower of more than MAX_WEIGHTS, which no machine might hold."""
    height, width, channels = feature_shape
    flat = max((height - 2) // 2, 1) * max((width - 2) // 2, 1) * sizes.head_filters
    begins = {"landmarks": LANDMARK_NUMBERS, "neck": sizes.neck_units[-1], "brain": channels}
    neck = [flat, *sizes.neck_units, LANDMARK_NUMBERS]
    tail = [begins[sizes.tail_reads], *sizes.tail_units]
    dense = itertools.chain(itertools.pairwise(neck), itertools.pairwise(tail))
    weights = 9 * channels * sizes.head_filters + sum(map(math.prod, dense))
    if sizes.tail_reads == "brain":
        weights += math.prod(feature_shape)
    if weights > MAX_WEIGHTS:
        raise InputError(
            "model: head_filters, neck_units and tail_units make a tower of more than "
            f"{MAX_WEIGHTS:,} weights; make them smaller"
        )


def build_siamese(face: keras.Model) -> keras.Model:
    """Two faces through one model: {feature0, feature1} -> {target0, target1, targetD}.

    `face` maps one input to {"landmarks": (B, 136), "tail": (B, units)}: a tower, or a brain
    with its tower (`join`). `targetD` is theta (B,) in radians, [0, pi]; low means same person.
    """
    shape = face.input_shape[1:]
    pair = {name: keras.Input(shape, name=name) for name in ("feature0", "feature1")}
    # One call on both faces, not two: the batch is twice as large, and the brain runs once.
    both = face(ops.concatenate(list(pair.values()), axis=0))
    target0, target1 = ops.split(both["landmarks"], 2, axis=0)
    tail0, tail1 = ops.split(both["tail"], 2, axis=0)
    theta = Angle(name="angle")([tail0, tail1])
    outputs = {"target0": target0, "target1": target1, "targetD": theta}
    return keras.Model(pair, outputs, name="siamese")


def join(brain: keras.Model, tower: keras.Model) -> keras.Model:
    """Brain and tower as one model: photos (B, 218, 218, 3) in 0..255 -> landmarks and tail."""
    photos = keras.Input(PHOTO_SHAPE, name="photo")
    return keras.Model(photos, tower(brain(photos)), name="face")


def angle(first, second):
    """Angle between the vectors of two batches (B, n): float32 (B,), radians in [0, pi].

    2 atan2(|u - v|, |u + v|) of the unit vectors u and v equals arccos(u . v), without its
    infinite gradient at 0 and pi: value and gradient are finite everywhere (W. Kahan, "How
    Futile are Mindless Assessments of Roundoff", 2006, section 12). A zero vector has no
    direction; its angle to anything is pi / 2.
    """
    # Half precision would round the sums of squares and the small differences away.
    u, v = (_unit(ops.cast(x, "float32")) for x in (first, second))
    apart, along = _norm(u - v), _norm(u + v)
    both_zero = ops.logical_and(apart == 0, along == 0)
    apart, along = (ops.where(both_zero, ops.ones_like(x), x) for x in (apart, along))
    return 2 * ops.arctan2(apart, along)


def _norm(x):
    """Euclidean norm over the last axis; its gradient at zero is zero, not NaN."""
    squared = ops.sum(ops.square(x), axis=-1)
    zero = squared == 0  # not `<= 0`: NaN stays NaN, so that ruined weights show
    return ops.where(zero, 0.0, ops.sqrt(ops.where(zero, 1.0, squared)))


def _unit(x):
    """Vectors of length 1 in the same directions; a zero vector stays zero."""
    # Dividing by the largest number first keeps the squares from overflow and underflow.
    largest = ops.stop_gradient(ops.max(ops.abs(x), axis=-1, keepdims=True))
    x = x / ops.where(largest == 0, 1.0, largest)
    norm = ops.expand_dims(_norm(x), -1)
    return x / ops.where(norm == 0, 1.0, norm)


@keras.saving.register_keras_serializable(package="faceverify")
class Angle(layers.Layer):
    """`angle` as a layer; always in float32."""

    def __init__(self, **options) -> None:
        """Take Keras's layer options."""
        super().__init__(**(options | {"dtype": "float32"}))

    def call(self, vectors):
        """The angle between the two tensors of the list `vectors`."""
        return angle(*vectors)


@keras.saving.register_keras_serializable(package="faceverify")
class Calibration(layers.Layer):
    """Scales the angle between tails: brings each to length 1 and appends a constant c to it.

    cos theta' = (cos theta + c^2) / (1 + c^2), so a smaller theta stays the smaller one, and c
    can be chosen so that a rate of errors lies at an angle of choice. c >= 0 is a weight that
    training leaves alone; 0 leaves theta as it is. A zero vector has no direction, and stays zero.
    """

    def __init__(self, **options) -> None:
        """Take Keras's layer options."""
        super().__init__(**(options | {"dtype": "float32"}))

    def build(self, shape) -> None:
        """Make the weight c."""
        self.constant = self.add_weight(
            shape=(1,), initializer="zeros", trainable=False, name="constant"
        )

    def call(self, tails):
        """Calibrated tails (B, n + 1) from tails (B, n)."""
        unit = _unit(tails)
        directed = ops.any(unit != 0, axis=-1, keepdims=True)  # (B, 1)
        return ops.concatenate([unit, ops.where(directed, self.constant, 0.0)], axis=-1)
