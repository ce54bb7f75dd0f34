"""Alignment of any photo to CelebA's frame, the same for the sample and for verifying."""

from collections.abc import Callable

import cv2
import numpy as np

from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH, resized

# The five points of CelebA's aligned photos, (x, y) in pixels: the left and the right eye as a
# viewer sees them, the nose tip, the left and the right mouth corner.
CANONICAL_POINTS = np.array(
    [(69.6, 111.4), (107.9, 111.3), (88.9, 135.2), (73.0, 152.2), (104.8, 152.2)]
)

# Rows whose places are computed at a time. Arrays of more than 128 KB are new memory each time, and
# to be given its pages costs more than the arithmetic.
STRIP = 32


def alignment_matrix(points: np.ndarray) -> np.ndarray:
    """The similarity transform, float (2, 3), from photo pixels to pixels of the aligned photo.

    `points` are a face's five points, (5, 2), in pixels of the photo. Of all rotations, scales
    and shifts (no mirror) it has the least squared distance of the points from CANONICAL_POINTS.
    """
    # x' = a x - b y + c, y' = b x + a y + d is linear in (a, b, c, d).
    x, y, one, zero = *points.T, np.ones(len(points)), np.zeros(len(points))
    equations = np.concatenate(
        [np.stack([x, -y, one, zero], axis=1), np.stack([y, x, zero, one], axis=1)]
    )
    a, b, c, d = np.linalg.lstsq(equations, CANONICAL_POINTS.T.reshape(-1), rcond=None)[0]
    return np.array([(a, -b, c), (b, a, d)])


def residual(points: np.ndarray, matrix: np.ndarray) -> float:
    """How far five points (5, 2) are from CANONICAL_POINTS after `matrix`, in pixels.

    It is the root of the mean squared distance. Points that are not a face's, or are in another
    order, fit badly.
    """
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return float(np.sqrt(((moved - CANONICAL_POINTS) ** 2).sum(axis=1).mean()))


def align(photo: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Warp a photo, uint8 (height, width[, 3]), by `matrix` to CelebA's frame, (218, 178[, 3]).

    Where `matrix` shrinks, the photo is first resized by area, so that fine detail does not
    alias. Outside the photo its border pixels are repeated, as in CelebA's own alignment. Every
    processor gives the same bytes.
    """
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 1:
        shrunk = resized(photo, scale)
        # Pixel centres lie at whole numbers: u = (x + 0.5) * width of shrunk / width - 0.5.
        ratio = np.array(shrunk.shape[1::-1]) / np.array(photo.shape[1::-1])
        photo = shrunk
        linear = matrix[:, :2] / ratio
        shift = matrix[:, 2] + linear @ (0.5 - 0.5 * ratio)
        matrix = np.column_stack([linear, shift])
    x, y = np.arange(PHOTO_WIDTH)[None, :], np.arange(PHOTO_HEIGHT)[:, None]
    inverse = cv2.invertAffineTransform(matrix)

    def places(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        return tuple(row[0] * x + row[1] * y[rows] + row[2] for row in inverse)

    return warped(photo, (PHOTO_HEIGHT, PHOTO_WIDTH), places)


def warped(
    photo: np.ndarray,
    size: tuple[int, int],
    places: Callable[[slice], tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """A picture of `size` (height, width) of what a photo, uint8, shows at `places`, bilinear.

    `places` gives x and y of a slice of the picture's rows, see `fixed_point_map`. Outside the
    photo its border pixels are repeated.
    """
    shown = np.empty((*size, *photo.shape[2:]), np.uint8)
    for top in range(0, size[0], STRIP):
        rows = slice(top, min(top + STRIP, size[0]))
        maps = fixed_point_map(*places(rows))
        border = cv2.BORDER_REPLICATE
        cv2.remap(photo, *maps, cv2.INTER_LINEAR, dst=shown[rows], borderMode=border)
    return shown


def fixed_point_map(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maps of `cv2.remap` for places in a photo, in 1/32 pixels.

    `x` and `y`, float64, broadcast to (height, width): where x is the same in all rows and y in all
    columns, (1, width) and (height, 1) save most of the time. The maps are whole pixels, int16
    (height, width, 2), and fractions, uint16 (height, width). OpenCV's own warps round in floating
    point, in another order on each kind of processor; whole numbers give the same bytes on all.
    """
    limit = 2**15 - 1  # whole pixels are stored as int16
    x, y = (
        np.rint(np.clip(m, -limit, limit) * cv2.INTER_TAB_SIZE).astype(np.int32) for m in (x, y)
    )
    bits, last = cv2.INTER_BITS, cv2.INTER_TAB_SIZE - 1
    positions = np.empty((*np.broadcast_shapes(x.shape, y.shape), 2), np.int16)
    positions[..., 0], positions[..., 1] = x >> bits, y >> bits
    return positions, ((y & last) << bits | x & last).astype(np.uint16)
