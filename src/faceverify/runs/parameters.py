"""The tunables: their names, types and ranges, checked as a whole before any work starts."""

import itertools
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

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
    first_fault,
)

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
SCALAR_LENGTH = 4300  # characters of one value; Python reads no number of more digits
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MERGE = "tag:yaml.org,2002:merge"

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


class Parameters(Training):
    """The whole of `params.yaml`."""

    accept_threshold: Angle
    workers: Annotated[str, Field(pattern=WORKERS)]
    select: Select
    audit: Audit
    pair: Pair
    members: Annotated[dict[MemberName, dict[str, Any]], Field(min_length=1)]
    ensemble: dict[str, Share]
    evaluate: Evaluate
    capture: Capture

    @model_validator(mode="after")
    def _members_and_ensemble(self) -> "Parameters":
        for name in self.members:
            if name in RESERVED:
                raise ValueError(f"members.{name}: this name stands for another model; rename it")
            self.member(name)
        if set(self.ensemble) != set(self.members):
            odd = sorted(set(self.ensemble) ^ set(self.members))[0]
            raise ValueError(f"ensemble and members must name the same models; look at {odd!r}")
        total = sum(self.ensemble.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"ensemble: the weights sum to {total:g}, they must sum to 1")
        return self

    def member(self, name: str) -> Training:
        """What the member `name` trains with: the shared values under its own overrides.

        Raises ValueError, naming the key, for an override that is unknown or out of range.
        """
        shared = self.model_dump(include=set(Training.model_fields))
        for key, value in self.members[name].items():
            if key in OVERRIDABLE:
                shared[key] = value
            elif key in Model.model_fields:
                shared["model"][key] = value
            else:
                raise ValueError(f"members.{name}.{key}: a member cannot override this key")
        try:
            return Training.model_validate(shared)
        except ValidationError as error:
            where, what = first_fault(error)
            key = where.removeprefix("model.")
            raise ValueError(f"members.{name}.{key}: {what}") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML without what makes a small file mean an enormous one, or one key two things."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "write the value out instead of an alias", mark)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.Node) -> str:
        value = super().construct_scalar(node)
        if len(value) > SCALAR_LENGTH:
            said = f"a value of more than {SCALAR_LENGTH:,} characters"
            raise ConstructorError(None, None, said, node.start_mark)
        if ":" in value and node.tag in NUMBERS:  # 1:30 would be 90
            raise ConstructorError(None, None, "write the number without colons", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        known = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.tag == MERGE:  # its keys would not be seen here
                said = "write the keys out instead of merging them"
                raise ConstructorError(None, None, said, key.start_mark)
            if key.value in known:
                raise ConstructorError(None, None, "this key comes twice", key.start_mark)
            known.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Parameters:
    """Read and check the pipeline's parameter file.

    Raises InputError as `read` does, and for ensemble weights that do not sum to 1 and a weight
    file that is not there.
    """
    parameters = read(path, Parameters)
    _check_weight_files(path, parameters)
    return parameters


def read(path: Path, kind: type[_Kind]) -> _Kind:
    """Read a parameter file of some kind.

    Raises InputError, in one line that names the first wrong key, for a file that is missing or
    not YAML, a key that is unknown or missing, a value of a wrong type or out of its range.
    """
    try:
        values = yaml.load(content(path, FILE_BYTES).decode("utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run this from the repository's root") from None
    except RecursionError:
        raise InputError(f"{path} is not valid YAML: it is nested too deeply") from None
    # Not UTF-8, an impossible date, a tag on what it does not fit: PyYAML lets much through.
    except (
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        TypeError,
        yaml.YAMLError,
    ) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no parameters")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        where, what = first_fault(error)
        raise InputError(f"{path}: {where + ': ' if where else ''}{what}") from None


def _check_weight_files(path: Path, parameters: Parameters) -> None:
    parts = itertools.product(parameters.members, ("brain_weights", "tower_weights"))
    for name, part in parts:
        weights = getattr(parameters.member(name).model, part)
        if weights is None or (part, weights) == ("brain_weights", "imagenet"):
            continue
        key = f"{f'members.{name}' if part in parameters.members[name] else 'model'}.{part}"
        file, home = path.parent / weights, path.parent / "pretrained"
        # Path.resolve refuses a link that leads to itself with a RuntimeError.
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(home)):
            raise InputError(f"{path}: {key}: {weights} must lie in pretrained/")
        if not file.is_file():
            raise InputError(f"{path}: {key}: there is no file {weights}")
