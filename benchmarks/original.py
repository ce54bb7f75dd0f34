"""The original project's way, re-created from its description, for the benchmarks.

One thread finds the landmarks (landmark_steps.py has that loop); photos become float32 tensors
(218, 218, 3), which TFRecord files hold after a shuffle whose buffer is the whole dataset; the
Siamese model calls its brain once for each photo of a pair, in float32.
"""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from faceverify.base.files import read_json
from faceverify.data.landmark_range import LandmarkRange
from faceverify.model.network import Angle

CANVAS = (218, 218)


def write_records(prepared: Path, seed: int) -> int:
    """Write both splits of `prepared` as `original-<split>.tfrecord`; gives the number of pairs."""
    table = pd.read_csv(prepared / "pairs.csv")
    numbers = read_json(prepared / "paired.json")
    train = table[table.split == "train"]
    limits = LandmarkRange.fit(
        np.array([numbers[n][:-1] for n in [*train["first"], *train["second"]]])
    )
    for split in ("train", "val"):
        part = table[table.split == split]
        names = [part["first"], part["second"]]
        columns = [[str(prepared / "paired" / name) for name in slot] for slot in names]
        columns += [limits.normalize([numbers[name][:-1] for name in slot]) for slot in names]
        pairs = tf.data.Dataset.from_tensor_slices((*columns, part["label"].to_numpy("float32")))
        pairs = pairs.map(lambda a, b, *targets: (_read(a), _read(b), *targets))
        with tf.io.TFRecordWriter(str(prepared / f"original-{split}.tfrecord")) as writer:
            for pair in pairs.shuffle(len(part), seed):
                writer.write(_serialize(*pair))
    return len(table)


def _read(path: tf.Tensor) -> tf.Tensor:
    photo = tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False)
    return tf.image.resize(photo, CANVAS)  # float32


def _serialize(*pair: tf.Tensor) -> bytes:
    features = {
        str(i): tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[tf.io.serialize_tensor(part).numpy()])
        )
        for i, part in enumerate(pair)
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def read_records(file: Path, batch_size: int) -> tf.data.Dataset:
    """Batches for `fit`: {feature0, feature1} float32 and {target0, target1, targetD}."""
    keys = {str(i): tf.io.FixedLenFeature([], tf.string) for i in range(5)}
    shapes = ((*CANVAS, 3), (*CANVAS, 3), (136,), (136,), ())

    def parse(record: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        example = tf.io.parse_single_example(record, keys)
        parts = [
            tf.ensure_shape(tf.io.parse_tensor(example[key], tf.float32), shape)
            for key, shape in zip(keys, shapes, strict=True)
        ]
        first, second, *targets = parts
        names = ("target0", "target1", "targetD")
        return {"feature0": first, "feature1": second}, dict(zip(names, targets, strict=True))

    records = tf.data.TFRecordDataset(str(file)).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return records.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def build_siamese(face: keras.Model) -> keras.Model:
    """The Siamese model that calls one face's whole way once for each of the two photos."""
    pair = [keras.Input(face.input_shape[1:], name=f"feature{slot}") for slot in (0, 1)]
    first, second = (face(photo) for photo in pair)
    outputs = {
        "target0": first["landmarks"],
        "target1": second["landmarks"],
        "targetD": Angle(name="angle")([first["tail"], second["tail"]]),
    }
    return keras.Model({photo.name: photo for photo in pair}, outputs, name="siamese")
