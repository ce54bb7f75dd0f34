"""Train the brain on faces, with dlib's descriptors as targets; measured on held-out people."""

import os
from collections.abc import Sequence
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import recipe
from faceverify.base import backend, files

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    backend.start()

import cv2
import keras
import numpy as np
from dvclive import Live
from tqdm import tqdm

import student as students
from checkpoint import Checkpoint, run_hash
from faceverify.evaluation import verification
from faceverify.model.network import build_brain
from faceverify.model.weight_files import load_weights, write_checksum
from faceverify.runs import script
from people import HeldOut, learnt_and_unseen, mixed_with_person
from views import Views

CHECKPOINT = Path(".cache/checkpoint.npz")
CURVES = Path("plots/training")
FIGURES = Path("metrics.json")


def main() -> None:
    """Write the brain's weights in float16 into model/, its figures and its training curves."""
    settings = recipe.read()
    keras.config.set_dtype_policy(settings.precision)
    cv2.setNumThreads(1)  # photos are prepared in several threads already
    learnt, unseen = learnt_and_unseen()
    held = HeldOut(unseen)
    targets = mixed_with_person(learnt.descriptors, learnt.identities, settings.person_share)
    people = len(set(learnt.identities))
    print(f"{len(targets)} photos of {people} people to learn from; {held}", flush=True)

    brain = build_brain("InceptionV3", "mixed5", settings.view, None, settings.seed)
    load_weights(brain, recipe.START / recipe.WEIGHTS)
    network = brain.get_layer("network")
    student = students.build(settings)
    student.get_layer("network").set_weights(network.get_weights())
    with Live(str(CURVES), dvcyaml=False, save_dvc_exp=False) as live:
        checkpoint = train(student, (learnt.paths, targets), held, settings, live)
    network.set_weights(student.get_layer("network").get_weights())
    save(brain, settings)
    files.write_json(FIGURES, checkpoint.history[-1], indent=2)
    checkpoint.remove()


def save(brain: keras.Model, settings) -> None:
    """Write the brain's weights in float16 into model/, with their checksum."""
    keras.config.set_dtype_policy("float16")
    half = build_brain("InceptionV3", "mixed5", settings.view, None, settings.seed)
    half.set_weights([weight.astype(np.float16) for weight in brain.get_weights()])
    with files.replacing_folder(recipe.MODEL) as folder:
        half.save_weights(folder / recipe.WEIGHTS)
        write_checksum(folder / recipe.WEIGHTS)


def measure(student: keras.Model, held: HeldOut) -> dict[str, float]:
    """The figures of the student's descriptors of the held-out people.

    `val_distance` is their mean squared distance from dlib's; the others are of the distances
    between the photos of a pair, see `HeldOut.figures`.
    """
    views = held.views(student.input_shape[1])
    descriptors = np.concatenate([student.predict_on_batch(batch) for batch in views])
    apart = np.square(descriptors - held.descriptors).sum(axis=1).mean()
    scores = verification.distances(descriptors, held.pairs.photos)
    return {"val_distance": float(apart)} | held.figures(scores)


def train(
    student: keras.Model,
    learnt: tuple[Sequence[Path], np.ndarray],
    held: HeldOut,
    settings: recipe.Recipe,
    live: Live,
) -> Checkpoint:
    """Train the student from its checkpoint on; `learnt` are photos and targets (n, 128)."""
    students.prepare(student, settings, settings.epochs * len(Views(*learnt, settings, 0)))
    run = run_hash(Path(__file__), settings.model_dump_json(exclude={"members", "tower"}))
    checkpoint = Checkpoint(CHECKPOINT, run, student)
    for logs in checkpoint.history:
        report(live, logs, settings.epochs)
    for epoch in range(len(checkpoint.history), settings.epochs):
        views = Views(*learnt, settings, epoch)
        fitted = student.fit(views, epochs=1, shuffle=False, verbose=0, callbacks=[Steps(epoch)])
        checkpoint.finish_epoch({"loss": fitted.history["loss"][0]} | measure(student, held))
        report(live, checkpoint.history[-1], settings.epochs)
    return checkpoint


class Steps(keras.callbacks.Callback):
    """A progress bar of an epoch's steps, on a terminal only."""

    def __init__(self, epoch: int) -> None:
        """Take the epoch's number, from 0."""
        super().__init__()
        self._epoch = epoch

    def on_train_begin(self, logs=None) -> None:
        """Show the bar."""
        title = f"epoch {self._epoch + 1}"
        self._bar = tqdm(total=self.params["steps"], desc=title, leave=False, disable=None)

    def on_train_batch_end(self, batch, logs=None) -> None:
        """Count a step."""
        self._bar.update()

    def on_train_end(self, logs=None) -> None:
        """Remove the bar."""
        self._bar.close()


def report(live: Live, logs: dict[str, float], epochs: int) -> None:
    """Log all figures of an epoch to DVCLive, and print those that people follow."""
    for name, value in logs.items():
        split, figure = ("val", name[4:]) if name.startswith("val_") else ("train", name)
        live.log_metric(f"{split}/{figure}", round(value, 6))
    print(
        f"epoch {live.step + 1}/{epochs}  loss {logs['loss']:.4f}  unseen people: squared distance "
        f"{logs['val_distance']:.4f}, AUC {logs['val_auc']:.4f}, best accuracy "
        f"{logs['val_best_accuracy']:.4f}, TAR at FMR 1% {logs['val_tar_at_fmr_1pct']:.3f}",
        flush=True,
    )
    live.next_step()


if __name__ == "__main__":
    script.run(main)
