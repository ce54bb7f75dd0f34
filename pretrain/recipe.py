"""What the pretraining scripts share: parameters, file names, labels, and resizing of photos."""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
from pydantic import Field

from faceverify.base import errors
from faceverify.base.schema import Angle
from faceverify.cards.effects import Effects
from faceverify.runs import parameters
from faceverify.runs.parameters import Count, Group, MemberName, Number, Seed, Share, Weight

DATA = Path("data")
LABELS = Path("labels")
START = Path("start")
MODEL = Path("model")
TOWER = Path("tower")
FACES = Path("edge_face_faces")
WEIGHTS = "inception_v3_mixed5_faces.weights.h5"
HELD_OUT = Path("held_out.txt")
PIPELINE = Path("../params.yaml")

Side = Annotated[int, Field(ge=75, le=218)]  # pixels; InceptionV3 takes no less
LayerName = Annotated[str, Field(pattern=r"^mixed[0-5]$")]  # of the brain, which ends at mixed5
SetName = Annotated[str, Field(pattern=r"^[\w-]+$")]  # a folder of data/
Positive = Annotated[Number, Field(gt=0)]


class Augment(Group):
    """Random changes of a training photo: how far each goes, or how many photos have it."""

    rotation: Weight  # degrees, either way
    scale: Share  # of the size, either way
    shift: Share  # of the width, either way
    light: Share  # of brightness and contrast, either way
    grey: Share  # this and the following: of the photos
    blur: Share
    jpeg: Share
    small: Share


class Tower(Group):
    """Training of the towers on the features of the finished brain."""

    views: Count  # of each photo; the first one is unchanged
    epochs: Count
    batch_size: Annotated[int, Field(ge=4, multiple_of=2)]
    lr: Positive
    landmarks: Weight  # of the landmark loss; the loss of the angles weighs 1
    near: Count  # how many nearest photos each photo's partner is drawn from


class Member(Group):
    """A member's brain, cut from the trained one, and its tower.

    The seed is that of the tower's first weights and of its batches.
    """

    brain_layer: LayerName
    brain_view: Side  # of the square around the face that it sees
    head_filters: Count
    neck_units: Annotated[list[Count], Field(min_length=1)]
    tail_units: Annotated[list[Count], Field(min_length=1)]
    seed: Seed


class TrainOn(Group):
    """Further training of EdgeFace, from its published weights."""

    last_kept: Annotated[str, Field(pattern=r"^\w+$")]  # the layers behind it learn
    epochs: Count
    photos: Count  # drawn for an epoch
    batch_size: Count
    lr: Positive
    cards: Share  # of the photos drawn, on a card
    scale: Positive  # of the cosines in the softmax
    margin: Weight  # by which the own person's cosine must exceed all others
    # Cosine of two people's centres above which they may be one person.
    alike: Annotated[Number, Field(ge=0, lt=1)]
    push: Weight  # of the softmax; the cosine to what the clean photo gives weighs 1
    person_share: Share  # of the person's centre in what a view is pulled to
    ridge: Weight  # this and the next: of the whitening by which embeddings are compared
    groups: Weight
    share: Share  # of the way from the published weights to the trained ones
    checked: Share  # of the people of each kind, who are looked at and not learnt from
    most: Count  # of each kind
    several: Annotated[int, Field(ge=2)]  # photos of a person who counts among those with several
    least: Annotated[int, Field(ge=2)]  # photos of an origin whose strangers are looked at
    seed: Seed


class Fit(Group):
    """Fitting of the towers on EdgeFace to people of whom most have one photo."""

    strangers: SetName  # a set with people.csv
    least: Annotated[int, Field(ge=2)]  # photos of a group that counts
    far: Annotated[Number, Field(ge=-1, lt=1)]  # cosine of a photo with its person's mean
    steps: Count
    lr: Positive
    fmr: Annotated[Number, Field(gt=0, lt=1)]
    theta: Angle  # radians, where the worst group's false match rate is `fmr`
    epochs: Count  # of head, neck and landmarks
    batch_size: Count
    landmark_lr: Positive
    cards: Count  # photos of each set that are put on a card too, at most
    card_weight: Weight  # of what a card changes, beside the differences of a person's photos
    ridge: Weight  # of the matrix that is fitted to cards too; the members' is that of the first


class Fitted(Group):
    """A member's tower on EdgeFace: its sizes, its first matrix, and its seed."""

    head_filters: Count
    neck_units: Annotated[list[Count], Field(min_length=1)]
    tail_units: Annotated[
        list[Annotated[int, Field(ge=1, le=512)]], Field(min_length=1, max_length=1)
    ]
    ridge: Weight
    groups: Weight
    seed: Seed


class Quality(Group):
    """Fitting of the quality network."""

    photos: Count  # drawn of all to learn from ...
    cards: Count  # ... and how many of them are put on a card
    checked: Count  # photos and cards of other people that set the limit; held-out people's
    cost: Annotated[Number, Field(gt=0, lt=1)]  # share of those that the limit may refuse
    epochs: Count
    batch_size: Count
    lr: Positive
    seed: Seed


class Thresholds(Group):
    """Which strangers say at which angles the shipped ensemble accepts them."""

    photos: Count  # of each group, at most
    seed: Seed


class Recipe(Group):
    """The whole of `pretrain/params.yaml`."""

    sets: Annotated[list[SetName], Field(min_length=1)]
    start: bool
    view: Side
    person_share: Share
    epochs: Count
    batch_size: Count
    lr: Positive
    weight_decay: Weight
    head_filters: Count
    precision: Annotated[str, Field(pattern="^(float32|mixed_bfloat16|mixed_float16)$")]
    seed: Seed
    augment: Augment
    tower: Tower
    members: Annotated[dict[MemberName, Member], Field(min_length=1)]
    train_on: TrainOn
    fit: Fit
    fitted: Annotated[dict[MemberName, Fitted], Field(min_length=1)]
    quality: Quality
    thresholds: Thresholds


def read() -> Recipe:
    """The parameters, checked; InputError names the first wrong one."""
    return parameters.read(Path("params.yaml"), Recipe)


def card_effects() -> Effects:
    """What happens to a card, as the pipeline's own parameters say."""
    return parameters.read(PIPELINE, parameters.Parameters).card


def brain_weights(layer: str) -> str:
    """The name of the weight file of the trained brain, cut at a layer."""
    return f"inception_v3_{layer}_faces.weights.h5"


def tower_weights(member: str, layer: str) -> str:
    """The name of the weight file of a member's tower on that brain."""
    return f"inception_v3_{layer}_faces_tower_{member}.weights.h5"


def fitted_weights(member: str) -> str:
    """The name of the weight file of a member's tower on EdgeFace."""
    return f"edge_face_tower_{member}.weights.h5"


def held_out() -> set[int]:
    """The numbers of the people that training never sees."""
    lines = HELD_OUT.read_text(encoding="utf-8").split()
    return {int(line) for line in lines}


def labelled() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The labels: a table of `photo` and `identity`, descriptors (n, 128), landmarks (n, 136)."""
    try:
        photos = pd.read_csv(LABELS / "photos.csv")
        arrays = (LABELS / f"{name}.npy" for name in ("descriptors", "landmarks"))
        return photos, *(np.load(array, allow_pickle=False) for array in arrays)
    except FileNotFoundError as error:
        raise errors.InputError(f"{error.filename} is missing; run dvc repro") from None


def framed(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A photo resized to `size` (width, height): by area to shrink it, else bicubically."""
    if photo.shape[1::-1] == size:
        return photo
    shrinks = photo.shape[1] > size[0]
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
