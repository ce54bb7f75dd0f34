"""A trained model on disk: a description in JSON, and the weights of brain and tower.

Members that share a frozen brain have byte-identical brain files, which DVC stores once.
"""

from pathlib import Path
from typing import Any, NamedTuple

import keras

from faceverify.errors import InputError
from faceverify.files import read_json, replacing_folder, write_json
from faceverify.model import Tower, build_brain, build_tower, load_weights, save_weights


class TrainedModel(NamedTuple):
    """A brain, its tower, and what is known of them.

    `description` has the brain's `brain`, `brain_layer` and `brain_view`, the tower's sizes,
    and `brain_trainable`, which tells whether the brain is the member's own.
    """

    brain: keras.Model
    tower: keras.Model
    description: dict[str, Any]


def save(folder: Path, model: TrainedModel) -> None:
    """Write a model as a whole: `model.json`, `brain.weights.h5` and `tower.weights.h5`."""
    with replacing_folder(folder) as temporary:
        write_json(temporary / "model.json", model.description, indent=2)
        save_weights(model.brain, temporary / "brain.weights.h5")
        save_weights(model.tower, temporary / "tower.weights.h5")


def load(folder: Path) -> TrainedModel:
    """Build the described model and load its weights; nothing stored is run as code.

    Raises InputError when a file is missing, damaged, or does not fit the description.
    """
    description = read_json(folder / "model.json")
    try:
        cut = (description[name] for name in ("brain", "brain_layer", "brain_view"))
        brain = build_brain(*cut, None, seed=0)
        sizes = Tower(*(description[name] for name in Tower._fields))
        tower = build_tower(brain.output_shape[1:], sizes, seed=0)
        if not isinstance(description["brain_trainable"], bool):
            raise ValueError("brain_trainable is neither true nor false")
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{folder / 'model.json'} describes no model: {error!r}") from None
    for part in (brain, tower):
        path = folder / f"{part.name}.weights.h5"
        if not path.is_file():
            raise InputError(f"{path} is missing; `dvc repro` or `dvc pull` brings it")
        load_weights(part, path)
    return TrainedModel(brain, tower, description)
