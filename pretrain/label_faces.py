"""Label each photo with its person, its landmarks, and dlib's descriptor, the student's target."""

from collections.abc import Iterator
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import dlib
import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

import recipe
from faceverify.base import files
from faceverify.data import annotations
from faceverify.faces import dlib_descriptor, landmarks
from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH, decode
from faceverify.runs import script

# Where dlib's detector finds the face of an aligned photo, in pixels: the median over 141 CelebA
# photos. Used where the detector finds no face, because of a profile or a hand before it.
USUAL_FACE = dlib.rectangle(45, 93, 131, 179)

Label = tuple[np.ndarray, np.ndarray]  # see `describe`


def main() -> None:
    """Write photos.csv, descriptors.npy and landmarks.npy into labels/, a row for each photo."""
    parameters = recipe.read()
    data = recipe.DATA
    photos = pd.concat([_listed(data / name) for name in parameters.sets], ignore_index=True)
    models = (data / landmarks.PREDICTOR, data / dlib_descriptor.NETWORK)
    for model in models:
        if not model.is_file():
            raise errors.InputError(f"pretrain/{model} is missing; see pretrain/README.md")
    found = list(_described([data / photo for photo in photos.photo], *models))
    points, descriptors = (np.stack(values) for values in zip(*found, strict=True))
    with files.replacing_folder(recipe.LABELS) as folder:
        photos.to_csv(folder / "photos.csv", index=False, lineterminator="\n")
        np.save(folder / "descriptors.npy", descriptors)
        np.save(folder / "landmarks.npy", points)
    people = photos.identity.nunique()
    print(f"{len(photos)} photos of {people} people labelled")


def _listed(folder: Path) -> pd.DataFrame:
    """The photos of a set in CelebA's layout: `photo`, its path below data/, and `identity`."""
    identities = annotations.read_identities(folder / "identity_CelebA.txt")
    photos = [
        files.path_inside(folder / "img_align_celeba", name).relative_to("data").as_posix()
        for name in identities
    ]
    return pd.DataFrame({"photo": photos, "identity": identities.values()})


def _described(photos: list[Path], predictor: Path, descriptor: Path) -> Iterator[Label]:
    """The label of each photo, in order, computed on all cores."""
    jobs = (joblib.delayed(describe)(photo, predictor, descriptor) for photo in photos)
    found = joblib.Parallel(n_jobs=-1, return_as="generator")(jobs)
    return tqdm(found, "dlib descriptors", len(photos), unit="photo", disable=None)


def describe(path: Path, predictor: Path, descriptor: Path) -> Label:
    """The landmarks, int16 (136,), and dlib's descriptor, float32 (128,), of a photo.

    The photo shows what an aligned photo of CelebA does, at any size. The landmarks are in pixels
    of 178 x 218: the 68 x's, then the 68 y's.
    """
    try:
        photo = recipe.framed(decode(path.read_bytes()), (PHOTO_WIDTH, PHOTO_HEIGHT))
    except errors.UnusableError as error:
        raise errors.InputError(f"{path}: {error}") from None
    points = landmarks.find_landmarks(photo, predictor, USUAL_FACE)
    numbers = np.array(landmarks.flatten(points), np.int16)
    return numbers, dlib_descriptor.describe(photo, points, descriptor)


if __name__ == "__main__":
    script.run(main)
