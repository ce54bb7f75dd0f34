"""Fit the quality network: it tells aligned faces in RGB from all that is no such thing."""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

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

import quality_views
import recipe
import strangers
from faceverify.base import files, workers
from faceverify.cards.effects import Effects
from faceverify.data import annotations
from faceverify.model import quality
from faceverify.model.weight_files import write_checksum
from faceverify.runs import script
from quality_views import CARD, RIGHT

FOLDER, FIGURES = Path("quality"), Path("quality_metrics.json")
FOLD = 10  # one of so many people is left out of the fit, to set the limit


class Photos(NamedTuple):
    """Photos and the numbers of the people on them."""

    paths: np.ndarray  # of Path, (n,)
    identities: np.ndarray  # (n,)

    def of(self, chosen: np.ndarray) -> "Photos":
        """Those of a mask or of rows."""
        return Photos(*(field[chosen] for field in self))


class Views(NamedTuple):
    """What the network sees, and of which kind each is."""

    means: np.ndarray  # uint8 (n, 54, 54, 3)
    kinds: np.ndarray  # of str, (n,)

    @property
    def right(self) -> np.ndarray:
        """Whether each is what it should be, (n,)."""
        return np.isin(self.kinds, (RIGHT, CARD))


def main() -> None:
    """Write the network's weights, in float16, and how it does on held-out people."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    settings = recipe.read()
    how, effects = settings.quality, recipe.card_effects()
    cv2.setNumThreads(1)  # a process for each core is enough
    learnt, held = photos(settings)
    fold = learnt.identities % FOLD == 0
    fitted = views(learnt.of(~fold), (how.photos, how.cards), effects, how.seed)
    checked, judged = (
        views(part, (how.checked, how.checked), effects, how.seed)
        for part in (learnt.of(fold), held)
    )
    network = trained(fitted, how)
    set_limit(network, checked, how.cost)
    network = save(network)
    found = figures(network, judged)
    files.write_json(FIGURES, found, indent=2)
    print(found)


def photos(settings: recipe.Recipe) -> tuple[Photos, Photos]:
    """The photos to learn from, and those of held-out people."""
    labels = [
        (recipe.DATA / name / "img_align_celeba" / photo, identity)
        for name in settings.sets
        for photo, identity in annotations.read_identities(
            recipe.DATA / name / "identity_CelebA.txt"
        ).items()
    ]
    others = strangers.read(recipe.DATA / settings.fit.strangers)
    paths = np.array([path for path, _ in labels], object)
    identities = np.array([identity for _, identity in labels])
    unseen = np.isin(identities, list(recipe.held_out()))
    everybody = Photos(
        np.concatenate([paths, others.paths]), np.concatenate([identities, others.identities])
    )
    held = np.concatenate([unseen, others.held_out])
    return everybody.of(~held), everybody.of(held)


def views(who: Photos, counts: tuple[int, int], effects: Effects, seed: int) -> Views:
    """Views of so many photos, and of so many on cards, drawn from `who`."""
    drawn = np.random.default_rng(seed).permutation(len(who.paths))
    paths = who.paths[drawn]
    plain, carded = counts
    jobs = [
        joblib.delayed(quality_views.of_photo)(path, (seed, i))
        for i, path in enumerate(paths[:plain])
    ]
    jobs += [
        joblib.delayed(quality_views.of_card)(path, effects, (seed, i))
        for i, path in enumerate(paths[len(paths) - carded :])
    ]
    made = [view for found in workers.results(jobs, workers.LOCAL) for view in found]
    return Views(np.stack([view for _, view in made]), np.array([kind for kind, _ in made]))


def trained(fitted: Views, how: recipe.Quality) -> keras.Model:
    """The network, fitted to views."""
    keras.utils.set_random_seed(how.seed)
    network = quality.build()
    steps = how.epochs * -(-len(fitted.kinds) // how.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(how.lr, steps)
    network.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    network.fit(
        fitted.means,
        fitted.right[:, None].astype(np.float32),
        batch_size=how.batch_size,
        epochs=how.epochs,
        verbose=2,
    )
    return network


def set_limit(network: keras.Model, checked: Views, cost: float) -> None:
    """Move the last bias: at most the share `cost` of right photos and cards falls below 0.5."""
    believed = network.predict(checked.means, batch_size=256, verbose=0)[:, 0].astype(np.float64)
    believed = believed.clip(1e-7, 1 - 1e-7)  # float32 rounds what is surer to 0 or 1
    logits = np.log(believed / (1 - believed))
    least = min(
        np.quantile(logits[checked.kinds == kind], cost, method="lower") for kind in (RIGHT, CARD)
    )
    last = network.get_layer("quality")
    kernel, bias = last.get_weights()
    last.set_weights([kernel, bias - least])


def save(network: keras.Model) -> keras.Model:
    """Write the weights in float16, with their checksum; gives the network that they make."""
    halves = [weight.astype(np.float16) for weight in network.get_weights()]
    half = keras.models.clone_model(
        quality.build(),
        clone_function=lambda layer: layer.from_config(layer.get_config() | {"dtype": "float16"}),
    )
    half.set_weights(halves)
    with files.replacing_folder(FOLDER) as folder:
        half.save_weights(folder / quality.WEIGHTS.name)
        write_checksum(folder / quality.WEIGHTS.name)
    network.set_weights(halves)
    return network


def figures(network: keras.Model, judged: Views) -> dict[str, dict[str, float]]:
    """Of each kind of view how many there are, and the share that 0.5 refuses."""
    found = network.predict(judged.means, batch_size=256, verbose=0)[:, 0]
    return {
        str(kind): {
            "views": int((judged.kinds == kind).sum()),
            "refused": round(float((found[judged.kinds == kind] < 0.5).mean()), 4),
        }
        for kind in np.unique(judged.kinds)
    }


if __name__ == "__main__":
    script.run(main)
