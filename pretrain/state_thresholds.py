"""State at which angles of the shipped ensemble strangers of the worst group are accepted."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import backend

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    backend.start()

import keras
import numpy as np
from tqdm import tqdm

import recipe
import strangers
from faceverify.base import files
from faceverify.evaluation import calibration
from faceverify.model import features
from faceverify.model.network import Tower, build_brain, build_tower
from faceverify.runs import parameters, script
from fit_tower import canvas, parts
from strangers import People

STATED = Path("thresholds.json")
ROOT = Path("..")


def main() -> None:
    """Write the thresholds, each the least of those of the groups that can tell it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    settings = recipe.read()
    pipeline = parameters.read(recipe.PIPELINE, parameters.Parameters)
    people = strangers.read(recipe.DATA / settings.fit.strangers)
    people = people.of(people.alone & ~people.held_out)
    rows = drawn(people, settings.thresholds.photos, settings.thresholds.seed)
    groups, tails = people.groups[rows], tails_of(people.paths[rows], pipeline)
    stated = []
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        if len(own) >= settings.fit.least:
            pairs = calibration.Strangers(np.arange(len(own)))
            theta = sum(
                weight * pairs.angles(tails[name][own])
                for name, weight in pipeline.ensemble_weights.items()
                if weight
            )
            stated.append(calibration.thresholds(theta))
            print(group, len(own), [point.threshold for point in stated[-1]], flush=True)
    files.write_json(STATED, [worst(points) for points in zip(*stated, strict=True)], indent=2)


def drawn(people: People, most: int, seed: int) -> np.ndarray:
    """Rows of at most so many people of each group."""
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(people.groups == group) for group in np.unique(people.groups)]
    return np.concatenate([np.sort(rng.permutation(own)[:most]) for own in rows])


def tails_of(paths: np.ndarray, pipeline: parameters.Parameters) -> dict[str, np.ndarray]:
    """Each member's tails (n, units) of photos, by the weights that it starts from."""
    weights = {name: w for name, w in pipeline.ensemble_weights.items() if w}
    brains: dict[str, keras.Model] = {}
    towers, mark_of = {}, {}
    for name in weights:
        settings = pipeline.member(name)
        shape = settings.model
        cut = shape.brain, shape.brain_layer, shape.brain_view
        brain = build_brain(*cut, str(ROOT / shape.brain_weights), settings.seed)
        sizes = shape.head_filters, shape.neck_units, shape.tail_units, 0.0, 0.0, shape.tail_reads
        towers[name] = build_tower(
            brain.output_shape[1:], Tower(*sizes), settings.seed, str(ROOT / shape.tower_weights)
        )
        mark_of[name] = features.fingerprint(brain)
        brains.setdefault(mark_of[name], brain)
    batches = []
    for part in tqdm(parts(len(paths)), "strangers", unit="batch", disable=None):
        canvases = np.stack([canvas(path) for path in paths[part]])
        maps = {mark: brain.predict_on_batch(canvases) for mark, brain in brains.items()}
        batches.append(
            {n: tower.predict_on_batch(maps[mark_of[n]])["tail"] for n, tower in towers.items()}
        )
    return {name: np.concatenate([batch[name] for batch in batches]) for name in weights}


def worst(points: Sequence[calibration.OperatingPoint]) -> dict[str, float | None]:
    """The least threshold of the groups at one rate; None where no group can tell it."""
    told = [point.threshold for point in points if point.threshold is not None]
    return {"fmr": points[0].fmr, "threshold": min(told, default=None)}


if __name__ == "__main__":
    script.run(main)
