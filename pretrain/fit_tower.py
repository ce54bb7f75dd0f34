"""A member's tower on EdgeFace: a tail fitted to photos; head, neck and landmarks learnt."""

import argparse
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import backend

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    backend.start()

import cv2
import joblib
import keras
import numpy as np
from tqdm import tqdm

import bring_edgeface
import recipe
import strangers
from faceverify.base import cache, workers
from faceverify.data.landmark_range import LandmarkRange
from faceverify.evaluation import verification
from faceverify.faces.aligned_photos import (
    CANVAS_SIZE,
    PHOTO_HEIGHT,
    PHOTO_WIDTH,
    decode,
    to_canvas,
)
from faceverify.model import features
from faceverify.model.edge_face import NAME
from faceverify.model.losses import landmark_error, landmark_loss
from faceverify.model.network import Tower, build_brain, build_tower
from faceverify.runs import imports, script
from linear_tail import Cell, Ending, fit
from people import VIEWED_AT_ONCE, HeldOut, LabelledPhotos, learnt_and_unseen
from strangers import People
from train_tower import CACHE, save

# The people of the labelled sets have some five times the photos of the other set's own.
CELLS = 3


def main() -> None:
    """Write the tower's weights, in float16, for the member that is named."""
    name, member, how = named()
    cv2.setNumThreads(1)  # the threads of the network are enough
    learnt, unseen = learnt_and_unseen()
    others = strangers.read(recipe.DATA / how.strangers)
    whole = brought("embedding", bring_edgeface.WEIGHTS)
    brain = brought(bring_edgeface.CUT, bring_edgeface.BRAIN)
    ending = Ending.of(whole, brain.output_shape[1:])
    maps, unseen_maps = (outputs(brain, photos.paths) for photos in (learnt, unseen))
    known, numbers = (ending.read(found) for found in (maps, outputs(brain, others.paths)))

    tower = build_tower(brain.output_shape[1:], shape(member), member.seed)
    learn_landmarks(tower, maps, learnt, how)
    fitting = ~others.held_out
    cells = cells_of(ending.embed(numbers[fitting]), others.of(fitting), how.least)
    cells += CELLS * [Cell(ending.embed(known), learnt.identities)]
    tail = fit(ending, cells, how, member)
    set_tail(tower, tail)
    tails = np.tanh(tail.embed(numbers))
    likeness = strangers.likeness(tails[fitting], others.of(fitting), how.fmr, how.least)
    calibrate(tower, max(likeness.values()), how.theta)
    save(tower, shape(member), recipe.TOWER / name / recipe.fitted_weights(name))
    print(f"{name}: {figures_of(tower, (unseen_maps, unseen), learnt, how.theta)}")


def named() -> tuple[str, recipe.Fitted, recipe.Fit]:
    """The member of the command line, and what the parameters say of it and of every fit."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("member", help="a name of `fitted` in params.yaml")
    name = parser.parse_args().member
    settings = recipe.read()
    if name not in settings.fitted:
        raise errors.InputError(f"params.yaml has no member {name!r} in `fitted`")
    return name, settings.fitted[name], settings.fit


def brought(layer: str, weights: str | None) -> keras.Model:
    """EdgeFace up to a layer, with weights that `train_edgeface` has written, or none."""
    path = weights and str(recipe.FACES / weights)
    return build_brain(NAME, layer, CANVAS_SIZE, path, seed=0)


def outputs(
    network: keras.Model, paths: np.ndarray, seen: Callable[[Path], np.ndarray] | None = None
) -> np.ndarray:
    """A brain's outputs for photos, float32 (photos, height, width, channels), cached.

    `seen` makes of a path the canvas that the brain sees, on all cores; without it, that is the
    photo's own. The cache knows it by its `repr`, and by the code of the module of its class.
    """

    def canvases(some: np.ndarray) -> Iterable[np.ndarray]:
        if seen is None:
            return map(canvas, some)
        return workers.results((joblib.delayed(seen)(path) for path in some), workers.LOCAL)

    def batches() -> Iterator[np.ndarray]:
        for part in tqdm(parts(len(paths)), "outputs", unit="batch", disable=None):
            yield network.predict_on_batch(np.stack(list(canvases(paths[part]))))

    key = [f"{features.FORMAT} {cv2.__version__}", features.fingerprint(network), *paths]
    if seen:
        key += [repr(seen), *imports.code_of(Path(inspect.getfile(type(seen))).absolute())]
    return cache.stored(CACHE, key, (len(paths), *network.output_shape[1:]), batches)


def canvas(path: Path) -> np.ndarray:
    """The canvas of a photo of any size, uint8 (218, 218, 3)."""
    return to_canvas(framed(path))


def framed(path: Path) -> np.ndarray:
    """A photo of any size in the aligned frame, uint8 (218, 178, 3)."""
    return recipe.framed(decode(path.read_bytes()), (PHOTO_WIDTH, PHOTO_HEIGHT))


def parts(count: int) -> list[slice]:
    """Slices of VIEWED_AT_ONCE rows that make up `count`."""
    return [slice(at, at + VIEWED_AT_ONCE) for at in range(0, count, VIEWED_AT_ONCE)]


def shape(member: recipe.Fitted) -> Tower:
    """The sizes of a member's tower, without regularisation."""
    sizes = member.model_dump(include={"head_filters", "neck_units", "tail_units"})
    return Tower(**sizes, dropout=0.0, l2=0.0, tail_reads="brain")


def cells_of(embedded: np.ndarray, people: People, least: int) -> list[Cell]:
    """A cell of each group of at least `least` strangers, and one of people with more photos."""
    several = ~people.alone
    cells = [
        Cell(embedded[chosen], people.identities[chosen])
        for group in np.unique(people.groups)
        if (chosen := people.alone & (people.groups == group)).sum() >= least
    ]
    return [*cells, Cell(embedded[several], people.identities[several])]


def learn_landmarks(
    tower: keras.Model, maps: np.ndarray, photos: LabelledPhotos, how: recipe.Fit
) -> None:
    """Train head, neck and landmark embedding on features of photos; the tail is left alone."""
    targets = LandmarkRange.fit(photos.landmarks).normalize(photos.landmarks)
    steps = how.epochs * math.ceil(len(maps) / how.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(how.landmark_lr, steps)
    learner = keras.Model(tower.input, tower.output["landmarks"])
    learner.compile(keras.optimizers.Adam(rate), landmark_loss)
    learner.fit(maps, targets, batch_size=how.batch_size, epochs=how.epochs, verbose=2)


def set_tail(tower: keras.Model, tail: Ending) -> None:
    """Give a tower's tail the numbers of a fitted one."""
    filters, filters_bias, matrix, bias = tail
    tower.get_layer("tail_depthwise").set_weights([filters[..., None], filters_bias])
    tower.get_layer("tail0").set_weights([matrix, bias])


def calibrate(tower: keras.Model, cosine: float, theta: float) -> None:
    """Let the angle theta stand for the tails' `cosine`; see `network.Calibration`.

    cos theta = (cosine + c^2) / (1 + c^2). Raises InputError for a cosine above that of theta,
    which no c reaches.
    """
    squared = (math.cos(theta) - cosine) / (1 - math.cos(theta))
    if squared < 0:
        raise errors.InputError(
            f"params.yaml: fit.theta: no calibration brings a cosine of {cosine:.3f} to it"
        )
    tower.get_layer("calibration").set_weights([np.array([math.sqrt(squared)])])


def figures_of(
    tower: keras.Model,
    unseen: tuple[np.ndarray, LabelledPhotos],
    learnt: LabelledPhotos,
    theta: float,
) -> dict[str, float]:
    """How the tower tells the held-out people apart, at `theta` too, and finds their landmarks."""
    maps, photos = unseen
    held = HeldOut(photos)
    found = tower.predict(maps, batch_size=256, verbose=0)
    thetas = verification.thetas(found["tail"], held.pairs.photos)
    accepted, same = thetas < theta, held.pairs.same
    limits = LandmarkRange.fit(learnt.landmarks)
    error = landmark_error(limits)
    error.update_state(limits.normalize(photos.landmarks), found["landmarks"])
    return held.figures(thetas) | {
        "val_tar_at_theta": float(accepted[same].mean()),
        "val_fmr_at_theta": float(accepted[~same].mean()),
        "val_landmark_error": float(error.result()),
        "calibration": float(tower.get_layer("calibration").get_weights()[0][0]),
    }


if __name__ == "__main__":
    script.run(main)
