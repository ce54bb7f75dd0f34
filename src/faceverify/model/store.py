"""A trained model on disk: a description in JSON, and the weights of brain and tower.

Members that share a frozen brain have byte-identical brain files.
"""

from pathlib import Path
from typing import Any, NamedTuple

import keras

from faceverify.base.digests import check_digest, digest
from faceverify.base.errors import InputError, MadeFileError
from faceverify.base.files import read_json, replacing_folder, write_json
from faceverify.base.schema import Architecture, Digest, Dropout, Group, Weight, checked
from faceverify.model.network import Tower, build_brain, build_tower
from faceverify.model.weight_files import load_weights, save_weights


class TrainedModel(NamedTuple):
    """A member's brain, its tower, and the settings that both are built from.

    `description` has `brain`, `brain_layer` and `brain_view` of the brain, the fields of `Tower`,
    and `brain_trainable`: whether the brain was trained along and is the member's own.
    """

    brain: keras.Model
    tower: keras.Model
    description: dict[str, Any]

    @property
    def tail_numbers(self) -> int:
        """How many numbers the tail of a face has."""
        return self.tower.output["tail"].shape[1]


class Digests(Group):
    """SHA-256 of the weight files."""

    brain: Digest
    tower: Digest


class ModelDescription(Architecture):
    """The whole of `model.json`: how the model is built, and the hashes of its weight files."""

    dropout: Dropout
    l2: Weight
    sha256: Digests


def save(folder: Path, model: TrainedModel) -> None:
    """Write `model.json`, `brain.weights.h5` and `tower.weights.h5`, all three or none."""
    with replacing_folder(folder) as temporary:
        digests = {}
        for part in (model.brain, model.tower):
            path = temporary / f"{part.name}.weights.h5"
            save_weights(part, path)
            digests[part.name] = digest(path)
        write_json(temporary / "model.json", model.description | {"sha256": digests}, indent=2)


def load(folder: Path) -> TrainedModel:
    """Build the described model and load its weights; nothing stored is run as code.

    Raises MadeFileError for a weight file that is missing or is not the one that was saved (it is
    then not read), InputError for one that does not fit the description, and for a `model.json`
    that is missing, damaged or describes no model.
    """
    path = folder / "model.json"
    description = checked(ModelDescription, read_json(path), path)
    for name, expected in description.sha256:
        weights = folder / f"{name}.weights.h5"
        check_digest(weights, expected, f"the file that {path.name} describes", MadeFileError)
    values = description.model_dump(exclude={"sha256"})
    try:
        cut = (values[name] for name in ("brain", "brain_layer", "brain_view"))
        brain = build_brain(*cut, None, seed=0)
        sizes = Tower(*(values[name] for name in Tower._fields))
        tower = build_tower(brain.output_shape[1:], sizes, seed=0)
    except InputError as error:
        raise InputError(f"{path} describes no model: {error}") from None
    for part in (brain, tower):
        load_weights(part, folder / f"{part.name}.weights.h5")
    return TrainedModel(brain, tower, values)
