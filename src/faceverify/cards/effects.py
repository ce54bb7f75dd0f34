"""What happens to a face between the photo and a phone's photo of a printed card."""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from faceverify.base.schema import Group, Number, Share

Amount = Annotated[Number, Field(ge=0, le=1000)]


class Range(Group):
    """How strong an effect is on a mild and on a hard card, in its own unit."""

    mild: Amount
    hard: Amount


class Effects(Group):
    """The effects, in the order in which they happen; see the parameter file for units, reasons."""

    # In the printer.
    print_resolution: Range  # dots per inch
    saturation: Range  # share of the colours' saturation that the inks reach
    contrast: Range  # share of the contrast that the inks reach
    dots: Range  # standard deviation of the dots' tone, grey levels
    grey_portraits: Share  # share of the cards whose portrait is printed without colour
    # On the card.
    haze: Range  # share of white that the laminate adds
    sheen: Range  # greatest share of coloured light that the hologram adds
    wear: Range  # share of the print that is rubbed off where it is worn most
    scratches: Range  # number on the card
    # In the phone.
    distance: Range  # millimetres from the lens to the card
    tilt: Range  # degrees between the card and the sensor
    roll: Range  # degrees in the picture's plane, either way
    defocus: Range  # standard deviation of the blur, pixels of the photo
    motion: Range  # length of the path while the shutter is open, pixels of the photo
    exposure: Range  # stops, either way
    uneven_light: Range  # difference of the light across the card, share of its mean
    noise: Range  # standard deviation, grey levels
    jpeg_quality: Range  # libjpeg's scale, 0 to 100

    @model_validator(mode="after")
    def _possible(self) -> "Effects":
        for name, least in (("print_resolution", 50), ("distance", 80), ("jpeg_quality", 10)):
            if min(getattr(self, name).mild, getattr(self, name).hard) < least:
                raise ValueError(f"{name}: must be at least {least}")
        for name, most in {"tilt": 60, "roll": 45, "jpeg_quality": 100, **SHARES}.items():
            if max(getattr(self, name).mild, getattr(self, name).hard) > most:
                raise ValueError(f"{name}: must be at most {most}")
        return self


SHARES = dict.fromkeys(("saturation", "contrast", "haze", "sheen", "wear", "uneven_light"), 1)


class Drawn(NamedTuple):
    """The effects of one card: a number for each range of Effects, in its unit."""

    print_resolution: float
    saturation: float
    contrast: float
    dots: float
    grey_portrait: bool
    haze: float
    sheen: float
    wear: float
    scratches: float
    distance: float
    tilt: float
    roll: float
    defocus: float
    motion: float
    exposure: float
    uneven_light: float
    noise: float
    jpeg_quality: float


def draw(effects: Effects, rng: np.random.Generator, strength: float | None = None) -> Drawn:
    """Draw one card's effects, each by itself and evenly between mild and hard.

    With `strength` none is drawn: all stand at that share of the way from mild (0) to hard (1).
    Which portraits are grey is drawn in either case.
    """
    names = [name for name in Drawn._fields if name != "grey_portrait"]
    drawn = rng.random(len(names))  # always as many, so that one effect's range moves no other
    shares = drawn if strength is None else np.full(len(names), strength)
    values = {
        name: (1 - share) * getattr(effects, name).mild + share * getattr(effects, name).hard
        for name, share in zip(names, shares.tolist(), strict=True)
    }
    return Drawn(grey_portrait=bool(rng.random() < effects.grey_portraits), **values)
