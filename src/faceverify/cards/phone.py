"""A phone's photo of a card that lies on a table."""

import hashlib
import math

import cv2
import numpy as np

from faceverify.cards import card
from faceverify.cards.effects import Drawn, Effects, draw
from faceverify.faces import alignment

# A phone's main camera: 65 degrees across 4,000 pixels.
FOCAL_PIXELS = 2000 / math.tan(math.radians(65 / 2))
MARGIN = 8.0  # millimetres of the table around the card that stay in the photo
UNIT_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])


def photographed_card(
    aligned: np.ndarray, effects: Effects, seed: int, name: str, strength: float | None = None
) -> bytes:
    """A face on an identity card, photographed by a phone: a JPEG file.

    `aligned` is a face on CelebA's canvas, uint8 RGB (218, 178, 3). All that chance decides is
    drawn from `seed` and the photo's `name`; `strength` is that of `effects.draw`.
    """
    rng = generator(seed, name)
    drawn = draw(effects, rng, strength)
    made = card.draw_card(aligned, rng, drawn.grey_portrait)
    made = card.laminated(card.printed(made, drawn, rng), drawn, rng)
    return photograph(made, drawn, rng)


def generator(seed: int, name: str) -> np.random.Generator:
    """The source of all that is drawn for a photo."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return np.random.default_rng(list(digest))


def photograph(made: np.ndarray, drawn: Drawn, rng: np.random.Generator) -> bytes:
    """A phone's photo of a card, uint8 RGB of card.PIXELS for each millimetre, as a JPEG file."""
    return taken(placed(made, drawn, rng)[0], drawn, rng)


def taken(seen: np.ndarray, drawn: Drawn, rng: np.random.Generator) -> bytes:
    """The JPEG file that a phone makes of what its lens sees, uint8 RGB."""
    seen = _lit(seen, drawn, rng)
    if drawn.defocus > 0:
        seen = cv2.GaussianBlur(seen, (0, 0), drawn.defocus)
    if drawn.motion >= 1:
        seen = _shaken(seen, drawn.motion, rng.uniform(0, math.pi))
    noisy = seen + drawn.noise * rng.standard_normal(seen.shape, np.float32)
    seen = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    options = (cv2.IMWRITE_JPEG_QUALITY, round(drawn.jpeg_quality))
    return cv2.imencode(".jpg", cv2.cvtColor(seen, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def placed(
    made: np.ndarray, drawn: Drawn, rng: np.random.Generator, margin: float = MARGIN
) -> tuple[np.ndarray, np.ndarray]:
    """The card as the lens sees it, uint8 RGB: turned, tilted, on a table of one tone.

    `made` is a card of card.PIXELS for each millimetre, or a part of one, and `margin` what is
    seen of the table around it, in millimetres. Also returns where its corners (left top, right
    top, right bottom, left bottom) lie in the photo, (4, 2) in pixels.
    """
    whole = made.shape[1::-1]
    corners = _corners(_millimetres(whole), drawn, rng)
    scale = FOCAL_PIXELS / drawn.distance
    corners = corners - corners.min(axis=0) + margin * scale
    width, height = (int(n) for n in np.ceil(corners.max(axis=0) + margin * scale))
    source = UNIT_CORNERS * whole - 0.5
    shrunk = scale / card.PIXELS
    if shrunk < 1:  # fine detail must not alias
        size = tuple(max(round(n * shrunk), 1) for n in whole)
        made = cv2.resize(made, size, interpolation=cv2.INTER_AREA)
        source = UNIT_CORNERS * size - 0.5
    inverse = cv2.getPerspectiveTransform(corners.astype(np.float32), source.astype(np.float32))
    tone, tint = rng.integers(60, 190), rng.integers(-25, 26, 3)
    table = tuple(int(level) for level in tone + tint)
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    across, down, depth = (row[0] * x + row[1] * y + row[2] for row in inverse)
    maps = alignment.fixed_point_map(across / depth, down / depth)
    return cv2.remap(made, *maps, cv2.INTER_LINEAR, borderValue=table), corners


def _millimetres(size: tuple[int, int]) -> tuple[float, float]:
    """The width and height of a card, or of a part of one, of so many pixels."""
    if size == card.SIZE:
        return card.WIDTH, card.HEIGHT
    return size[0] / card.PIXELS, size[1] / card.PIXELS


def _corners(size: tuple[float, float], drawn: Drawn, rng: np.random.Generator) -> np.ndarray:
    """Where the lens sees the corners of a card of `size` millimetres, (4, 2), from its middle."""
    plane = (UNIT_CORNERS - 0.5) * size
    roll = math.radians(drawn.roll) * rng.choice((-1, 1))
    turned = plane @ np.array([(math.cos(roll), math.sin(roll)), (-math.sin(roll), math.cos(roll))])
    tilt, axis = math.radians(drawn.tilt), rng.uniform(0, 2 * math.pi)
    along = turned @ (math.cos(axis), math.sin(axis))
    away = turned @ (-math.sin(axis), math.cos(axis))
    flat, depth = away * math.cos(tilt), drawn.distance + away * math.sin(tilt)
    x = along * math.cos(axis) - flat * math.sin(axis)
    y = along * math.sin(axis) + flat * math.cos(axis)
    return FOCAL_PIXELS * np.stack([x, y], axis=1) / depth[:, None]


def _lit(seen: np.ndarray, drawn: Drawn, rng: np.random.Generator) -> np.ndarray:
    """The photo under a light that is stronger on one side, over- or underexposed; uint8."""
    stops = drawn.exposure * rng.choice((-1, 1))
    angle = rng.uniform(0, 2 * math.pi)
    height, width = seen.shape[:2]
    x = np.linspace(-0.5, 0.5, width)[None, :] * math.cos(angle)
    y = np.linspace(-0.5, 0.5, height)[:, None] * math.sin(angle)
    gain = 2.0**stops * (1 + drawn.uneven_light * (x + y))
    # Light adds up before the phone's tone curve, not in its grey levels; 2.2 is close to sRGB's.
    linear = (np.arange(256) / 255) ** 2.2
    lit = np.clip(linear.astype(np.float32)[seen] * gain.astype(np.float32)[..., None], 0, 1)
    levels = np.rint(255 * (np.arange(4096) / 4095) ** (1 / 2.2)).astype(np.uint8)
    return levels[np.rint(lit * 4095).astype(np.uint16)]


def _shaken(seen: np.ndarray, length: float, angle: float) -> np.ndarray:
    """The mean of the photo at the places of a straight path, `length` pixels long; uint8.

    In whole numbers, which are the same on every processor.
    """
    count, border = 2 * math.ceil(length) + 1, math.ceil(length / 2)
    padded = cv2.copyMakeBorder(seen, *(border,) * 4, cv2.BORDER_REPLICATE)
    total = np.zeros(seen.shape, np.uint16)
    height, width = seen.shape[:2]
    for share in np.linspace(-0.5, 0.5, count):
        right = border + round(share * length * math.cos(angle))
        down = border + round(share * length * math.sin(angle))
        total += padded[down : down + height, right : right + width]
    return ((total + count // 2) // count).astype(np.uint8)
