"""Right and wrong inputs of the verifier, made of aligned photos, for fitting the quality network.

A view is what the network sees: the canvas as means of POOLED x POOLED pixels, uint8
(54, 54, 3).
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from faceverify.cards import card, phone
from faceverify.cards.effects import Effects
from faceverify.faces.aligned_photos import (
    CANVAS_SIZE,
    PHOTO_HEIGHT,
    PHOTO_WIDTH,
    decode,
    to_canvas,
)
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model.quality import POOLED, SIDE
from recipe import framed

# Least difference of the means of red and blue over a face, grey levels.
COLOURED = 8.0
FACE = (slice(21, 43), slice(15, 39))  # rows and columns of a view from brows to mouth
# Places of CANONICAL_POINTS with right and left exchanged: of the eyes alone, and of the mouth too.
EYES_SWAPPED, SIDES_SWAPPED = (1, 0, 2, 3, 4), (1, 0, 2, 4, 3)

RIGHT, CARD, BGR, CARD_BGR = "right", "card", "bgr", "card_bgr"

View = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def means(canvas: np.ndarray) -> np.ndarray:
    """What the network sees of a canvas (218, 218, 3)."""
    side = SIDE * POOLED
    return cv2.resize(canvas[:side, :side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def right(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An aligned photo, uint8 (218, 178, 3), as phones and finders of faces may give it."""
    moved = CANONICAL_POINTS + rng.normal(0, 1.2, 2) + rng.normal(0, 1.0, CANONICAL_POINTS.shape)
    seen = _degraded(warped(photo, similarity(moved)), rng)
    return means(to_canvas(seen[:, ::-1] if rng.random() < 0.5 else seen))


def on_card(photo: np.ndarray, effects: Effects, rng: np.random.Generator) -> np.ndarray:
    """An aligned photo as found on a card that lies straight before the phone."""
    drawn_seed = int(rng.integers(2**31))
    straight = effects.model_copy(
        update={name: type(effects.tilt)(mild=0, hard=0) for name in ("tilt", "roll")}
    )
    data = phone.photographed_card(photo, straight, drawn_seed, "")
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    # The card fills the photo but for the table around it.
    scale = seen.shape[1] / (card.WIDTH + 2 * phone.MARGIN)
    left, top, width, _ = card.PORTRAIT
    crop = card.PORTRAIT_CROP
    pixels = width / crop[2] * scale
    points = (CANONICAL_POINTS - crop[:2]) * pixels + (np.array([left, top]) + phone.MARGIN) * scale
    points += rng.normal(0, 0.8 * pixels, points.shape)
    return means(to_canvas(warped(seen, similarity(points))))


def blank(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black, white, grey, one colour, or one colour that passes into another."""
    ends = rng.integers(0, 256, (2, 3)).astype(np.float32)
    if rng.random() < 0.6:
        ends[:] = rng.choice((0, 255, rng.integers(256)))
    if rng.random() < 0.7:
        ends[1] = ends[0]
    share = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    levels = np.broadcast_to(ends[0] * share + ends[1] * (1 - share), (SIDE, SIDE, 3))
    levels = levels if rng.random() < 0.5 else levels.transpose(1, 0, 2)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def noise(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise, grey or coloured, fine or coarse, weak or strong, around any tone."""
    side = int(rng.choice((6, 12, 27, 54, 218)))
    levels = rng.random((side, side, 3 if rng.random() < 0.6 else 1)).astype(np.float32)
    low, high = np.sort(rng.integers(0, 256, 2)) if rng.random() < 0.6 else (0, 255)
    grown = cv2.resize(low + (high - low) * levels, (CANVAS_SIZE, CANVAS_SIZE))
    grown = grown if grown.ndim == 3 else np.repeat(grown[..., None], 3, axis=2)
    return means(np.clip(grown, 0, 255).astype(np.uint8))


def box(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The face cut out by a detector's box, stretched to the canvas: not aligned."""
    width = rng.uniform(70, 125)
    height = width * rng.uniform(1, 1.35)
    centre = np.array([88.9, 131.0]) + rng.normal(0, 5, 2)
    turn = np.deg2rad(rng.normal(0, 8))
    corner = np.array([[-width, -height], [width, -height], [-width, height]]) / 2
    turned = corner @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    side = CANVAS_SIZE - 1
    target = np.array([(0, 0), (side, 0), (0, side)], np.float32)
    matrix = cv2.getAffineTransform((turned + centre).astype(np.float32), target)
    canvas = cv2.warpAffine(
        photo, matrix, (CANVAS_SIZE, CANVAS_SIZE), borderMode=cv2.BORDER_REPLICATE
    )
    return means(_degraded(canvas, rng))


def swapped(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An alignment by points of which left and right are exchanged."""
    points = CANONICAL_POINTS + rng.normal(0, 1.5, CANONICAL_POINTS.shape)
    kind = rng.integers(3)
    if kind == 2:  # by the eyes alone: upside down
        matrix = similarity(points[[1, 0]], CANONICAL_POINTS[:2])
    else:
        matrix = similarity(points[list((EYES_SWAPPED, SIDES_SWAPPED)[kind])])
    return means(to_canvas(_degraded(warped(photo, matrix), rng)))


def turned(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo on its side or upside down, or a place beside the face."""
    if rng.random() < 0.7:
        canvas = np.rot90(to_canvas(photo), rng.integers(1, 4))
        return means(_degraded(np.ascontiguousarray(canvas), rng))
    left, top = rng.integers(0, PHOTO_WIDTH - 50), rng.choice((0, PHOTO_HEIGHT - 50))
    return means(cv2.resize(photo[top : top + 50, left : left + 50], (CANVAS_SIZE, CANVAS_SIZE)))


WRONG: dict[str, View] = {
    "blank": blank,
    "noise": noise,
    "box": box,
    "swapped": swapped,
    "turned": turned,
}


def coloured(view: np.ndarray) -> bool:
    """Whether a face's red and blue differ: without that, RGB and BGR are one."""
    red, _, blue = view[FACE].reshape(-1, 3).mean(axis=0)
    return abs(red - blue) >= COLOURED


def of_photo(path: Path, seed: tuple[int, ...]) -> list[tuple[str, np.ndarray]]:
    """Each kind of view of a photo, and twice RIGHT; those of BGR where it has colour."""
    rng = np.random.default_rng(seed)
    photo = framed(decode(path.read_bytes()), (PHOTO_WIDTH, PHOTO_HEIGHT))
    made = [(RIGHT, right(photo, rng)) for _ in range(2)]
    made += [(kind, view(photo, rng)) for kind, view in WRONG.items()]
    return made + _reversed(made[0][1], BGR)


def of_card(path: Path, effects: Effects, seed: tuple[int, ...]) -> list[tuple[str, np.ndarray]]:
    """A photo's view on a card, and that with BGR where it has colour."""
    rng = np.random.default_rng(seed)
    view = on_card(framed(decode(path.read_bytes()), (PHOTO_WIDTH, PHOTO_HEIGHT)), effects, rng)
    return [(CARD, view), *_reversed(view, CARD_BGR)]


def _reversed(view: np.ndarray, kind: str) -> list[tuple[str, np.ndarray]]:
    return [(kind, view[..., ::-1])] if coloured(view) else []


def similarity(points: np.ndarray, target: np.ndarray = CANONICAL_POINTS) -> np.ndarray:
    """The least-squares similarity without mirroring, (2, 3), of points (n, 2) to `target`."""
    p, t = (q @ [1, 1j] for q in (points, target))
    p_mean, t_mean = p.mean(), t.mean()
    factor = np.vdot(p - p_mean, t - t_mean) / np.vdot(p - p_mean, p - p_mean)
    shift = t_mean - factor * p_mean
    return np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )


def warped(photo: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A photo brought to the aligned frame, uint8 (218, 178, 3)."""
    shrinks = np.hypot(matrix[0, 0], matrix[1, 0])
    if shrinks < 1:
        photo = cv2.GaussianBlur(photo, (0, 0), max(0.4 / shrinks, 0.1))
    size = (PHOTO_WIDTH, PHOTO_HEIGHT)
    return cv2.warpAffine(photo, matrix, size, borderMode=cv2.BORDER_REPLICATE)


def _degraded(seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another light, less colour, blur and compression, each in some of the photos."""
    levels = seen.astype(np.float32)
    grey = levels.mean(axis=2, keepdims=True)
    if rng.random() < 0.3:
        levels = grey + rng.uniform(0.4, 1.2) * (levels - grey)
    if rng.random() < 0.5:
        gain, contrast = 1 + rng.uniform(-0.3, 0.3, 2)
        levels = (levels - levels.mean()) * np.float32(contrast) + levels.mean() * np.float32(gain)
    seen = np.clip(levels, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.5, 2.0))
    return seen
