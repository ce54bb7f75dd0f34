"""Faces in MobileFaceNet's frame with a border around it, so that they can be moved a little."""

import cv2
import numpy as np

from faceverify.faces.aligned_photos import CANVAS_SIZE, PHOTO_WIDTH, to_canvas
from faceverify.model.mobile_face_net import SIDE, template_map

BORDER = 8  # pixels on each side
FRAME = SIDE + 2 * BORDER

# What a photo becomes at random while the network learns.
ROTATION = 5.0  # degrees, either way
SCALE = 0.06  # of the size, either way
SHIFT = 3.0  # pixels, either way
LIGHT = 0.25  # of brightness and contrast, either way
HOW_OFTEN = {"small": 0.2, "blur": 0.15, "jpeg": 0.15, "grey": 0.1}  # of the photos, not of cards


def framed(photo: np.ndarray) -> np.ndarray:
    """What an aligned photo, uint8 (218, 178, 3), shows of the frame, uint8 (FRAME, FRAME, 3).

    Without its border it is what `mobile_face_net.preprocess_input` makes of the canvas.
    """
    scale, (x, y) = template_map()
    stretch = CANVAS_SIZE / PHOTO_WIDTH
    # Pixel centres lie at whole numbers in the photo and in the frame.
    across = [stretch / scale, 0, (0.5 - (BORDER + x) / scale) * stretch - 0.5]
    down = [0, 1 / scale, -(BORDER + y) / scale]
    return _warped(to_canvas(photo), np.array([across, down]), FRAME)


def inner(frame: np.ndarray) -> np.ndarray:
    """The frame without its border, uint8 (112, 112, 3)."""
    return frame[BORDER:-BORDER, BORDER:-BORDER]


def changed(frame: np.ndarray, *, card: bool, rng: np.random.Generator) -> np.ndarray:
    """A frame as it may be found another time, uint8 (112, 112, 3); a `card` is damaged already."""
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    zoom = 1 + rng.uniform(-SCALE, SCALE)
    mirror = rng.choice([-1, 1])
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[mirror * cosine, -sine], [mirror * sine, cosine]])
    middle, centre = np.full(2, (SIDE - 1) / 2), np.full(2, (FRAME - 1) / 2)
    shift = centre + rng.uniform(-SHIFT, SHIFT, 2) - turn @ middle
    seen = _warped(frame, np.column_stack([turn, shift]), SIDE)
    if not card:
        seen = _damaged(seen, rng)
    contrast, brightness = 1 + rng.uniform(-LIGHT, LIGHT, 2)
    mean = np.float32(seen.mean())
    lit = (seen - mean) * np.float32(contrast) + mean * np.float32(brightness)
    return np.clip(lit, 0, 255).astype(np.uint8)


def _damaged(seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo taken from afar, out of focus, compressed hard or without colour, now and then."""
    chosen = {name for name, share in HOW_OFTEN.items() if rng.random() < share}
    if "small" in chosen:
        side = int(SIDE * rng.uniform(0.3, 0.8))
        little = cv2.resize(seen, (side, side), interpolation=cv2.INTER_AREA)
        seen = cv2.resize(little, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    if "blur" in chosen:
        seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.5, 1.8))
    if "jpeg" in chosen:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))]
        seen = cv2.imdecode(cv2.imencode(".jpg", seen, quality)[1], cv2.IMREAD_COLOR)
    if "grey" in chosen:
        seen = cv2.cvtColor(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return seen


def _warped(picture: np.ndarray, to_picture: np.ndarray, side: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REPLICATE
    return cv2.warpAffine(picture, to_picture, (side, side), flags=flags, borderMode=border)
