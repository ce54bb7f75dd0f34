"""Conversion of the ensemble to one LiteRT model, in which a shared brain is stored once."""

import tempfile
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from faceverify.base import backend
from faceverify.model.features import fingerprint
from faceverify.model.network import PHOTO_SHAPE, angle
from faceverify.model.store import TrainedModel


def convert(
    members: Sequence[TrainedModel], weights: Sequence[float], quality: keras.Model
) -> bytes:
    """The bytes of a `.tflite` file of the members, with these weights in the ensemble.

    It is in float16, takes one photo at a time and has no shape that is found when it runs, and
    three signatures. `quality` is the network of `model.quality`.

    `embed`: `photo` uint8 (1, 218, 218, 3) -> `embedding` float32 (1, N), the members' tails one
    after the other, and `quality` (1,) in [0, 1]; each distinct brain runs once. `compare`:
    `first` and `second` (1, N) -> `thetas` (1, members), each member's angle in radians, and
    `theta` (1,), their weighted sum. `quality`: `photo` -> `quality`. Equal models and weights
    give equal bytes.
    """
    units = [member.tail_numbers for member in members]
    module = tf.Module()
    photo = tf.TensorSpec((1, *PHOTO_SHAPE), tf.uint8, "photo")
    vectors = [tf.TensorSpec((1, sum(units)), tf.float32, name) for name in ("first", "second")]
    believe = _believe(quality)
    signatures = {
        "embed": tf.function(_embed(members, believe), input_signature=[photo]),
        "compare": tf.function(_compare(units, weights), input_signature=vectors),
        "quality": tf.function(lambda photo: {"quality": believe(photo)}, input_signature=[photo]),
    }
    with backend.os_errors(), tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, list(signatures))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        return _in_order(converter.convert(), list(signatures))


def _in_order(data: bytes, names: Sequence[str]) -> bytes:
    """A `.tflite` file with its signatures in this order.

    The converter sorts them by name; the first is what a runtime that asks for no name runs.
    """
    model = flatbuffer_utils.read_model_from_bytearray(data)
    parts = {part.signatureKey.decode(): part for part in model.signatureDefs}
    model.signatureDefs = [parts[name] for name in names]
    model.subgraphs = [model.subgraphs[part.subgraphIndex] for part in model.signatureDefs]
    for index, part in enumerate(model.signatureDefs):
        part.subgraphIndex = index
    return flatbuffer_utils.convert_object_to_bytearray(model)


def _believe(quality: keras.Model) -> Callable:
    """The quality (1,) of a photo, as a function of it."""
    network = _frozen(quality)
    return lambda photo: tf.reshape(network(tf.cast(photo, tf.float32)), (1,))


def _embed(members: Sequence[TrainedModel], believe: Callable) -> Callable:
    """The function of `embed`; `believe` gives a photo's quality."""
    prints = [fingerprint(member.brain) for member in members]
    brain_of = {mark: _frozen(member.brain) for mark, member in zip(prints, members, strict=True)}
    towers = [_frozen(member.tower) for member in members]

    def embed(photo):
        pixels = tf.cast(photo, tf.float32)
        features = {mark: brain(pixels) for mark, brain in brain_of.items()}
        tails = [tower(features[mark])["tail"] for mark, tower in zip(prints, towers, strict=True)]
        return {"embedding": tf.concat(tails, axis=1), "quality": believe(photo)}

    return embed


def _compare(units: Sequence[int], weights: Sequence[float]) -> Callable:
    """The function of `compare`, for members of so many tail units."""
    # The converter rounds every constant to float16. The rest of each weight is a second, small
    # constant: the two sum to the weight within about 1e-7.
    rounded = np.array(weights, np.float16).astype(np.float32)
    rest = (np.array(weights) - rounded).astype(np.float32)

    def compare(first, second):
        tails = zip(tf.split(first, units, axis=1), tf.split(second, units, axis=1), strict=True)
        thetas = tf.stack([angle(one, other) for one, other in tails], axis=1)
        theta = tf.reduce_sum(thetas * rounded, axis=1) + tf.reduce_sum(thetas * rest, axis=1)
        return {"theta": theta, "thetas": thetas}

    return compare


def _frozen(model: keras.Model) -> Callable:
    """A model as a function of its input, with its weights as constants.

    Of a model with variables the converter loses the values, and leaves NaN.
    """
    values = [
        [variable.numpy() for variable in kind]
        for kind in (model.trainable_variables, model.non_trainable_variables)
    ]
    return lambda inputs: model.stateless_call(*values, inputs, training=False)[0]
