"""Train the brain on faces: phase by phase, resumed after a stop, measured on unseen people."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from faceverify import errors

if __name__ == "__main__":
    errors.begin()

import recipe
from faceverify import backend, files

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    backend.start()

import cv2
import keras
import numpy as np
from dvclive import Live
from tqdm import tqdm

import student as students
from faceverify import verification
from faceverify.model import build_brain, load_weights, write_checksum
from people import HeldOut, learnt_and_unseen, mixed_with_person
from views import Views

CHECKPOINT = Path(".cache/checkpoint.npz")
CURVES = Path("plots/training")
FIGURES = Path("metrics.json")


def main() -> None:
    """Write model/, the brain's weights in float16, metrics.json and the training curves."""
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
    run = Run(settings, learnt.paths, targets)
    with Live(str(CURVES), dvcyaml=False, save_dvc_exp=False) as live:
        student = run.train(network.get_weights(), held, live)
    network.set_weights(student.get_layer("network").get_weights())
    save(brain, settings)
    files.write_json(FIGURES, run.history[-1], indent=2)
    CHECKPOINT.unlink(missing_ok=True)


def save(brain: keras.Model, settings) -> None:
    """Write the weights in float16, with their hash beside them."""
    keras.config.set_dtype_policy("float16")
    half = build_brain("InceptionV3", "mixed5", settings.view, None, settings.seed)
    half.set_weights([weight.astype(np.float16) for weight in brain.get_weights()])
    with files.replacing_folder(recipe.MODEL) as folder:
        half.save_weights(folder / recipe.WEIGHTS)
        write_checksum(folder / recipe.WEIGHTS)


def measure(student: keras.Model, held: HeldOut) -> dict[str, float]:
    """How near the student's descriptors of the unseen people are to the teacher's, and how well
    their distances tell those people apart.
    """
    views = held.views(student.input_shape[1])
    descriptors = np.concatenate([student.predict_on_batch(batch) for batch in views])
    apart = np.square(descriptors - held.descriptors).sum(axis=1).mean()
    scores = verification.distances(descriptors, held.pairs.photos)
    return {"val_distance": float(apart)} | held.figures(scores)


class Run:
    """A training run with a checkpoint after every epoch."""

    def __init__(
        self, settings: recipe.Recipe, photos: Sequence[Path], targets: np.ndarray
    ) -> None:
        """A run of what is in `settings`; a checkpoint of another recipe is left alone."""
        self._settings, self._photos, self._targets = settings, photos, targets
        code = sorted(Path(__file__).parent.glob("*.py"))
        labels = files.folder_files(recipe.LABELS)
        self._hash = files.sha256(settings.model_dump_json(), *labels, *code)
        self.history: list[dict[str, float]] = []

    def train(self, network_weights: list[np.ndarray], held: HeldOut, live: Live) -> keras.Model:
        """Go on from the checkpoint, or from the network's weights; give the trained student."""
        epochs = self._settings.epochs
        student = students.build(self._settings)
        student.get_layer("network").set_weights(network_weights)
        steps = len(Views(self._photos, self._targets, self._settings, 0))
        students.prepare(student, self._settings, epochs * steps)
        self._take_up(student)
        for logs in self.history:
            report(live, logs, epochs)
        for epoch in range(len(self.history), epochs):
            views = Views(self._photos, self._targets, self._settings, epoch)
            steps_bar = [Steps(epoch)]
            fitted = student.fit(views, epochs=1, shuffle=False, verbose=0, callbacks=steps_bar)
            self.history.append({"loss": fitted.history["loss"][0]} | measure(student, held))
            self._store(student)
            report(live, self.history[-1], epochs)
        return student

    def _store(self, model: keras.Model) -> None:
        state = model.variables + model.optimizer.variables
        arrays = {f"state{i}": np.asarray(variable) for i, variable in enumerate(state)}
        arrays["history"] = np.frombuffer(json.dumps(self.history).encode(), np.uint8)
        arrays["hash"] = np.array(self._hash)
        with files.replacing(CHECKPOINT) as temporary:
            np.savez(temporary, **arrays)

    def _take_up(self, student: keras.Model) -> None:
        """Bring a student to where the last finished epoch of a stopped run left it."""
        if not CHECKPOINT.is_file():
            return
        with np.load(CHECKPOINT, allow_pickle=False) as stored:
            if str(stored["hash"]) != self._hash:
                return
            self.history = json.loads(stored["history"].tobytes())
            for i, variable in enumerate(student.variables + student.optimizer.variables):
                variable.assign(stored[f"state{i}"])
        done = len(self.history)
        print(f"going on after epoch {done} of {self._settings.epochs}", flush=True)


class Steps(keras.callbacks.Callback):
    """A progress bar over the steps of an epoch."""

    def __init__(self, epoch: int) -> None:
        """For epoch `epoch`, from 0."""
        super().__init__()
        self._epoch = epoch

    def on_train_begin(self, logs=None) -> None:
        """Show the bar; on a terminal only."""
        title = f"epoch {self._epoch + 1}"
        self._bar = tqdm(total=self.params["steps"], desc=title, leave=False, disable=None)

    def on_train_batch_end(self, batch, logs=None) -> None:
        """Move on by one."""
        self._bar.update()

    def on_train_end(self, logs=None) -> None:
        """Take the bar away."""
        self._bar.close()


def report(live: Live, logs: dict[str, float], epochs: int) -> None:
    """Log one epoch's figures and print the ones to watch."""
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
    errors.run(main)
