"""The printed card: its layout, the print, the laminate and its wear.

Its size is ID-1 of ISO/IEC 7810, 85.60 x 53.98 mm; its layout is nobody's: a portrait on red or
blue, a ground of waves, and blocks in place of text.
"""

import cv2
import numpy as np

from faceverify.cards.effects import Drawn

WIDTH, HEIGHT = 85.60, 53.98  # millimetres
PIXELS = 12  # of the drawn card for each millimetre: 305 dots per inch, which card printers have
SIZE = (round(WIDTH * PIXELS), round(HEIGHT * PIXELS))  # (width, height)
PORTRAIT = (60.0, 12.0, 20.0, 30.0)  # left, top, width, height, millimetres
BACKDROPS = ((178, 34, 42), (38, 74, 158))  # red, blue
# The part of CelebA's aligned photo, 178 x 218, that a portrait of 2 x 3 shows: left, top, width,
# height. Its head is as large as a passport photo's.
PORTRAIT_CROP = (19, 8, 140, 210)
MILLIMETRES_PER_INCH = 25.4
BLOTCH = 9.3  # millimetres from one worn place to the next


def portrait(aligned: np.ndarray, backdrop: tuple[int, int, int]) -> np.ndarray:
    """A card's portrait, uint8 (210, 140, 3), of an aligned face, uint8 RGB (218, 178, 3).

    What lies beside head and shoulders becomes the backdrop. Where the head ends is not sought
    but taken from the alignment, with a soft edge, so that some of the photo's own ground stays
    around it.
    """
    mask = np.zeros(aligned.shape[:2], np.uint8)
    cv2.ellipse(mask, (89, 112), (56, 84), 0, 0, 360, 255, -1)
    cv2.ellipse(mask, (89, 236), (98, 62), 0, 0, 360, 255, -1)
    share = cv2.GaussianBlur(mask, (0, 0), 5).astype(np.float32)[..., None] / 255
    composed = aligned * share + np.array(backdrop, np.float32) * (1 - share)
    left, top, width, height = PORTRAIT_CROP
    return _rounded(composed)[top : top + height, left : left + width]


def draw_card(aligned: np.ndarray, rng: np.random.Generator, grey: bool) -> np.ndarray:
    """A new card with a face, uint8 RGB of SIZE, before anything happens to it."""
    card = _ground(rng)
    left, top, width, height = (round(value * PIXELS) for value in PORTRAIT)
    card[top : top + height, left : left + width] = draw_portrait(aligned, rng, grey)
    _text(card, rng)
    return card


def draw_portrait(aligned: np.ndarray, rng: np.random.Generator, grey: bool) -> np.ndarray:
    """The portrait as it is drawn on the card, uint8 RGB of PIXELS for each millimetre."""
    face = portrait(aligned, BACKDROPS[rng.integers(len(BACKDROPS))])
    if grey:
        face = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    size = tuple(round(value * PIXELS) for value in PORTRAIT[2:])
    return cv2.resize(face, size, interpolation=cv2.INTER_CUBIC)


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Fine waves in two pale colours."""
    x, y = np.meshgrid(*(np.arange(n) / PIXELS for n in SIZE))
    phase = rng.uniform(0, 2 * np.pi, 2)
    wave = np.sin(2.6 * y + 1.5 * np.sin(0.35 * x + phase[0]) + phase[1])[..., None]
    pale = rng.integers(190, 235, 3)
    return _rounded(pale + 9 * wave)


def _text(card: np.ndarray, rng: np.random.Generator) -> None:
    """Blocks as wide as words, in rows: nothing that could be read."""
    dark = tuple(int(level) for level in rng.integers(20, 70, 3))
    for row in range(9):
        x, y = 4.0, 12.0 + 4.2 * row
        end = rng.uniform(30, 55)
        while x < end:
            width = rng.uniform(1.5, 7)
            corners = [
                (round(a * PIXELS), round(b * PIXELS)) for a, b in ((x, y), (x + width, y + 1.6))
            ]
            cv2.rectangle(card, *corners, dark, -1)
            x += width + 1
    cv2.rectangle(card, (4 * PIXELS, 3 * PIXELS), (52 * PIXELS, 7 * PIXELS), dark, -1)


def printed(card: np.ndarray, drawn: Drawn, rng: np.random.Generator) -> np.ndarray:
    """A card as it leaves the printer: fewer dots, less colour and contrast, an uneven tone.

    `card` is a drawn card, uint8 RGB of SIZE, or a part of one of any size.
    """
    whole = card.shape[1::-1]
    scale = min(drawn.print_resolution / (PIXELS * MILLIMETRES_PER_INCH), 1)
    size = tuple(max(round(n * scale), 1) for n in whole)
    dots = cv2.resize(card, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    grey = dots @ np.array((0.299, 0.587, 0.114), np.float32)
    dots = grey[..., None] + drawn.saturation * (dots - grey[..., None])
    # The whitest white is the card's plastic, the blackest black a dark grey.
    dots = 232 - drawn.contrast * (232 - dots)
    dots += drawn.dots * rng.standard_normal(dots.shape, np.float32)
    return cv2.resize(_rounded(dots), whole, interpolation=cv2.INTER_LINEAR)


def laminated(card: np.ndarray, drawn: Drawn, rng: np.random.Generator) -> np.ndarray:
    """A printed card, or a part of one, under its laminate, after some years in a wallet."""
    size = card.shape[1::-1]
    seen = card.astype(np.float32)
    seen += drawn.wear * _blotches(size, rng)[..., None] * (240 - seen)
    seen += drawn.haze * (255 - seen)
    seen = _rounded(_with_sheen(seen, drawn.sheen, rng))
    for _ in range(round(drawn.scratches)):
        ends = rng.integers(0, size, (2, 2))
        light = int(rng.integers(180, 250))
        cv2.line(seen, *ends.tolist(), (light,) * 3, 1, cv2.LINE_AA)
    return seen


def _blotches(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Where a card is worn: smooth, 0 to 1, float32 (height, width)."""
    coarse = rng.random([round(n / PIXELS / BLOTCH) for n in size[::-1]], np.float32)
    smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(2 * smooth - 1, 0, 1)


def _with_sheen(card: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """A hologram's coloured bands across the card, as bright as `most` of white at the most."""
    slope, place, width = rng.uniform(-1, 1), rng.uniform(0, WIDTH), rng.uniform(6, 18)
    x, y = np.meshgrid(*(np.arange(n) / PIXELS for n in card.shape[1::-1]))
    across = x + slope * y - place
    bands = np.exp(-((across / width) ** 2))[..., None]
    colours = 0.5 + 0.5 * np.cos(across[..., None] / 3 + np.array((0, 2.1, 4.2)))
    return card + (most * bands * colours).astype(np.float32) * (255 - card)


def _rounded(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
