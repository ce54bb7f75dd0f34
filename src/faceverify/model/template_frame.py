"""The template frame, in which networks that compare faces see a photo: J. Deng et al., 2019.

Two matrices bring what a brain sees of a canvas there; a pale or dull photo, as of a printed card,
gets the contrast and the details of a good one on the way.
"""

import numpy as np
from keras import ops

from faceverify.faces.aligned_photos import CANVAS_SIZE, PHOTO_WIDTH, view_corner
from faceverify.faces.alignment import CANONICAL_POINTS

SIDE = 112  # pixels of the template frame
# Where the five points lie in the photos that such networks are trained on, (x, y) in pixels of
# the frame: J. Deng et al., "ArcFace", 2019; in the order of CANONICAL_POINTS.
TEMPLATE_POINTS = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
# To what a pale or dull frame, in 0..255, is brought nearer, as of a printed card: the laminate's
# haze leaves it hardly more than half of the range, and print and lens blur it. The values are
# about those of photos; pretrained/README.md says what this gains, on training people.
TILE = 4  # pixels, so that one pixel's noise is no measure of dark and bright
DARKEST, BRIGHTEST = 10, 240  # at least so far apart are the darkest and the brightest tile
MOST_GAIN = 4  # of the contrast, so that a plain area's noise does not become a picture
BLUR = np.array([1, 4, 6, 4, 1]) / 16  # a binomial filter: what it takes away are details
DETAIL = 5.0  # root mean square of the details from which on a frame is not sharpened
MOST_SHARPENED = 1.5  # of the details, added to a frame


def prepared(views):
    """The template frames (B, 112, 112, 3), in about 0..255, of what a brain sees of canvases.

    `views` are squares (B, size, size, 3) in 0..255, see `view_corner`. A pale or dull one, as of a
    printed card, gets more contrast and details, see `widened` and `sharpened`.
    """
    rows, columns = frame_matrices(views.shape[1])
    return sharpened(widened(_through(views, rows, columns)))


def widened(frames):
    """Frames (B, 112, 112, 3) in 0..255 with a contrast stretched as far as a pale one needs.

    One linear map for all colours of a frame brings its darkest tile down to DARKEST and its
    brightest up to BRIGHTEST, and keeps a tile beyond. Where that takes a gain of more than
    MOST_GAIN, the range comes to lie about the middle. Single pixels may leave 0..255. A frame
    that has the range already is not changed.
    """
    tiles = ops.average_pool(frames, TILE, TILE)
    dark = ops.min(tiles, axis=(1, 2, 3), keepdims=True)
    bright = ops.max(tiles, axis=(1, 2, 3), keepdims=True)
    darkest, brightest = ops.minimum(dark, DARKEST), ops.maximum(bright, BRIGHTEST)
    gain = ops.minimum((brightest - darkest) / ops.maximum(bright - dark, 1), MOST_GAIN)
    return (frames - (dark + bright) / 2) * gain + (darkest + brightest) / 2


def sharpened(frames):
    """Frames (B, 112, 112, 3) with details strengthened the more, the fewer they are.

    An unsharp mask (R. Gonzalez and R. Woods, "Digital Image Processing", section 3.6). Its weight
    is by how much the details' root mean square would have to grow to be DETAIL, MOST_SHARPENED at
    most; where it is DETAIL already, the frame is not changed.
    """
    blur = blur_matrix()
    details = frames - _through(frames, blur, blur)
    # Divided first: the sum of a frame's squares would leave the float16 of a graphics card.
    power = ops.mean(ops.square(details / DETAIL), axis=(1, 2, 3), keepdims=True)
    growth = ops.rsqrt(ops.maximum(power, (1 + MOST_SHARPENED) ** -2))
    return frames + ops.maximum(growth - 1, 0) * details


def blur_matrix() -> np.ndarray:
    """BLUR along a frame's rows or columns, float32 (112, 112); the border is repeated."""
    reach = np.arange(len(BLUR)) - len(BLUR) // 2
    matrix = np.zeros((SIDE, SIDE), np.float32)
    for place in range(SIDE):
        np.add.at(matrix[place], (place + reach).clip(0, SIDE - 1), BLUR)
    return matrix


def _through(pictures, rows: np.ndarray, columns: np.ndarray):
    """`rows @ plane @ columns.T` of each colour's plane of pictures (B, height, width, 3)."""
    planes = ops.transpose(pictures, (0, 3, 1, 2))
    return ops.transpose(ops.matmul(ops.matmul(rows, planes), columns.T), (0, 2, 3, 1))


def frame_matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The bilinear resize of a view to the template frame: rows and columns, float32 (112, size).

    `rows @ view @ columns.T` is the frame. Outside the view its border is repeated.
    """
    scale, shift = template_map()
    on_photo = (np.arange(SIDE)[:, None] - shift) / scale  # x, y of each column and row
    # Pixel centres lie at whole numbers.
    stretch = CANVAS_SIZE / PHOTO_WIDTH
    on_canvas = np.stack([(on_photo[:, 0] + 0.5) * stretch - 0.5, on_photo[:, 1]])
    top, left = view_corner(size)
    return _interpolation(on_canvas[1] - top, size), _interpolation(on_canvas[0] - left, size)


def template_map() -> tuple[float, np.ndarray]:
    """Scale and shift (x, y) from pixels of an aligned photo to those of the template frame.

    Of all such maps it has the least squared distance of CANONICAL_POINTS from TEMPLATE_POINTS.
    """
    source, target = (p - p.mean(axis=0) for p in (CANONICAL_POINTS, TEMPLATE_POINTS))
    scale = (source * target).sum() / np.square(source).sum()
    return scale, TEMPLATE_POINTS.mean(axis=0) - scale * CANONICAL_POINTS.mean(axis=0)


def _interpolation(places: np.ndarray, size: int) -> np.ndarray:
    """How much each of `size` pixels counts at each of the places (n,): float32 (n, size).

    Places are rounded to 1/2048 of a pixel, so that the numbers are exact in an exported file's
    float16 too and still add up to 1; an error there would be multiplied by the gain.
    """
    inside = np.round(places.clip(0, size - 1) * 2048)[:, None] / 2048
    return np.maximum(0, 1 - np.abs(inside - np.arange(size))).astype(np.float32)
