"""Draw the simulated identity card: some photos of the data, on mild, usual and hard cards."""

import argparse
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import cv2
import numpy as np

from faceverify.base import files
from faceverify.cards import phone
from faceverify.cards.effects import Effects
from faceverify.faces import aligned_photos
from faceverify.runs import parameters, script

PHOTOS = Path("data/img_align_celeba")
ROWS = 3
STRENGTHS = {"mild": 0.0, "usual": 0.5, "hard": 1.0}
TILE = (480, 320)  # (width, height) of a card in the picture


def main() -> None:
    """Write one picture: a row for each photo, a column for each strength of the effects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="JPG", help="the picture to write")
    target = parser.parse_args().out
    if target.suffix.lower() not in (".jpg", ".jpeg"):
        raise errors.InputError(f"{target} is no file name that ends in .jpg")
    settings = parameters.load(Path("params.yaml"))
    if not PHOTOS.is_dir():
        raise errors.GivenFileError(f"{PHOTOS} is missing")
    names = sorted(path.name for path in PHOTOS.iterdir())
    shown = names[:: max(len(names) // ROWS, 1)][:ROWS]
    rows = [np.hstack(row_of(name, settings.card, settings.seed)) for name in shown]
    picture = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    with files.replacing(target) as temporary:
        temporary.write_bytes(cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 85))[1])
    print(f"{target}: {len(shown)} photos on {', '.join(STRENGTHS)} cards")


def row_of(name: str, effects: Effects, seed: int) -> list[np.ndarray]:
    """One photo's cards as tiles of the picture, uint8 RGB, from mild to hard."""
    with aligned_photos.name_in_errors(name):
        face = aligned_photos.decode_aligned(aligned_photos.read(PHOTOS, name))
    tiles = []
    for strength in STRENGTHS.values():
        encoded = phone.photographed_card(face, effects, seed, name, strength)
        tiles.append(tile(aligned_photos.decode(encoded)))
    return tiles


def tile(photo: np.ndarray) -> np.ndarray:
    """A photo, uint8 RGB, shrunk into a tile with white around it."""
    scale = min(TILE[0] / photo.shape[1], TILE[1] / photo.shape[0])
    shrunk = aligned_photos.resized(photo, scale)
    height, width = shrunk.shape[:2]
    top, left = (TILE[1] - height) // 2, (TILE[0] - width) // 2
    canvas = np.full((TILE[1], TILE[0], 3), 255, np.uint8)
    canvas[top : top + height, left : left + width] = shrunk
    return canvas


if __name__ == "__main__":
    script.run(main)
