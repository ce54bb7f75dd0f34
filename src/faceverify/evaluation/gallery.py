"""A contact sheet of pairs of photos, for people to look at."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH
from faceverify.faces.lettering import write_text

COLUMNS = 4
WORST_SHOWN = 12  # pairs of each kind of error: three rows
MARGIN, CAPTION = 8, 26  # pixels; the height of a line of text
TEXT_SIZE = 0.5  # of OpenCV's font
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Exhibit(NamedTuple):
    """A pair of aligned photos, uint8 RGB (218, 178, 3), and the line under them."""

    first: np.ndarray
    second: np.ndarray
    caption: str


def render(title: str, exhibits: Sequence[Exhibit]) -> np.ndarray:
    """The sheet, uint8 RGB (height, width, 3): a title, and under it the pairs in rows of four."""
    width, height = 2 * PHOTO_WIDTH + MARGIN, PHOTO_HEIGHT + CAPTION + MARGIN
    rows = -(-len(exhibits) // COLUMNS)
    sheet = np.full(
        (CAPTION + MARGIN + rows * height, COLUMNS * width + MARGIN, 3), WHITE, np.uint8
    )
    write_text(sheet, title, (MARGIN, CAPTION - MARGIN), TEXT_SIZE, BLACK)
    for i, exhibit in enumerate(exhibits):
        top = CAPTION + MARGIN + i // COLUMNS * height
        left = MARGIN + i % COLUMNS * width
        both = np.concatenate([exhibit.first, exhibit.second], axis=1)
        sheet[top : top + PHOTO_HEIGHT, left : left + both.shape[1]] = both
        below = left, top + PHOTO_HEIGHT + CAPTION - MARGIN
        write_text(sheet, exhibit.caption, below, TEXT_SIZE, BLACK)
    return sheet
