"""Stage 3: a step of fine-tuning, and an epoch with a frozen brain, beside the original's model."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from faceverify.base import backend

tf = backend.start()

import keras

import original
import train
from faceverify.data.landmark_range import LandmarkRange
from faceverify.data.records import PairRecords
from faceverify.model import network, training
from faceverify.model.training import PairBatches
from faceverify.runs import parameters
from material import ROOT, SEED, Photos, prepare
from measuring import Comparison, Rate, apart, rate
from record_steps import write

# Pairs in a batch, and prepared in all: 32 and 512 of them are for training, whole batches.
STEP_BATCH, STEP_PAIRS = 16, 42
EPOCH_BATCH, EPOCH_PAIRS = 32, 682
BFLOAT16 = "mixed_bfloat16"


def compare(photos: Photos) -> list[Comparison]:
    """Images a second of fine-tuning, and pairs a second of epochs with a frozen brain."""
    with _written(photos, STEP_PAIRS) as folder:
        steps = apart(fine_tune, folder, "original")
        single, half = (apart(fine_tune, folder, "ours", p) for p in ("float32", BFLOAT16))
    with _written(photos, EPOCH_PAIRS) as folder:
        epochs = [apart(frozen, folder, way).result for way in ("ours", "original")]
    peaks = [Rate(found.peak, 0) for found in (single, steps)]
    return [
        Comparison("fine-tuning, float32", "images/s", single.result, steps.result, "original"),
        Comparison("fine-tuning, bfloat16", "images/s", half.result, steps.result, "original", 1.5),
        Comparison("fine-tuning, memory", "MB", *peaks, "original"),
        Comparison("epoch with a frozen brain", "pairs/s", *epochs, "original", 50),
    ]


@contextlib.contextmanager
def _written(photos: Photos, count: int) -> Iterator[str]:
    """A folder with the records of `count` pairs, written in both ways."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(photos, Path(folder), count)
        for way in ("ours", "original"):
            apart(write, folder, way, 1)
        yield folder


def fine_tune(folder: str, way: str, precision: str = "float32") -> Rate:
    """Steps of a model whose brain is trained along, from the records on."""
    os.chdir(folder)
    keras.config.set_dtype_policy(precision)
    brain, tower = _parts()
    epoch = _epoch(network.join(brain, tower), train.photo_inputs, way, STEP_BATCH)
    epoch()
    return rate(lambda: 2 * epoch())


def frozen(folder: str, way: str) -> Rate:
    """Epochs over a frozen brain: ours reads its features, which were computed once."""
    os.chdir(folder)
    brain, tower = _parts()
    brain.trainable = False
    face, inputs = network.join(brain, tower), None
    if way == "ours":
        pairs = {
            split: PairRecords(Path(f"prepared/{split}.tfrecord")) for split in ("train", "val")
        }
        face, inputs = tower, train.feature_inputs(brain, pairs)
    epoch = _epoch(face, inputs, way, EPOCH_BATCH)
    epoch()
    return rate(epoch)


def _parts() -> tuple[keras.Model, keras.Model]:
    """Brain and tower of params.celeba.yaml, from random weights."""
    shape = parameters.load(ROOT / "params.celeba.yaml").model
    brain = network.build_brain(shape.brain, shape.brain_layer, shape.brain_view, None, SEED)
    sizes = network.Tower(
        shape.head_filters, shape.neck_units, shape.tail_units, 0.0, 0.0, shape.tail_reads
    )
    return brain, network.build_tower(brain.output_shape[1:], sizes, SEED)


def _epoch(
    face: keras.Model, inputs: training.Inputs | None, way: str, batch: int
) -> Callable[[], int]:
    """An epoch over the training pairs, without validation; it gives how many pairs it had."""
    pairs = PairRecords(Path("prepared/train.tfrecord"))
    if way == "ours":
        siamese, batches = network.build_siamese(face), PairBatches(pairs, inputs, batch, SEED)
    else:
        siamese = original.build_siamese(face)
        batches = original.read_records(Path("prepared/original-train.tfrecord"), batch)
        # Without it Keras warns that the data has come to its end.
        batches = batches.apply(tf.data.experimental.assert_cardinality(-(-len(pairs) // batch)))
    weights = training.LossWeights(alpha=0.5, beta=0.5, gamma=1.0, delta=1.0)
    limits = LandmarkRange.load(Path("prepared/landmark_range.json"))
    training.compile_siamese(siamese, weights, 3e-6, 0.5, limits)

    def epoch() -> int:
        siamese.fit(batches, epochs=1, shuffle=False, verbose=0)
        return len(pairs)

    return epoch
