"""Pairs of photos as one picture, for people to look at."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH

COLUMNS = 4
MARGIN, CAPTION = 8, 26
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Exhibit(NamedTuple):
    """Two aligned photos, uint8 (218, 178, 3), and the line under them."""

    first: np.ndarray
    second: np.ndarray
    caption: str


def render(title: str, exhibits: Sequence[Exhibit]) -> np.ndarray:
    """Draw pairs in rows of four under a title, uint8 RGB; with none, the title alone."""
    width, height = 2 * PHOTO_WIDTH + MARGIN, PHOTO_HEIGHT + CAPTION + MARGIN
    rows = -(-len(exhibits) // COLUMNS)
    sheet = np.full(
        (CAPTION + MARGIN + rows * height, COLUMNS * width + MARGIN, 3), WHITE, np.uint8
    )
    _write(sheet, title, MARGIN, CAPTION - MARGIN)
    for i, exhibit in enumerate(exhibits):
        top = CAPTION + MARGIN + i // COLUMNS * height
        left = MARGIN + i % COLUMNS * width
        both = np.concatenate([exhibit.first, exhibit.second], axis=1)
        sheet[top : top + PHOTO_HEIGHT, left : left + both.shape[1]] = both
        _write(sheet, exhibit.caption, left, top + PHOTO_HEIGHT + CAPTION - MARGIN)
    return sheet


def _write(sheet: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, BLACK, 1, cv2.LINE_AA)
