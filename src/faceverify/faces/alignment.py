"""Any photo brought to CelebA's aligned canvas; one function for the sample and for `verify`."""

import cv2
import numpy as np

from faceverify.faces import landmarks
from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH

# Where CelebA's aligned photos have the five points, in pixels (x, y): the eyes as a person
# looking at the photo sees them from left to right, the nose tip, the mouth corners.
CANONICAL_POINTS = np.array(
    [(69.6, 111.4), (107.9, 111.3), (88.9, 135.2), (73.0, 152.2), (104.8, 152.2)]
)


def five_points(points: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners, (5, 2), of the 68 landmarks (68, 2)."""
    return np.array(
        [
            points[landmarks.RIGHT_EYE].mean(axis=0),
            points[landmarks.LEFT_EYE].mean(axis=0),
            points[landmarks.NOSE_TIP],
            points[landmarks.MOUTH_RIGHT],
            points[landmarks.MOUTH_LEFT],
        ]
    )


def alignment_matrix(points: np.ndarray) -> np.ndarray:
    """The similarity transform, (2, 3), that takes a face nearest to the canonical positions.

    `points` are its 68 landmarks in pixels of the photo; the transform maps photo pixels to
    canvas pixels, with the least squared distance over the five points, and never mirrors.
    """
    # x' = a x - b y + c, y' = b x + a y + d is linear in (a, b, c, d).
    source = five_points(points)
    x, y, one, zero = *source.T, np.ones(len(source)), np.zeros(len(source))
    equations = np.concatenate(
        [np.stack([x, -y, one, zero], axis=1), np.stack([y, x, zero, one], axis=1)]
    )
    a, b, c, d = np.linalg.lstsq(equations, CANONICAL_POINTS.T.reshape(-1), rcond=None)[0]
    return np.array([(a, -b, c), (b, a, d)])


def align(photo: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Warp a photo, uint8 (height, width[, 3]), by `matrix` to the canvas, (218, 178[, 3]).

    A photo larger than the canvas is first shrunk by area, so that fine detail does not alias.
    Beyond the photo its border pixels are repeated, as CelebA's own alignment does. The result
    is the same to the bit on every processor.
    """
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 1:
        height, width = photo.shape[:2]
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        # Pixel centres lie at whole numbers: u = (x + 0.5) * size / width - 0.5.
        ratio = np.array([size[0] / width, size[1] / height])
        linear = matrix[:, :2] / ratio
        shift = matrix[:, 2] + linear @ (0.5 - 0.5 * ratio)
        matrix = np.column_stack([linear, shift])
    x, y = np.arange(PHOTO_WIDTH)[None, :], np.arange(PHOTO_HEIGHT)[:, None]
    inverse = cv2.invertAffineTransform(matrix)
    positions, fractions = fixed_point_map(*(row[0] * x + row[1] * y + row[2] for row in inverse))
    return cv2.remap(photo, positions, fractions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def fixed_point_map(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in a photo, float64 (height, width), in the 1/32 pixels of OpenCV's integer remap.

    OpenCV's own warps compute them in floating point, in another order on each kind of
    processor; whole numbers give the same bytes on all of them.
    """
    steps = cv2.INTER_TAB_SIZE
    limit = 2**15 - 1  # positions are stored as 16-bit whole pixels
    mapped = [np.rint(np.clip(m, -limit, limit) * steps).astype(int) for m in (x, y)]
    positions = np.stack([m // steps for m in mapped], axis=-1).astype(np.int16)
    fractions = ((mapped[1] % steps) * steps + mapped[0] % steps).astype(np.uint16)
    return positions, fractions
