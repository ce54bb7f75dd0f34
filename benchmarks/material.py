"""What the benchmarks work on: real photos with faces, and prepared pairs of them."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import select_faces
from faceverify.base import files, workers
from faceverify.data import annotations, tables
from faceverify.faces import landmarks

ROOT = Path(__file__).resolve().parents[1]
PREDICTOR = ROOT / "data" / landmarks.PREDICTOR
FACES_EACH = 4
SEED = 2356


class Photos(NamedTuple):
    """Photos in which dlib finds a face: person -> their names in `folder`, name -> landmarks."""

    folder: Path
    people: dict[int, list[str]]
    landmarks: dict[str, list[int]]


def find_photos(data: Path, count: int) -> Photos:
    """At most `count` photos of a folder in CelebA's layout, four of each person."""
    people: dict[int, list[str]] = {}
    for name, person in annotations.read_identities(data / "identity_CelebA.txt").items():
        people.setdefault(person, []).append(name)
    enough = sorted(person for person, names in people.items() if len(names) > FACES_EACH)
    chosen = {person: people[person] for person in enough[: count // FACES_EACH]}
    folder = data / "img_align_celeba"
    searches = select_faces.search_all(folder, chosen, FACES_EACH, PREDICTOR, workers.LOCAL)
    found = {p: s.faces for p, s in searches.items() if len(s.faces) == FACES_EACH}
    return Photos(
        folder,
        {person: [face.source for face in faces] for person, faces in found.items()},
        {face.source: face.landmarks for faces in found.values() for face in faces},
    )


def prepare(photos: Photos, folder: Path, count: int) -> None:
    """Write `prepared/` of `folder` with `count` pairs, every fourth for validation.

    Photos come again where there are fewer: what a pair costs does not depend on that.
    """
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    shutil.copytree(
        photos.folder, folder / "photos", ignore=lambda _, names: _others(names, photos)
    )
    paired = folder / "prepared/paired"
    paired.mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    people, rows, numbers = list(photos.people), [], {}
    for n in range(count):
        same = n % 2 == 0
        first, second = rng.choice(len(people), 2, replace=False).tolist()
        identities = people[first], people[first if same else second]
        faces = rng.choice(FACES_EACH, 2, replace=False).tolist()
        sources = [photos.people[p][k] for p, k in zip(identities, faces, strict=True)]
        pair = f"{'pair' if same else 'antipair'}-{n // 2}"
        names = [f"{pair}-{slot}{Path(source).suffix}" for slot, source in enumerate(sources)]
        for name, source in zip(names, sources, strict=True):
            os.link(folder / "photos" / source, paired / name)
            numbers[name] = [*photos.landmarks[source], int(same)]
        split = "val" if n // 2 % 4 == 3 else "train"
        rows.append((pair, int(same), split, *names, *identities, *sources))
    tables.write(folder / "prepared/pairs.csv", pd.DataFrame(rows, columns=list(tables.PAIRS)))
    files.write_json(folder / "prepared/paired.json", numbers)


def _others(names: list[str], photos: Photos) -> list[str]:
    return [name for name in names if name not in photos.landmarks]
