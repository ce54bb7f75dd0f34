"""Aligned faces as a verifier sees them on a phone's photo of a card, without the whole card.

Only the portrait and a strip of the card around it are drawn, and the face is not sought: where
it lies is known, but for a jitter as large as a finder's error.
"""

import cv2
import numpy as np

from faceverify.cards import card, phone
from faceverify.cards.effects import Effects, draw
from faceverify.faces import alignment
from faceverify.faces.alignment import CANONICAL_POINTS

STRIP = 3 * card.PIXELS  # pixels of the card around the portrait
JITTER = 1.0  # standard deviation of a point that is found, pixels of the aligned photo
# Of the whole card's scratches, and of the difference of the light across it.
SCRATCHES, LIGHT = 0.4, 0.45


def view(aligned: np.ndarray, effects: Effects, rng: np.random.Generator) -> np.ndarray:
    """An aligned face, uint8 RGB (218, 178, 3), as it is found and aligned on a photo of a card."""
    drawn = draw(effects, rng)
    part = drawn._replace(
        scratches=SCRATCHES * drawn.scratches, uneven_light=LIGHT * drawn.uneven_light
    )
    face = card.draw_portrait(aligned, rng, drawn.grey_portrait)
    height, width = face.shape[:2]
    made = np.empty((height + 2 * STRIP, width + 2 * STRIP, 3), np.uint8)
    made[:] = rng.integers(190, 235, 3)  # as pale as the card's ground
    made[STRIP:-STRIP, STRIP:-STRIP] = face
    made = card.laminated(card.printed(made, part, rng), part, rng)
    seen, corners = phone.placed(made, part, rng, margin=0.0)
    file = np.frombuffer(phone.taken(seen, part, rng), np.uint8)
    photo = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
    found = CANONICAL_POINTS + rng.normal(0, JITTER, CANONICAL_POINTS.shape)
    points = _through(_on_part(found, (width, height)), made.shape[1::-1], corners)
    return alignment.align(photo, alignment.alignment_matrix(points))


def _on_part(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where points (n, 2) of an aligned photo lie on the drawn part, whose portrait has `size`."""
    corner, crop = np.array(card.PORTRAIT_CROP[:2]), np.array(card.PORTRAIT_CROP[2:])
    return (points - corner + 0.5) / crop * size - 0.5 + STRIP


def _through(points: np.ndarray, size: tuple[int, int], corners: np.ndarray) -> np.ndarray:
    """Points (n, 2) of a card's pixels in a photo that shows its corners at `corners`."""
    source = (phone.UNIT_CORNERS * size - 0.5).astype(np.float32)
    lens = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    return cv2.perspectiveTransform(points[None], lens)[0]
