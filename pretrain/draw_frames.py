"""Put each training photo and a view of it on a card into MobileFaceNet's frame, once for all."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import backend

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    backend.start()

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

import card_views
import recipe
import strangers
from faceverify.base import files
from faceverify.cards.effects import Effects
from faceverify.cards.phone import generator
from faceverify.data import annotations
from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH, decode
from faceverify.runs import script
from frames import FRAME, framed

FRAMES = Path("frames")
PHOTOS, PICTURES = FRAMES / "photos.csv", FRAMES / "pictures.npy"
SEED = 2361  # of the cards


class Frames(NamedTuple):
    """n photos of training people, each as it is and on a card."""

    pictures: np.ndarray  # uint8 (n, 2, FRAME, FRAME, 3): photo, card; a memory map
    people: np.ndarray  # (n,) of str: set and number of the person
    groups: np.ndarray  # (n,) of str: the person's origin, "" where the set does not tell


def main() -> None:
    """Write photos.csv and pictures.npy into frames/, a row for each photo of training people."""
    settings = recipe.read()
    photos = pd.concat(
        [*(listed(name) for name in settings.sets), of_strangers(settings.fit.strangers)],
        ignore_index=True,
    )
    shape = (len(photos), 2, FRAME, FRAME, 3)
    with files.replacing_folder(FRAMES) as folder:
        photos.to_csv(folder / PHOTOS.name, index=False, lineterminator="\n")
        with (folder / PICTURES.name).open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for pictures in drawn(photos.photo, recipe.card_effects()):
                file.write(pictures)
    print(f"{len(photos)} photos of {photos.person.nunique()} people, each on a card too")


def listed(name: str) -> pd.DataFrame:
    """The photos of a labelled set whose people are not held out: `photo`, `person`, `group`."""
    folder, held_out = recipe.DATA / name, recipe.held_out()
    identities = annotations.read_identities(folder / "identity_CelebA.txt")
    rows = [
        (files.path_inside(folder / "img_align_celeba", photo).as_posix(), f"celeba/{person}", "")
        for photo, person in identities.items()
        if person not in held_out
    ]
    return pd.DataFrame(rows, columns=["photo", "person", "group"])


def of_strangers(name: str) -> pd.DataFrame:
    """The same of the set of strangers."""
    people = strangers.read(recipe.DATA / name)
    people = people.of(~people.held_out)
    return pd.DataFrame(
        {
            "photo": [path.as_posix() for path in people.paths],
            "person": [f"{name}/{person}" for person in people.identities],
            "group": people.groups,
        }
    )


def drawn(paths: pd.Series, effects: Effects) -> Iterator[np.ndarray]:
    """The pictures of each photo, uint8 (2, FRAME, FRAME, 3), in order, drawn on all cores."""
    jobs = (joblib.delayed(pictures_of)(Path(path), effects) for path in paths)
    made = joblib.Parallel(n_jobs=-1, return_as="generator")(jobs)
    return tqdm(made, "photos and cards", len(paths), unit="photo", disable=None)


def pictures_of(path: Path, effects: Effects) -> np.ndarray:
    """A photo and its card, uint8 (2, FRAME, FRAME, 3); all of chance is drawn from its name."""
    try:
        photo = recipe.framed(decode(path.read_bytes()), (PHOTO_WIDTH, PHOTO_HEIGHT))
    except errors.UnusableError as error:
        raise errors.InputError(f"{path}: {error}") from None
    card = card_views.view(photo, effects, generator(SEED, path.name))
    return np.stack([framed(photo), framed(card)])


def read() -> Frames:
    """What `main` has written."""
    try:
        photos = pd.read_csv(FRAMES / "photos.csv", keep_default_na=False)
        pictures = np.load(PICTURES, mmap_mode="r")
    except FileNotFoundError as error:
        raise errors.InputError(f"{error.filename} is missing; run dvc repro") from None
    return Frames(pictures, photos.person.to_numpy(str), photos.group.to_numpy(str))


if __name__ == "__main__":
    script.run(main)
