"""Draw a comparison for people: the faces and landmarks that were found, theta on a scale."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH, encode_png, resized
from faceverify.faces.lettering import write_text
from faceverify.verify import camera_photos
from faceverify.verify.embedding import Embedding
from faceverify.verify.verifier import Comparison

# Sizes in pixels: a photo with its face, the margin around all, the strip with the score.
PANEL_WIDTH, PANEL_HEIGHT, MARGIN, SCALE_HEIGHT = 480, 480, 20, 130
TEXT_SIZE = 0.6  # of OpenCV's font
BLACK, GREY = (0, 0, 0), (170, 170, 170)
GREEN, RED, YELLOW = (20, 140, 60), (200, 40, 40), (255, 220, 0)
# What the photos are called to a person, by slot.
TITLES = {"first": "ID photo", "second": "live photo"}


def draw(photos: Sequence[Path], found: Comparison) -> bytes:
    """Draw the comparison of two photo files as PNG; equal comparisons give equal bytes.

    Above, both photos upright with the face's mesh and the box around it; below
    them, the aligned faces as the model sees them; at the bottom theta on a scale of 0 .. pi
    with the threshold.
    """
    columns = [
        _column(photo, embedding, title)
        for photo, embedding, title in zip(
            photos, (found.first, found.second), TITLES.values(), strict=True
        )
    ]
    gap = np.full((len(columns[0]), MARGIN, 3), 255, np.uint8)
    above = np.concatenate([gap, columns[0], gap, columns[1], gap], axis=1)
    return encode_png(np.concatenate([above, _scale(found, above.shape[1])]))


def _column(path: Path, embedding: Embedding, title: str) -> np.ndarray:
    """A photo with what was found in it, above its aligned face."""
    face = embedding.face
    pixels = np.rot90(camera_photos.decode(camera_photos.read_bytes(path)).pixels, face.turns)
    height, width = pixels.shape[:2]
    factor = min(PANEL_WIDTH / width, PANEL_HEIGHT / height)
    photo = resized(np.ascontiguousarray(pixels), factor)
    points = np.rint((face.mesh + 0.5) * factor - 0.5).astype(int)
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    cv2.rectangle(photo, (left, top), (right, bottom), YELLOW, 1, cv2.LINE_AA)
    for point in points.tolist():
        cv2.circle(photo, point, 0, YELLOW, -1, cv2.LINE_AA)
    column = np.full((PANEL_HEIGHT + PHOTO_HEIGHT + 4 * MARGIN, PANEL_WIDTH, 3), 255, np.uint8)
    write_text(column, title, (0, MARGIN + 5), TEXT_SIZE, BLACK)
    _paste(column, photo, (PANEL_WIDTH - photo.shape[1]) // 2, 2 * MARGIN)
    _paste(column, face.aligned, (PANEL_WIDTH - PHOTO_WIDTH) // 2, PANEL_HEIGHT + 3 * MARGIN)
    return column


def _scale(found: Comparison, width: int) -> np.ndarray:
    """theta and the threshold on an axis from 0 to pi, below the decision."""
    strip = np.full((SCALE_HEIGHT, width, 3), 255, np.uint8)
    colour = GREEN if found.accepted else RED
    text = f"{found.decision}: theta {found.theta:.4f}, threshold {found.threshold:.4f}"
    write_text(strip, text, (MARGIN, 30), TEXT_SIZE, colour)
    left, right, y = MARGIN, width - MARGIN, 75

    def place(angle: float) -> int:
        return round(left + (right - left) * angle / math.pi)

    cv2.line(strip, (left, y), (right, y), GREY, 2)
    cv2.line(strip, (left, y), (place(found.threshold), y), GREEN, 4)
    cv2.line(strip, (place(found.threshold), y - 14), (place(found.threshold), y + 14), BLACK, 2)
    cv2.circle(strip, (place(found.theta), y), 8, colour, -1, cv2.LINE_AA)
    for angle, label in ((0.0, "0"), (math.pi / 2, "pi/2"), (math.pi, "pi")):
        write_text(strip, label, (min(place(angle), right - 20), y + 38), TEXT_SIZE, GREY)
    return strip


def _paste(picture: np.ndarray, part: np.ndarray, left: int, top: int) -> None:
    picture[top : top + part.shape[0], left : left + part.shape[1]] = part
