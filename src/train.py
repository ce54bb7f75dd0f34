"""Stage 3: train one member's Siamese model on the pairs; the best epoch is kept."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from faceverify.base import backend, errors

PARSER = argparse.ArgumentParser(description=__doc__)
PARSER.add_argument("member", help="a name of `members` in params.yaml")

if __name__ == "__main__":
    errors.begin()
    PARSER.parse_args()  # --help and a wrong argument need no TensorFlow, which takes seconds

tf = backend.start()

import keras
import numpy as np
from dvclive import Live

from faceverify.base import digests, files
from faceverify.data.landmark_range import LandmarkRange
from faceverify.data.records import PairRecord, PairRecords
from faceverify.model import features, network, store, training
from faceverify.runs import environment, imports, lock, members, model_settings, parameters, script

PREPARED, CACHE = Path("prepared"), Path(".cache")


def main() -> None:
    """Train the member that the command line names."""
    member = PARSER.parse_args().member
    everything = parameters.load(Path("params.yaml"))
    if member not in everything.members:
        raise errors.InputError(f"params.yaml has no member {member!r} in `members`")
    model_settings.check(everything)  # all members', before the first of them trains for hours
    settings = everything.member(member)
    if settings.precision == "float32":
        backend.compute_alike()
    lock.claim(f"train-{member}")

    records = {s: PairRecords(PREPARED / f"{s}.tfrecord") for s in ("train", "val")}
    limits = LandmarkRange.load(PREPARED / "landmark_range.json")
    strategy = strategy_of_devices()
    # The brain is drawn from the shared seed, so that members with another one still share it.
    trained = build(settings, everything.seed, strategy)
    siamese = build_siamese(settings, trained, strategy, limits)
    inputs = photo_inputs
    if not settings.model.brain_trainable:
        inputs = feature_inputs(trained.brain, records)

    replicas = strategy.num_replicas_in_sync
    run = CACHE / run_hash(settings, trained.brain, replicas)
    progress = training.Progress(run / "progress.npz", siamese)
    if progress.history:
        print(f"{member}: going on after epoch {len(progress.history)} of {settings.epochs}")
    orders = {"train": (settings.seed, len(progress.history)), "val": (None, 0)}
    batches = {
        split: training.PairBatches(pairs, inputs, settings.batch_size, *orders[split], replicas)
        for split, pairs in records.items()
    }
    fit(siamese, batches, settings.epochs, progress, members.CURVES / member)
    # Beside the curves, not in the model: equal models have equal bytes, wherever they were made.
    files.write_json(members.CURVES / member / "environment.json", environment.record(), indent=2)
    store.save(members.MODELS / member, trained)
    shutil.rmtree(run)
    best = progress.history[progress.best_epoch]
    print(
        f"{member}: epoch {progress.best_epoch + 1} of {settings.epochs} is kept; pairwise "
        f"accuracy {best['targetD_accuracy']:.3f} train, {best['val_targetD_accuracy']:.3f} val"
    )


def strategy_of_devices() -> tf.distribute.Strategy:
    """A copy of the model on each GPU where there are several, else the one device.

    Without a GPU the same holds for TensorFlow's logical CPUs, of which there is one by default.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def build(
    settings: parameters.Training, brain_seed: int, strategy: tf.distribute.Strategy
) -> store.TrainedModel:
    """The member's brain and tower before training, in the precision of its steps.

    A frozen brain is no part of them: in float32, on one device, it gives the features that the
    other members and `evaluate` use as well.
    """
    shape = settings.model
    trainable = shape.brain_trainable
    keras.config.set_dtype_policy(settings.precision if trainable else "float32")
    cut = {name: getattr(shape, name) for name in ("brain", "brain_layer", "brain_view")}
    scope = strategy.scope() if trainable else None
    brain = network.build_brain(*cut.values(), shape.brain_weights, brain_seed, scope)
    brain.trainable = trainable
    sizes = {
        "head_filters": shape.head_filters,
        "neck_units": shape.neck_units,
        "tail_reads": shape.tail_reads,
        "tail_units": shape.tail_units,
        "dropout": settings.dropout,
        "l2": settings.l2,
    }
    keras.config.set_dtype_policy(settings.precision)
    with strategy.scope():
        tower = network.build_tower(
            brain.output_shape[1:], network.Tower(**sizes), settings.seed, shape.tower_weights
        )
    description = cut | {"brain_trainable": trainable} | sizes
    return store.TrainedModel(brain, tower, description)


def build_siamese(
    settings: parameters.Training,
    trained: store.TrainedModel,
    strategy: tf.distribute.Strategy,
    limits: LandmarkRange,
) -> keras.Model:
    """The model that the steps train: of photos, or of features where the brain is frozen."""
    weights = training.LossWeights(settings.alpha, settings.beta, settings.gamma, settings.delta)
    with strategy.scope():
        face = trained.tower
        if settings.model.brain_trainable:
            face = network.join(trained.brain, trained.tower)
        siamese = network.build_siamese(face)
        training.compile_siamese(siamese, weights, settings.lr, settings.threshold, limits)
    return siamese


def photo_inputs(batch: Sequence[PairRecord], slot: int) -> np.ndarray:
    """For a brain that is trained: the photos themselves, uint8 (B, 218, 218, 3)."""
    encoded, names = (
        [getattr(record, f"{field}{slot}") for record in batch] for field in ("feature", "source")
    )
    return features.canvases(encoded, names)


def feature_inputs(brain: keras.Model, records: dict[str, PairRecords]) -> training.Inputs:
    """For a frozen brain: the features of each distinct photo, computed once."""
    places = {
        getattr(record, f"source{slot}"): (split, i, f"feature{slot}")
        for split, pairs in records.items()
        for i, record in enumerate(pairs)
        for slot in (0, 1)
    }

    def read(name: str) -> bytes:
        split, i, slot = places[name]
        return getattr(records[split][i], slot)

    values, rows = features.brain_features(brain, list(places), read, CACHE)
    row_of = dict(zip(places, rows, strict=True))
    return lambda batch, slot: values[[row_of[getattr(r, f"source{slot}")] for r in batch]]


def fit(
    siamese: keras.Model,
    batches: dict[str, training.PairBatches],
    epochs: int,
    progress: training.Progress,
    curves: Path,
) -> None:
    """Train to the last epoch, and write the figures of each epoch into the folder `curves`."""
    with Live(str(curves), dvcyaml=False, save_dvc_exp=False) as live:
        training.fit(
            siamese,
            batches["train"],
            batches["val"],
            epochs,
            progress,
            report=lambda logs: log_epoch(live, logs, epochs),
        )
        live.summary["kept_epoch"] = progress.best_epoch + 1
        live.make_summary()


def run_hash(settings: parameters.Training, brain: keras.Model, replicas: int) -> str:
    """The hash of everything that the run depends on; a stopped run is taken up under it only."""
    code = imports.code_of(Path(__file__).absolute())
    data = [
        path for s in ("train", "val") for path in files.folder_files(PREPARED / f"{s}.tfrecord")
    ]
    versions = f"{tf.__version__} {keras.version()} {np.__version__} {replicas}"
    return digests.sha256(
        versions, settings.model_dump_json(), features.fingerprint(brain), *code, *data
    )


def log_epoch(live: Live, logs: dict[str, float], epochs: int) -> None:
    """Write one epoch's figures as train/... and val/..., and print those that people follow.

    DVCLive hands them to a thread of its own; an interrupt between the two would leave its `end`
    waiting for that thread for ever.
    """
    for name, value in logs.items():
        split, figure = ("val", name[4:]) if name.startswith("val_") else ("train", name)
        live.log_metric(f"{split}/{figure}", round(value, 6))
    sides = (
        f"{split}: loss {logs[f'{key}loss']:.4f}, "
        f"contrastive {logs[f'{key}targetD_contrastive']:.4f}, "
        f"accuracy {logs[f'{key}targetD_accuracy']:.3f}, "
        f"landmark error {logs[f'{key}target0_landmark_error']:.3f}"
        for split, key in (("train", ""), ("val", "val_"))
    )
    print(f"epoch {live.step + 1}/{epochs}  {'  '.join(sides)}", flush=True)
    with errors.interrupts_held():
        live.next_step()


if __name__ == "__main__":
    script.run(main)
