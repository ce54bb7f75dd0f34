"""The simulated identity card: each effect does what it says, from a seed, to the byte."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from faceverify.cards import card, phone
from faceverify.cards.effects import Drawn, Effects, draw
from faceverify.faces.aligned_photos import decode_aligned
from helpers import ROOT, error_line, run_script, write_parameters

# A card to which nothing happens, seen from above by a perfect phone.
NONE = Drawn(
    print_resolution=card.PIXELS * card.MILLIMETRES_PER_INCH, saturation=1, contrast=1, dots=0,
    grey_portrait=False, haze=0, sheen=0, wear=0, scratches=0, distance=200, tilt=0, roll=0,
    defocus=0, motion=0, exposure=0, uneven_light=0, noise=0, jpeg_quality=100,
)  # fmt: skip
EFFECTS = Effects.model_validate(
    {
        name: {"mild": value, "hard": value}
        for name, value in NONE._asdict().items()
        if name != "grey_portrait"
    }
    | {"grey_portraits": 0.0}
)


@pytest.fixture(scope="module")
def faces(sample) -> list[np.ndarray]:
    paths = sorted((sample / "img_align_celeba").iterdir())[::40]
    return [decode_aligned(path.read_bytes()) for path in paths]


@pytest.fixture(scope="module")
def face(faces) -> np.ndarray:
    """A face in colour; the sample's are grey."""
    tinted = faces[0].astype(float) * (1, 0.8, 0.6)
    return tinted.astype(np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def decoded(encoded: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), 1), cv2.COLOR_BGR2RGB)


def pixels(face: np.ndarray, **changes: float) -> np.ndarray:
    """The photo of a card, float, with some effects and all others off."""
    drawn = NONE._replace(**changes)
    made = card.draw_card(face, rng(), drawn.grey_portrait)
    made = card.laminated(card.printed(made, drawn, rng()), drawn, rng())
    return decoded(phone.photograph(made, drawn, rng())).astype(float)


def portrait_of(photo: np.ndarray) -> np.ndarray:
    """The portrait on the photo of a card that lies straight, by the card's layout."""
    scale = phone.FOCAL_PIXELS / NONE.distance
    left, top, width, height = ((a + b) * scale for a, b in zip(
        card.PORTRAIT, (phone.MARGIN, phone.MARGIN, 0, 0), strict=True))  # fmt: skip
    return photo[round(top) : round(top + height), round(left) : round(left + width)]


def saturation(photo: np.ndarray) -> float:
    return float((photo.max(axis=-1) - photo.min(axis=-1)).mean())


def detail(photo: np.ndarray, axis: int) -> float:
    return float(np.abs(np.diff(photo.mean(axis=-1), axis=axis)).mean())


def test_the_card_has_the_size_of_iso_7810_and_the_face_is_on_it(face):
    photo = pixels(face)
    scale = phone.FOCAL_PIXELS / NONE.distance
    expected = [(side + 2 * phone.MARGIN) * scale for side in (53.98, 85.60)]
    np.testing.assert_allclose(photo.shape[:2], expected, atol=2)
    shown = cv2.resize(portrait_of(photo), (140, 210), interpolation=cv2.INTER_AREA)
    left, top, width, height = card.PORTRAIT_CROP
    middle = (slice(60, 150), slice(40, 100))  # inside the head, where no backdrop shines through
    expected = face[top : top + height, left : left + width].astype(float)
    assert np.corrcoef(shown[middle].ravel(), expected[middle].ravel())[0, 1] > 0.98
    np.testing.assert_allclose(shown[middle].mean(), expected[middle].mean(), atol=3)


def test_portraits_are_on_red_or_blue(faces):
    corners = [
        portrait_of(decoded(phone.photographed_card(f, EFFECTS, 1, str(i))))[8:16, 8:16]
        for i, f in enumerate(faces)
    ]
    kinds = {int(np.argmax(corner.reshape(-1, 3).mean(axis=0))) for corner in corners}
    assert kinds == {0, 2}


# Effect -> two strengths of it, and what grows from the first to the second.
GROWS = {
    "print_resolution": ((300, 100), lambda photo: -detail(portrait_of(photo), 1)),
    "saturation": ((1, 0.4), lambda photo: -saturation(portrait_of(photo))),
    "contrast": ((1, 0.5), lambda photo: -portrait_of(photo).mean(axis=-1).std()),
    "dots": ((0, 8), lambda photo: detail(portrait_of(photo), 1)),
    "haze": ((0, 0.3), lambda photo: np.percentile(portrait_of(photo), 2)),
    "distance": ((150, 400), lambda photo: -photo.shape[1]),
    "defocus": ((0, 3), lambda photo: -detail(portrait_of(photo), 0)),
    "motion": ((0, 9), lambda photo: -detail(portrait_of(photo), 0)),
    "uneven_light": ((0, 0.9), lambda photo: np.ptp(quarters(photo))),
    "noise": ((0, 8), lambda photo: photo[:40, :40].std(axis=(0, 1)).mean()),
    "jpeg_quality": ((100, 20), lambda photo: blockiness(photo)),
}


def quarters(photo: np.ndarray) -> list[float]:
    """Mean level of the table on each side of the card."""
    return [photo[:30].mean(), photo[-30:].mean(), photo[:, :30].mean(), photo[:, -30:].mean()]


def blockiness(photo: np.ndarray) -> float:
    """Steps at the edges of JPEG's blocks of 8 pixels over those inside of them."""
    steps = np.abs(np.diff(photo.mean(axis=-1), axis=1)).mean(axis=0)
    edges = np.arange(len(steps)) % 8 == 7
    return float(steps[edges].mean() / steps[~edges].mean())


@pytest.mark.parametrize("effect", GROWS)
def test_an_effect_does_what_it_says(face, effect):
    (mild, hard), measure = GROWS[effect]
    weak, strong = (measure(pixels(face, **{effect: value})) for value in (mild, hard))
    assert strong > weak
    assert (strong - weak) / (abs(weak) + abs(strong)) > 0.02


def test_worn_print_is_lighter_without_colour_and_a_hologram_shines_in_colours(face):
    plain = pixels(face)
    worn, shining = (pixels(face, **{name: 0.8}) - plain for name in ("wear", "sheen"))
    for difference in (worn, shining):
        assert difference.max() > 40
        assert difference.mean() > 0.5
        assert np.percentile(difference, 1) > -6
    colours = (np.ptp(d[d.max(axis=-1) > 30], axis=-1).mean() for d in (worn, shining))
    assert next(colours) < 0.5 * next(colours)


def test_exposure_is_in_stops_of_linear_light(face):
    plain, changed = pixels(face), pixels(face, exposure=1)
    middle = (plain > 40) & (plain < 150)
    stops = 2.2 * np.log2(changed[middle] / plain[middle])
    assert abs(np.median(stops)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("degrees", [5, 20])
def test_the_card_is_rolled_by_as_many_degrees(face, degrees):
    table = pixels(face, roll=degrees)
    ground = np.abs(table - table[2, 2]).max(axis=-1) > 12
    points = np.argwhere(ground)[:, ::-1].astype(np.float32)
    _, size, angle = cv2.minAreaRect(points)
    assert min(abs(angle), 90 - abs(angle)) == pytest.approx(degrees, abs=0.6)
    assert max(size) / min(size) == pytest.approx(85.60 / 53.98, rel=0.02)


def test_a_tilted_card_is_smaller_where_it_is_farther_away(face):
    for tilt, least, most in ((0, 0, 0.01), (40, 0.05, 0.5)):
        photo = pixels(face, tilt=tilt)
        ground = (np.abs(photo - photo[2, 2]).max(axis=-1) > 12).astype(np.uint8)
        (outline, *_), _ = cv2.findContours(ground, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        corners = cv2.approxPolyDP(outline, 20, True)[:, 0].astype(float)
        assert len(corners) == 4
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
        unequal = np.abs(np.log(sides[:2] / sides[2:])).max()
        assert least <= unequal <= most


def test_scratches_are_thin_light_lines(face):
    difference = pixels(face, scratches=6) - pixels(face)
    changed = np.abs(difference).max(axis=-1) > 25
    assert 0.001 < changed.mean() < 0.05


def test_a_grey_portrait_is_grey_and_on_no_colour(face):
    assert saturation(portrait_of(pixels(face, grey_portrait=True))) < 4
    assert saturation(portrait_of(pixels(face))) > 20


def test_effects_are_drawn_within_their_range_and_each_by_itself():
    spread = EFFECTS.model_copy(update={"noise": EFFECTS.noise.model_copy(update={"hard": 6.0})})
    drawn = [draw(spread, phone.generator(1, str(i))) for i in range(200)]
    noise = [effects.noise for effects in drawn]
    assert min(noise) < 0.5
    assert max(noise) > 5.5
    assert all(0 <= value <= 6 for value in noise)
    assert all(effects._replace(noise=0) == NONE for effects in drawn)
    other = spread.model_copy(update={"roll": EFFECTS.roll.model_copy(update={"hard": 9.0})})
    assert [draw(other, phone.generator(1, str(i))).noise for i in range(200)] == noise
    assert [draw(spread, rng(), share).noise for share in (0, 0.5, 1)] == [0, 3, 6]


def test_the_share_of_grey_portraits_is_kept():
    some = EFFECTS.model_copy(update={"grey_portraits": 0.25})
    drawn = [draw(some, phone.generator(1, str(i))).grey_portrait for i in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    ("name", "mild", "hard", "said"),
    [
        ("noise", -1, 2, "greater than or equal to 0"),
        ("distance", 20, 200, "distance: must be at least 80"),
        ("tilt", 0, 70, "tilt: must be at most 60"),
        ("haze", 0, 1.5, "haze: must be at most 1"),
        ("jpeg_quality", 101, 60, "jpeg_quality: must be at most 100"),
    ],
)
def test_impossible_ranges_are_refused(name, mild, hard, said):
    values = EFFECTS.model_dump() | {name: {"mild": mild, "hard": hard}}
    with pytest.raises(ValidationError, match=said):
        Effects.model_validate(values)


# Reproducible

HARD = {
    "print_resolution": 150, "saturation": 0.6, "contrast": 0.6, "dots": 6, "haze": 0.1,
    "sheen": 0.3, "wear": 0.3, "scratches": 9, "distance": 300, "tilt": 15, "roll": 8,
    "defocus": 1.5, "motion": 4, "exposure": 0.5, "uneven_light": 0.4, "noise": 5,
    "jpeg_quality": 75,
}  # fmt: skip
SPREAD = EFFECTS.model_dump() | {
    name: {"mild": getattr(NONE, name), "hard": hard} for name, hard in HARD.items()
}
PRINTED = """
import json, sys
from pathlib import Path
from faceverify.cards import phone
from faceverify.cards.effects import Effects
from faceverify.faces.aligned_photos import decode_aligned

effects = Effects.model_validate(json.loads(sys.argv[1]))
for name in sys.argv[3:]:
    face = decode_aligned(Path(name).read_bytes())
    Path(sys.argv[2], Path(name).name).write_bytes(phone.photographed_card(face, effects, 3, name))
"""


def test_seed_and_name_decide_the_bytes(face):
    effects = Effects.model_validate(SPREAD)
    made = [
        phone.photographed_card(face, effects, seed, name)
        for seed, name in ((3, "a"), (3, "a"), (4, "a"), (3, "b"))
    ]
    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_another_instruction_set_gives_the_same_pixels_within_two_levels(sample, tmp_path):
    paths = [str(p) for p in sorted((sample / "img_align_celeba").iterdir())[:8]]
    for folder, disabled in (("here", {}), ("there", {
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FMA3,AVX",
        "NPY_DISABLE_CPU_FEATURES": "AVX512_SPR AVX512_ICL AVX512_CNL AVX512_CLX AVX512_SKX "
        "AVX512CD AVX512F AVX2 FMA3",
    })):  # fmt: skip
        (tmp_path / folder).mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **disabled}
        command = [sys.executable, "-W", "ignore", "-c", PRINTED, json.dumps(SPREAD)]
        subprocess.run([*command, str(tmp_path / folder), *paths], env=environment, check=True)
    for name in (tmp_path / "here").iterdir():
        here, there = (decoded((tmp_path / f / name.name).read_bytes()).astype(int)
                       for f in ("here", "there"))  # fmt: skip
        assert here.shape == there.shape
        assert np.abs(here - there).max() <= 2, name.name


# The picture


def test_the_script_draws_three_photos_on_three_cards(sample, tmp_path):
    write_parameters(tmp_path)
    (tmp_path / "data").symlink_to(sample)
    result = run_script("draw_cards.py", tmp_path, "cards.jpg")
    assert result.returncode == 0, result.stderr
    drawn = decoded((tmp_path / "cards.jpg").read_bytes())
    assert drawn.shape == (3 * 320, 3 * 480, 3)
    assert all(tile.std() > 20 for row in np.split(drawn, 3) for tile in np.split(row, 3, axis=1))
    before = (tmp_path / "cards.jpg").read_bytes()
    assert run_script("draw_cards.py", tmp_path, "cards.jpg").returncode == 0
    assert (tmp_path / "cards.jpg").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "photos", "said"),
    [
        ("cards.png", True, "cards.png is no file name that ends in .jpg"),
        ("cards.jpg", False, "data/img_align_celeba is missing; `python src/make_sample.py`"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(sample, tmp_path, name, photos, said):
    write_parameters(tmp_path)
    if photos:
        (tmp_path / "data").symlink_to(sample)
    assert said in error_line(run_script("draw_cards.py", tmp_path, name))
    assert not (tmp_path / name).exists()
