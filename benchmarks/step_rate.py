"""How fast the training step is by precision and batch, and what share of the device's peak it has.

`python benchmarks/step_rate.py --peak 989` from the repository's root trains the member `ja` of
params.yaml, brain and all, on random photos that are in memory already: what the device can do.
`--peak` is the device's TFLOP/s in half precision, as its maker states it.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

import keras
import numpy as np

import train
from faceverify.data import landmark_range
from faceverify.faces.landmarks import LANDMARK_NUMBERS
from faceverify.model import network
from faceverify.runs import parameters

tf = train.tf
# Multiplications and additions of a step: forward, and twice as many for the gradients of
# activations and of weights.
PASSES = 3
TARGETS = ("target0", "target1")


def main() -> None:
    """Measure every combination and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64, 128, 256])
    precisions = ["float32", "mixed_bfloat16", "mixed_float16"]
    parser.add_argument("--precision", nargs="+", choices=precisions, default=precisions)
    parser.add_argument("--steps", type=int, default=20, help="steps of a measurement")
    parser.add_argument("--peak", type=float, help="peak of the device, TFLOP/s")
    arguments = parser.parse_args()
    settings = parameters.load(Path("params.yaml")).member("ja")
    print("| precision | pairs in a batch | photos/s | TFLOP/s | share of peak |")
    print("| --- | --- | --- | --- | --- |")
    for precision in arguments.precision:
        for size in arguments.batch:
            changes = {"model": settings.model.model_copy(update={"brain_trainable": True})}
            chosen = settings.model_copy(update=changes | {"precision": precision})
            siamese, work = prepare(chosen)
            photos = 2 * size * arguments.steps / measure(siamese, size, arguments.steps)
            rate = photos * work / 1e12
            share = f"{rate / arguments.peak:.1%}" if arguments.peak else ""
            print(f"| {precision} | {size} | {photos:.1f} | {rate:.3f} | {share} |", flush=True)


def prepare(settings: parameters.Training) -> tuple[keras.Model, float]:
    """The compiled model of the stage, and the operations that a photo takes in a step."""
    strategy = train.strategy_of_devices()
    trained = train.build(settings, settings.seed, strategy)
    limits = landmark_range.LandmarkRange(*(np.full(LANDMARK_NUMBERS, end) for end in (0.0, 218.0)))
    siamese = train.build_siamese(settings, trained, strategy, limits)
    return siamese, PASSES * forward_operations(trained.brain)


def forward_operations(brain: keras.Model) -> float:
    """Multiplications and additions of one photo's way through the brain, by TensorFlow's count.

    The tower is left out: it is a hundredth of the brain and less.
    """
    photo = tf.TensorSpec((1, *network.PHOTO_SHAPE), tf.float32)
    graph = tf.function(lambda x: brain(x, training=False)).get_concrete_function(photo).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def measure(siamese: keras.Model, size: int, steps: int) -> float:
    """Seconds of `steps` training steps, after two that build and tune the graph."""
    rng = np.random.default_rng(1)
    pair = [rng.integers(256, size=(size, *network.PHOTO_SHAPE), dtype=np.uint8) for _ in range(2)]
    inputs = dict(zip(("feature0", "feature1"), pair, strict=True))
    outputs = {name: rng.random((size, network.LANDMARK_NUMBERS), np.float32) for name in TARGETS}
    outputs["targetD"] = (np.arange(size) % 2).astype(np.float32)
    for _ in range(2):
        siamese.train_on_batch(inputs, outputs)
    begin = time.perf_counter()
    for _ in range(steps):
        siamese.train_on_batch(inputs, outputs)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
