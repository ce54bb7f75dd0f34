"""Train a member's tower on the finished brain: theta learns the distance of two descriptors."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import recipe
from faceverify.base import backend, files

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    backend.start()

import cv2
import joblib
import keras
import numpy as np
from dvclive import Live
from keras import ops
from tqdm import tqdm

import student as students
from checkpoint import Checkpoint, run_hash
from faceverify.base import cache
from faceverify.data.landmark_range import LandmarkRange
from faceverify.evaluation import verification
from faceverify.faces.aligned_photos import decode
from faceverify.model import features
from faceverify.model.losses import landmark_loss
from faceverify.model.network import Tower, angle, build_brain, build_tower
from faceverify.model.weight_files import write_checksum
from faceverify.runs import script
from people import VIEWED_AT_ONCE, HeldOut, LabelledPhotos, learnt_and_unseen
from views import augmented, view_of

CACHE = Path(".cache")
CURVES = Path("plots/tower")
FIGURES = Path("tower_metrics")


def main() -> None:
    """Write weights of tower and brain, in float16, figures and curves of the named member."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("member", help="a name of `members` in params.yaml")
    name = parser.parse_args().member
    settings = recipe.read()
    if name not in settings.members:
        raise errors.InputError(f"params.yaml has no member {name!r} in `members`")
    member = settings.members[name]
    cv2.setNumThreads(1)  # photos are prepared in several threads already
    learnt, unseen = learnt_and_unseen()
    held = HeldOut(unseen)
    print(f"{len(learnt.paths)} photos to learn from; {held}", flush=True)

    weights = recipe.MODEL / recipe.WEIGHTS
    whole = build_brain("InceptionV3", "mixed5", settings.view, str(weights), settings.seed)
    brain = cut(whole, member.brain_layer, member.brain_view)
    network = brain.get_layer("network")
    seen = [
        viewed(network, learnt.paths, number, settings) for number in range(settings.tower.views)
    ]
    shown = np.concatenate(
        [network.predict_on_batch(views) for views in held.views(member.brain_view)]
    )

    tower = build_tower(brain.output_shape[1:], shape(member), member.seed)
    how = settings.model_dump_json(exclude={"members"}) + member.model_dump_json()
    run = run_hash(Path(__file__), how, weights)
    batches = Batches(seen, learnt, settings, member.seed)
    compile_tower(tower, settings, len(batches))
    checkpoint = Checkpoint(CACHE / f"tower_{name}.npz", run, tower)
    with Live(str(CURVES / name), dvcyaml=False, save_dvc_exp=False) as live:
        train(tower, batches, (shown, held), checkpoint, settings.tower.epochs, live)
    layer = member.brain_layer
    save(tower, shape(member), recipe.TOWER / name / recipe.tower_weights(name, layer))
    save_brain(brain, layer, member.brain_view, recipe.TOWER / name)
    files.write_json(FIGURES / f"{name}.json", checkpoint.history[-1], indent=2)
    checkpoint.remove()


def shape(member: recipe.Member) -> Tower:
    """The sizes of a member's tower, without regularisation: none is used here."""
    sizes = member.model_dump(include={"head_filters", "neck_units", "tail_units"})
    return Tower(**sizes, dropout=0.0, l2=0.0)


def cut(brain: keras.Model, layer: str, view: int) -> keras.Model:
    """The brain up to a layer, for a square of `view` pixels; its weights are those of `brain`."""
    shorter = build_brain("InceptionV3", layer, view, None, seed=0)
    whole = _layers(brain)
    for name, part in _layers(shorter).items():
        part.set_weights(whole[name].get_weights())
    return shorter


def _layers(brain: keras.Model) -> dict[str, keras.Layer]:
    """The layers of a brain's published network, whose names do not depend on the cut."""
    features = brain.get_layer("network").layers[-1]
    return {layer.name: layer for layer in features.layers}


def save_brain(brain: keras.Model, layer: str, view: int, folder: Path) -> None:
    """Add a cut brain's weights in float16, with their checksum, to the folder of its tower's."""
    keras.config.set_dtype_policy("float16")
    half = build_brain("InceptionV3", layer, view, None, seed=0)
    half.set_weights([weight.astype(np.float16) for weight in brain.get_weights()])
    path = folder / recipe.brain_weights(layer)
    half.save_weights(path)
    write_checksum(path)


def viewed(
    network: keras.Model, paths: np.ndarray, number: int, settings: recipe.Recipe
) -> np.ndarray:
    """The features of one view of each photo, float32 (photos, height, width, channels), cached.

    View 0 is the unchanged photo, each other `number` an augmented one.
    """
    side = network.input_shape[1]

    def prepared(row: int) -> np.ndarray:
        photo = decode(paths[row].read_bytes())
        if number == 0:
            return view_of(photo, side)
        rng = np.random.default_rng((settings.seed, number, row))
        return augmented(photo, side, settings.augment, rng)

    def batches() -> Iterator[np.ndarray]:
        starts = range(0, len(paths), VIEWED_AT_ONCE)
        pool = joblib.Parallel(n_jobs=-1, prefer="threads")
        for start in tqdm(starts, f"features of view {number}", unit="batch", disable=None):
            rows = range(start, min(start + VIEWED_AT_ONCE, len(paths)))
            yield network.predict_on_batch(np.stack(pool(map(joblib.delayed(prepared), rows))))

    how = f"{number} {settings.seed} {side} {settings.augment.model_dump_json()}"
    code = [Path(__file__).with_name("views.py"), *paths]
    shape = (len(paths), *network.output_shape[1:])
    return cache.stored(CACHE, [how, features.fingerprint(network), *code], shape, batches)


class Batches(keras.utils.PyDataset):
    """One epoch's batches: half a batch of photos, then a similar photo, the partner, for each.

    A partner is drawn from the photos with the nearest descriptors, whoever is on them: people are
    confused with those who resemble them. Of each photo one view is drawn.
    """

    def __init__(
        self, seen: list[np.ndarray], photos: LabelledPhotos, settings: recipe.Recipe, seed: int
    ) -> None:
        """Take the photos' labels, and in `seen` their features by view, see `viewed`."""
        super().__init__()
        self._seen, self._how, self._seed = seen, settings.tower, seed
        self._descriptors = photos.descriptors
        self._near = nearest(self._descriptors, self._how.near)
        self._landmarks = LandmarkRange.fit(photos.landmarks).normalize(photos.landmarks)
        self.start(0)

    def start(self, epoch: int) -> None:
        """Draw the order of epoch `epoch`, from 0."""
        self._epoch = epoch
        rng = np.random.default_rng((self._seed, epoch))
        self._order = rng.permutation(len(self._descriptors))

    def __len__(self) -> int:
        """Whole batches only; what is left over differs from epoch to epoch."""
        return len(self._order) // (self._how.batch_size // 2)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict, dict]:
        """Features (B, height, width, channels), targets, and sample weights of a batch.

        Landmarks weigh 1 for unchanged photos and 0 for augmented ones, where they lie elsewhere.
        """
        half = self._how.batch_size // 2
        rng = np.random.default_rng((self._seed, self._epoch, index))
        drawn = self._order[index * half : (index + 1) * half]
        partners = self._near[drawn, rng.integers(self._near.shape[1], size=half)]
        rows = np.concatenate([drawn, partners])
        views = rng.integers(len(self._seen), size=len(rows))
        seen = np.stack([self._seen[v][row] for v, row in zip(views, rows, strict=True)])
        wanted = {"tail": self._descriptors[rows], "landmarks": self._landmarks[rows]}
        weight = {"tail": np.ones(len(rows), np.float32), "landmarks": np.float32(views == 0)}
        return seen, wanted, weight


def nearest(descriptors: np.ndarray, count: int) -> np.ndarray:
    """The rows (n, count) of the nearest other descriptors to each descriptor of (n, 128)."""
    norms = np.square(descriptors).sum(axis=1)
    found = np.empty((len(descriptors), count), np.int64)
    for start in range(0, len(descriptors), 1024):
        part = slice(start, start + 1024)
        apart = norms - 2 * descriptors[part] @ descriptors.T
        own = np.arange(len(descriptors))[part]
        apart[np.arange(len(own)), own] = np.inf
        found[part] = np.sort(np.argpartition(apart, count - 1, axis=1)[:, :count], axis=1)
    return found


def angles_as_distances(descriptors, tails):
    """The loss: squared difference of tails' angle and descriptors' distance, (B,).

    Relational distillation (Park et al., "Relational Knowledge Distillation", CVPR 2019): the mean
    over a photo's pairs with all photos of the batch, plus that of the pair with its partner. Both
    arguments are (B, 128).
    """
    of_all = _misses(descriptors[:, None], descriptors[None], tails[:, None], tails[None])
    partners = _misses(descriptors, _partners(descriptors), tails, _partners(tails))
    return ops.mean(of_all, axis=1) + partners


def _misses(descriptor, other_descriptor, tail, other_tail):
    """Squared difference of the tails' angle, in radians, and the descriptors' distance."""
    distance = ops.sqrt(ops.sum(ops.square(descriptor - other_descriptor), axis=-1))
    return ops.square(angle(tail, other_tail) - distance)


def _partners(vectors):
    """The row of each row's partner: the halves of a batch (B, n) in the other order."""
    drawn, near = ops.split(vectors, 2, axis=0)
    return ops.concatenate([near, drawn], axis=0)


def compile_tower(tower: keras.Model, settings: recipe.Recipe, steps: int) -> None:
    """Compile a tower for a training whose epochs have `steps` steps."""
    how = settings.tower
    chosen = students.optimizer(how.lr, settings.weight_decay, how.epochs * steps)
    tower.compile(
        chosen,
        loss={"tail": angles_as_distances, "landmarks": landmark_loss},
        loss_weights={"tail": 1.0, "landmarks": how.landmarks},
    )
    chosen.build(tower.trainable_variables)


def train(
    tower: keras.Model,
    batches: Batches,
    unseen: tuple[np.ndarray, HeldOut],
    checkpoint: Checkpoint,
    epochs: int,
    live: Live,
) -> None:
    """Train the tower from its checkpoint on; `unseen` are the features and held-out people."""
    shown, held = unseen
    for logs in checkpoint.history:
        report(live, logs, epochs)
    for epoch in range(len(checkpoint.history), epochs):
        batches.start(epoch)
        fitted = tower.fit(batches, epochs=1, shuffle=False, verbose=0)
        tails = tower.predict(shown, batch_size=256, verbose=0)["tail"]
        figures = held.figures(verification.thetas(tails, held.pairs.photos))
        checkpoint.finish_epoch({k: v[0] for k, v in fitted.history.items()} | figures)
        report(live, checkpoint.history[-1], epochs)


def report(live: Live, logs: dict[str, float], epochs: int) -> None:
    """Log all figures of an epoch to DVCLive, and print those that people follow."""
    for name, value in logs.items():
        split, figure = ("val", name[4:]) if name.startswith("val_") else ("train", name)
        live.log_metric(f"{split}/{figure}", round(value, 6))
    print(
        f"epoch {live.step + 1}/{epochs}  loss {logs['loss']:.4f}  unseen people: "
        f"AUC {logs['val_auc']:.4f}, best accuracy {logs['val_best_accuracy']:.4f}",
        flush=True,
    )
    live.next_step()


def save(tower: keras.Model, sizes: Tower, path: Path) -> None:
    """Write the weights in float16, with their checksum, into a folder of their own."""

    def halved(layer: keras.Layer) -> keras.Layer:
        return layer.from_config(layer.get_config() | {"dtype": "float16"})

    fresh = build_tower(tower.input_shape[1:], sizes, 0)
    half = keras.models.clone_model(fresh, clone_function=halved)
    half.set_weights([weight.astype(np.float16) for weight in tower.get_weights()])
    with files.replacing_folder(path.parent) as folder:
        half.save_weights(folder / path.name)
        write_checksum(folder / path.name)


if __name__ == "__main__":
    script.run(main)
