"""Text drawn into pictures that people look at."""

import cv2
import numpy as np


def write_text(
    picture: np.ndarray,
    text: str,
    place: tuple[int, int],
    size: float,
    colour: tuple[int, int, int],
) -> None:
    """Draw a line of ASCII text into a picture, uint8 RGB (height, width, 3), in place.

    `place` is the lower left corner, (x, y) in pixels; `size` is OpenCV's scale of the font.
    """
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
