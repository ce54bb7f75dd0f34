"""The Siamese model: brain, head, neck, landmark embedding, tail, and the angle between two faces.

    photo (218, 218, 3) -> brain -> head -> neck -> landmarks (136,) -> tail -> (128,)

The brain is cut out of a published network; the rest is the tower. Both faces of a pair pass
through one set of weights, and theta is the angle between their tails.
"""

import itertools
import math
import os
import re
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np
from keras import layers, ops

from faceverify.base.digests import check_checksum, digest
from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import CANVAS_SIZE, view_corner
from faceverify.faces.landmarks import LANDMARK_NUMBERS

PHOTO_SHAPE = (CANVAS_SIZE, CANVAS_SIZE, 3)
# Of a tower; the original's has 0.2 million. This many take 400 MB.
MAX_WEIGHTS = 100_000_000


class Tower(NamedTuple):
    """The sizes of the trained part: filters, units, dropout rate, L2 factor."""

    head_filters: int
    neck_units: list[int]
    tail_units: list[int]
    dropout: float
    l2: float


def build_brain(
    application: str,
    layer: str,
    view: int,
    weights: str | None,
    seed: int,
    scope: AbstractContextManager | None = None,
) -> keras.Model:
    """The frozen or trained reader of photos, (B, 218, 218, 3) in 0..255 -> feature maps.

    It looks at the square of `view` pixels around the face: 218 is the whole canvas, 128 the face
    from forehead to chin. `weights` is "imagenet" (downloaded by Keras once), a `.weights.h5`
    file of this brain with its checksum beside it, or None for random ones drawn from `seed`.
    `scope` is that of the strategy that distributes the training, if one does.
    Raises InputError for an unknown network or layer, a view that the network cannot take, and
    weights that cannot be had, are not what their checksum says, or do not fit.
    """
    # Keras counts names up as a process builds models. Begun anew, the count gives every brain
    # the names that its `layer` was chosen by, and its weight file the same bytes.
    policy = keras.config.dtype_policy()
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    downloaded = "imagenet" if weights == "imagenet" else None
    with scope or nullcontext():  # only here: a cleared session has no scope
        network = cut_network(application, layer, view, downloaded)
        # What is cut off: above and below, left and right.
        margins = tuple((start, CANVAS_SIZE - view - start) for start in view_corner(view))
        photos = keras.Input(PHOTO_SHAPE, name="photo")
        face = layers.Cropping2D(margins)(photos)
        brain = keras.Model(photos, network(face), name="brain")
    if weights not in (None, "imagenet"):
        check_checksum(Path(weights))
        load_weights(brain, weights)
    return brain


def cut_network(application: str, layer: str, size: int, weights: str | None) -> keras.Model:
    """Cut a network of `keras.applications` at a layer: (B, size, size, 3) -> feature maps.

    Photos are in 0..255; the scaling that the network was trained with is part of it. `weights`
    is "imagenet" or None for random ones. Raises InputError as `build_brain` does.
    """
    network_class = getattr(keras.applications, application, None)
    if application.startswith("_") or not callable(network_class):
        raise InputError(f"model.brain: keras.applications has no {application!r}")
    shape = (size, size, 3)
    try:
        network = network_class(weights=weights, include_top=False, input_shape=shape)
    except Exception as error:
        if "Input size must be at least" in str(error):
            raise InputError(f"model.brain_view: {size} is too small for {application}") from None
        # Keras's downloader raises a bare Exception when there is no network.
        if weights is None:
            raise
        raise InputError(f"model.brain_weights: ImageNet weights: {error}") from None
    if layer not in (known.name for known in network.layers):
        raise InputError(f"model.brain_layer: {application} has no layer {layer!r}")
    output = network.get_layer(layer).output
    if len(getattr(output, "shape", ())) != 4:
        raise InputError(f"model.brain_layer: {layer} of {application} gives no feature maps")
    features = keras.Model(network.input, output)
    photos = keras.Input(shape, name="photo")
    # Each network's module has the scaling that its weights expect.
    scaled = sys.modules[network_class.__module__].preprocess_input(photos)
    return keras.Model(photos, features(scaled), name="network")


def load_weights(model: keras.Model, path: Path | str) -> None:
    """Load a `.weights.h5` file, which is plain numbers: nothing in it can run as code.

    Raises InputError when it is damaged, of another architecture, leads to another file, or
    holds what is no number. HDF5 itself may fall over a damaged file: check its hash before.
    """
    try:
        with h5py.File(path) as file:
            stored = _stored_shapes(file)
        # Keras itself would pass over weights that the model has no place for.
        if stored.total() != len(model.weights):
            raise ValueError(f"{stored.total()} arrays for {len(model.weights)} weights")
        if stored != Counter(tuple(weight.shape) for weight in model.weights):
            raise ValueError("its arrays have other shapes")
        model.load_weights(path)
        if not all(np.isfinite(weight).all() for weight in model.get_weights()):
            raise ValueError("a weight is not a finite number")
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} does not fit the {model.name}: {error}") from None


def _stored_shapes(file: h5py.File) -> Counter[tuple[int, ...]]:
    """The shapes of the arrays in a file; ValueError for a link, and what is not in the file."""
    # A visitor that raises makes h5py raise SystemError; one that returns something stops.
    leads_away = file.visititems_links(
        lambda name, link: None if isinstance(link, h5py.HardLink) else name
    )
    if leads_away:
        raise ValueError(f"{leads_away} is a link")
    items: list[h5py.HLObject] = []
    file.visititems(lambda _, item: items.append(item))
    arrays = [item for item in items if isinstance(item, h5py.Dataset)]
    for array in arrays:
        # No chunks means no filters either, which could be code or unpack enormously.
        if array.external or array.is_virtual or array.chunks or array.dtype.kind != "f":
            raise ValueError(f"{array.name} is not a plain array of numbers in this file")
    return Counter(array.shape for array in arrays)


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a `.weights.h5` file; OSError when the disk is full, as for any other file."""
    try:
        model.save_weights(path)
    except (OSError, RuntimeError) as error:
        # HDF5 says so only in the text of errors of its own.
        code = re.search(r"errno = (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


def write_checksum(path: Path) -> None:
    """Write `<path>.sha256` beside a weight file, in the form that `sha256sum --check` reads."""
    line = f"{digest(path)}  {path.name}\n"
    path.with_name(f"{path.name}.sha256").write_text(line, encoding="utf-8")


def build_tower(
    feature_shape: tuple[int, ...], sizes: Tower, seed: int, weights: str | None = None
) -> keras.Model:
    """The trained part of one face's way: features -> landmarks (B, 136) and tail (B, 128).

    `feature_shape` is (height, width, channels) of the brain's output. Landmarks are in [0, 1]
    of the landmark range. `weights` is a `.weights.h5` file of this tower with its checksum
    beside it, or None for random ones drawn from `seed`. Raises InputError when the features are
    too small for the head, and for weights that are not what their checksum says or do not fit.
    """
    height, width, _ = feature_shape
    if min(height, width) < 4:
        raise InputError(
            f"model.brain_layer: {height} x {width} features are too small for the head, which "
            "needs 4 x 4; cut the brain at an earlier layer"
        )
    _check_size(feature_shape, sizes)
    keras.utils.set_random_seed(seed)
    penalty = keras.regularizers.L2(sizes.l2) if sizes.l2 else None
    features = keras.Input(feature_shape, name="features")
    # head
    x = layers.Conv2D(sizes.head_filters, 3, activation="elu", name="head")(features)
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
    # tail
    units, last = sizes.tail_units
    x = layers.Dense(units, activation="elu", dtype="float32", name="tail0")(landmarks)
    x = layers.Dropout(sizes.dropout, dtype="float32")(x)
    tail = layers.Dense(last, activation="tanh", dtype="float32", name="tail1")(x)
    tower = keras.Model(features, {"landmarks": landmarks, "tail": tail}, name="tower")
    if weights is not None:
        check_checksum(Path(weights))
        try:
            load_weights(tower, weights)
        except InputError as error:
            remedy = "`model.tower_weights: null` starts from random ones"
            raise InputError(f"{error}; {remedy}") from None
    return tower


def _check_size(feature_shape: tuple[int, ...], sizes: Tower) -> None:
    """InputError for a tower that no machine can hold."""
    height, width, channels = feature_shape
    flat = (height - 2) // 2 * ((width - 2) // 2) * sizes.head_filters
    units = [flat, *sizes.neck_units, LANDMARK_NUMBERS, *sizes.tail_units]
    weights = 9 * channels * sizes.head_filters + sum(map(math.prod, itertools.pairwise(units)))
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
    """One face's whole way, photo (B, 218, 218, 3) in 0..255 -> landmarks and tail."""
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
