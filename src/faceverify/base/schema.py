"""How a file that people or programs write is checked: strict groups, ranges, what is wrong."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from faceverify.base.errors import InputError, MadeFileError

# Shows enough of any value: what a hostile file holds may be endless.
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxlong = _brief.maxother = 100

Number = Annotated[float, Field(allow_inf_nan=False)]
SHOWN_FAULTS = 3  # of one file, in one message
MOST = 1_000_000  # of anything that is counted: beyond it a run never ends
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # no string, as in JSON
Count = Annotated[int, Field(ge=1, le=MOST)]
Units = Annotated[int, Field(ge=1, le=10_000)]  # of a layer
STRONGEST = 1e12  # training computes in float32, which ends at 3e38, squares and sums included
Weight = Annotated[Number, Field(ge=0, le=STRONGEST)]
Dropout = Annotated[Number, Field(ge=0, lt=1)]
Share = Annotated[Number, Field(ge=0, le=1)]
Angle = Annotated[Number, Field(ge=0, le=math.pi)]  # radians
Brightness = Annotated[Number, Field(ge=0, le=255)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256
MemberName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]

_Kind = TypeVar("_Kind", bound=BaseModel)


class Group(BaseModel):
    """Values that belong together: no other keys, no other types, no changes."""

    # A group that is not used costs nothing: its schema is built with the first values.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Part(BaseModel):
    """What is read of a file that another step has written: no other types; more keys may be."""

    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)


class Architecture(Group):
    """The model's parts; see `faceverify.model.network` for what each is."""

    brain: str
    brain_layer: str
    brain_view: Annotated[int, Field(ge=32, le=218)]
    brain_trainable: bool
    head_filters: Units
    neck_units: Annotated[list[Units], Field(min_length=1, max_length=10)]
    tail_reads: Literal["landmarks", "neck", "brain"]
    tail_units: Annotated[list[Units], Field(min_length=1, max_length=10)]


class Capture(Group):
    """What a photo must reach to be used; measured by `faceverify.verify.capture`.

    `min_interocular`: least distance between the eye centres, in pixels of the photo as taken.
    `min_sharpness`: least `sharpness` of the aligned face. `min_brightness` and
    `max_brightness`: range of its `brightness`. `min_quality`: least quality that the model gives
    it. `second_face`: a further face counts when its side is at least this share of the largest
    face's. `max_residual`: most that the five points may be off in the aligned photo, see
    `faces.alignment.residual`.
    """

    min_interocular: Annotated[Number, Field(ge=0, le=10_000)]
    min_sharpness: Annotated[Number, Field(ge=0, le=10)]
    min_brightness: Brightness
    max_brightness: Brightness
    min_quality: Share
    second_face: Share
    max_residual: Annotated[Number, Field(gt=0, le=1000)]

    @model_validator(mode="after")
    def _a_range(self) -> "Capture":
        if self.min_brightness >= self.max_brightness:
            raise ValueError("min_brightness must be below max_brightness")
        return self


class OperatingPoint(Group):
    """The angle below which a share `fmr` of different people lie; None where too few can say."""

    fmr: Share
    threshold: Angle | None


class Calibration(Group):
    """How the members' angles are scaled, and what stands beside the threshold.

    `kind`: whether the constants come with the weights, or were fitted to the training people.
    `constants`: see `model.network.Calibration`; None for a member without one. `thresholds`:
    the ensemble's, on people of the same kind.
    """

    kind: Literal["shipped", "fitted"]
    constants: dict[MemberName, Annotated[Number, Field(ge=0)] | None]
    thresholds: list[OperatingPoint]


def check(kind: object, values: object, where: str) -> None:
    """Raise MadeFileError, naming `where` and the wrong places, unless `values` fit a type."""
    try:
        TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise MadeFileError(f"{where} is damaged: {_said(error)}") from None


def checked(kind: type[_Kind], values: object, where: object) -> _Kind:
    """The values of a file `where` as a group; InputError, naming the wrong places."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {_said(error)}") from None


def listed(faults: Sequence[str], count: int | None = None) -> str:
    """The first of some faults for one line, and how many more of the `count` there are."""
    more = (count or len(faults)) - SHOWN_FAULTS
    said = "; ".join(faults[:SHOWN_FAULTS])
    return f"{said}; and {more} more" if more > 0 else said


def _said(error: ValidationError) -> str:
    complaints = error.errors(include_url=False)
    return listed([_complaint(c) for c in complaints[:SHOWN_FAULTS]], len(complaints))


def _complaint(complaint: Mapping[str, Any]) -> str:
    # The mark of a key that is itself wrong is no part of the place.
    where = ".".join(str(part) for part in complaint["loc"] if part != "[key]")
    what = {
        "extra_forbidden": "unknown key",
        "missing": "missing key",
        "value_error": complaint["msg"].removeprefix("Value error, "),
    }.get(complaint["type"], f"{complaint['msg']} (got {_shown(complaint['input'])})")
    return f"{where}: {what}" if where else what


def _shown(value: object) -> str:
    try:
        return _brief.repr(value)
    except ValueError:  # Python writes out no number of more than 4,300 digits
        return "a number of thousands of digits"
