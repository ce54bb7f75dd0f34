"""The tunables: their names, types and ranges, checked as a whole before any work starts."""

import itertools
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from faceverify.base.errors import InputError
from faceverify.base.files import content
from faceverify.base.schema import (
    MOST,
    STRONGEST,
    Angle,
    Architecture,
    Capture,
    Count,
    Dropout,
    Group,
    MemberName,
    Number,
    Share,
    Weight,
    checked,
    listed,
)
from faceverify.cards.effects import Effects
from faceverify.runs import dvc_yaml

WeightFile = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Distance = Annotated[Number, Field(ge=0, le=2)]  # between descriptors, which have a length of 1.4
Seed = Annotated[int, Field(ge=0, lt=2**32)]

# All cores of this machine, or a Dask scheduler's address.
WORKERS = r"^(loky|(tcp|tls)://[^\s/]+:[0-9]{1,5})$"
# What is judged beside the members has these names.
RESERVED = ("ensemble", "dlib")
# alpha is left out: a member that fixed it would make `-S alpha=...` pass it by.
OVERRIDABLE = ("lr", "dropout", "l2", "beta", "gamma", "delta", "seed")
FILE_BYTES = 2**18  # fifty times the shipped file; YAML takes seconds for a megabyte

_Kind = TypeVar("_Kind", bound="Group")


class Select(Group):
    """Which photos count as an ID photo, and how many of each person are kept."""

    landmark_model: Literal[
        "shape_predictor_68_face_landmarks.dat", "shape_predictor_68_face_landmarks.dat.bz2"
    ]
    require: list[str]
    exclude: list[str]
    faces_per_identity: Annotated[int, Field(ge=4, le=MOST)]

    @model_validator(mode="after")
    def _no_contradiction(self) -> "Select":
        both = sorted(set(self.require) & set(self.exclude))
        if both:
            raise ValueError(f"{both[0]} is both required and excluded")
        return self


class Audit(Group):
    """Where the audit of the data begins to report; see `faceverify.audit.Limits`."""

    copy_face: Distance
    copy_picture: Share
    far: Distance
    alike: Distance


class Pair(Group):
    """How faces become pairs, and pairs become train and validation sets."""

    pairs_per_identity: Count | None
    split_by: Literal["identity", "pair"]
    val_share: Annotated[Number, Field(gt=0, lt=1)]
    val_identities: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _people_split_people(self) -> "Pair":
        if self.val_identities and self.split_by != "identity":
            raise ValueError("val_identities needs split_by: identity")
        return self


class Model(Architecture):
    """The architecture, and what its two halves start from."""

    brain_weights: WeightFile | None
    tower_weights: WeightFile | None


class Evaluate(Group):
    """How many pairs the verdict rests on, and what counts as too different between groups."""

    fmr_factor: Annotated[Number, Field(ge=1)]
    genuine_per_identity: Count | None
    resamples: Annotated[int, Field(ge=100, le=MOST)]


class Training(Group):
    """What one model trains with."""

    alpha: Weight
    beta: Weight
    gamma: Weight
    delta: Angle
    lr: Annotated[Number, Field(gt=0, le=STRONGEST)]
    dropout: Dropout
    l2: Weight
    threshold: Angle
    epochs: Count
    batch_size: Count
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    seed: Seed
    model: Model


def _free(name: str) -> str:
    if name in RESERVED:
        raise ValueError("this name stands for another model; rename it")
    return name


def _refused(value: object) -> None:
    raise ValueError("a member cannot override this key")


def _override(key: str, kind: object) -> object:
    own = key in OVERRIDABLE or key in Model.model_fields
    return kind if own else Annotated[Any, BeforeValidator(_refused)]


# What a member may change, each key as in `Training` and `Model`; all may be left out.
Overrides = create_model(
    "Overrides",
    __base__=Group,
    **{
        key: (_override(key, field.rebuild_annotation()), None)
        for key, field in (Training.model_fields | Model.model_fields).items()
    },
)


class Parameters(Training):
    """The whole of `params.yaml`."""

    accept_threshold: Angle
    calibration: Literal["shipped", "fitted"]
    workers: Annotated[str, Field(pattern=WORKERS)]
    select: Select
    audit: Audit
    pair: Pair
    members: Annotated[
        dict[Annotated[MemberName, AfterValidator(_free)], Overrides], Field(min_length=1)
    ]
    ensemble: dict[str, Share]
    evaluate: Evaluate
    capture: Capture
    card: Effects

    @field_validator("ensemble")
    @classmethod
    def _weighs_members(cls, ensemble: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        members = info.data.get("members", ensemble)  # they may be wrong themselves
        strange = [repr(name) for name in ensemble if name not in members]
        if strange:
            raise ValueError(f"there is no member {', '.join(strange)} in `members`")
        total = sum(ensemble.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the weights sum to {total:g}, they must sum to 1")
        return ensemble

    @property
    def ensemble_weights(self) -> dict[str, float]:
        """Each member's weight in the ensemble, in the order of `members`; 0 when left out."""
        return {name: self.ensemble.get(name, 0.0) for name in self.members}

    def key_of(self, name: str, part: str) -> str:
        """Where a member's value of a key of `model` stands: its own, or the one that it shares."""
        own = part in self.members[name].model_fields_set
        return f"{f'members.{name}' if own else 'model'}.{part}"

    def member(self, name: str) -> Training:
        """What the member `name` trains with: the shared values under its own overrides."""
        shared = self.model_dump(include=set(Training.model_fields))
        for key, value in self.members[name].model_dump(exclude_unset=True).items():
            place = shared if key in OVERRIDABLE else shared["model"]
            place[key] = value
        return Training.model_validate(shared)


def load(path: Path) -> Parameters:
    """Read and check the pipeline's parameter file.

    Raises InputError as `read` does, and for weight files that are not there.
    """
    parameters = read(path, Parameters)
    _check_weight_files(path, parameters)
    return parameters


def read(path: Path, kind: type[_Kind]) -> _Kind:
    """Read a parameter file of some kind.

    Raises InputError, in one line that names the wrong keys, for a file that is missing or not
    YAML as DVC reads it, a key that is unknown or missing, a value of a wrong type or out of its
    range.
    """
    try:
        values = dvc_yaml.parse(content(path, FILE_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run this from the repository's root") from None
    except ValueError as error:  # also what is not UTF-8
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no parameters")
    return checked(kind, values, path)


def _check_weight_files(path: Path, parameters: Parameters) -> None:
    home = path.parent / "pretrained"
    faults = {}  # by key: most members share the model's
    for name, part in itertools.product(parameters.members, ("brain_weights", "tower_weights")):
        weights = getattr(parameters.member(name).model, part)
        if weights is None or (part, weights) == ("brain_weights", "imagenet"):
            continue
        key = parameters.key_of(name, part)
        # Path.resolve refuses a link that leads to itself with a RuntimeError.
        real = Path(os.path.realpath(path.parent / weights))
        if not real.is_relative_to(os.path.realpath(home)):
            faults[key] = f"{key}: {weights} must lie in pretrained/"
        elif not real.is_file():
            faults[key] = f"{key}: there is no file {weights}"
    if faults:
        raise InputError(f"{path}: {listed(list(faults.values()))}")
