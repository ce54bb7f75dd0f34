"""From a photo as taken to the aligned face: real faces put through real damage."""

import threading
import warnings

import cv2
import numpy as np
import pytest
import yaml
from ai_edge_litert.interpreter import Interpreter

from faceverify.base.schema import Capture
from faceverify.evaluation.card_faces import networks
from faceverify.faces import alignment
from faceverify.faces.aligned_photos import resized
from faceverify.verify import camera_photos, capture, face_networks, face_search
from faceverify.verify.camera_photos import Photo
from faceverify.verify.capture import find_face
from faceverify.verify.face_search import View
from faceverify.verify.refusals import (
    BlurredError,
    CaptureError,
    FaceTooSmallError,
    NoFaceError,
    SeveralFacesError,
    TooDarkError,
    WashedOutError,
)
from helpers import ROOT, sample_photos
from phone import encoded, phone_photo

WIDTH, HEIGHT = 600, 800
# How large an aligned photo's pixel is in a photo that it takes the half of.
FACTOR = HEIGHT / 2 / 218
LIMITS = Capture(**yaml.safe_load((ROOT / "params.yaml").read_text())["capture"])
NETWORKS = networks(ROOT / "data")
PEOPLE = 6
# Frontal portraits of PEOPLE_DIR, by the numbers in their names: headscarves and turbans, and
# glasses behind which no eye is seen, or hardly.
HEADWRAPS = (
    *(23086, 23087, 23088, 23113, 23136, 23153, 23158, 23163, 23167, 23173, 23178, 23186),
    *(23200, 23201, 24274, 24279, 24304, 24331, 24365, 24373),
)
DARK_GLASSES = (23127, 24329, 24344)


@pytest.fixture(scope="module", params=["sample", "celeba"])
def photos(request):
    """Photos of some people, as a phone takes them: the sample's, and real ones in colour."""
    folder = request.getfixturevalue(request.param)
    names = [name for names in sample_photos(folder, PEOPLE, 1).values() for name in names]
    return [phone_photo(folder / "img_align_celeba" / name, WIDTH, HEIGHT) for name in names]


@pytest.fixture(scope="module")
def find():
    """`find_face` with the shipped limits."""

    def call(photo: np.ndarray | Photo, **options) -> capture.FoundFace:
        photo = photo if isinstance(photo, Photo) else Photo(np.ascontiguousarray(photo), 1)
        return find_face(photo, NETWORKS, LIMITS, **options)

    return call


def off(face: capture.FoundFace) -> float:
    """How far the five points lie from where they were put, in inter-ocular distances."""
    corner = (WIDTH - round(178 * FACTOR)) / 2, (HEIGHT - round(218 * FACTOR)) / 2
    expected = alignment.CANONICAL_POINTS * FACTOR + corner
    distances = np.linalg.norm(face.points - expected, axis=1)
    return float(distances.mean() / (38.3 * FACTOR))


def faults(photos, find, damage, **options) -> set[type]:
    """With which errors damaged photos are refused; None for one that is not."""
    found = set()
    for photo in photos:
        try:
            find(damage(photo), **options)
            found.add(None)
        except CaptureError as error:
            found.add(type(error))
    return found


def test_the_face_is_found_where_it_is_and_aligned(photos, find):
    for photo in photos:
        face = find(photo)
        assert off(face) < 0.2
        assert (face.turns, face.others) == (0, 0)
        assert (face.aligned.shape, face.aligned.dtype) == ((218, 178, 3), np.uint8)
        assert face.interocular == pytest.approx(38.3 * FACTOR, rel=0.15)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_card_on_any_side_gives_the_face_of_an_upright_one(photos, find, turns):
    for photo in photos:
        face = find(np.rot90(photo, -turns), any_side=True)
        assert face.turns == turns
        assert off(face) < 0.2
        np.testing.assert_array_equal(face.aligned, find(photo).aligned)


def test_a_live_photo_upside_down_shows_no_face(photos, find):
    assert faults(photos, find, lambda photo: np.rot90(photo, 2)) <= {NoFaceError, None}
    with pytest.raises(NoFaceError):
        find(np.rot90(photos[0], 2))


@pytest.mark.parametrize("degrees", [-12, -6, 6, 12])
def test_a_tilted_face_is_levelled(photos, find, degrees):
    for photo in photos:
        turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1)
        tilted = cv2.warpAffine(photo, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        face = find(tilted)
        assert alignment_angle(face) == pytest.approx(
            -degrees + alignment_angle(find(photo)), abs=5
        )
        back = cv2.transform(face.points[None], cv2.invertAffineTransform(turn))[0]
        assert off(face._replace(points=back)) < 0.25


@pytest.mark.parametrize("degrees", [-60, -45, -30, 30, 40, 60])
@pytest.mark.parametrize("any_side", [False, True])
def test_a_leaning_head_is_found_where_it_is_or_not_at_all(photos, find, degrees, any_side):
    found = 0
    for photo in photos:
        turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1)
        leaning = cv2.warpAffine(photo, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        try:
            face = find(leaning, any_side=any_side)
        except NoFaceError:
            continue
        turned = turned_back(face.points, face.turns)
        back = cv2.transform(turned[None], cv2.invertAffineTransform(turn))[0]
        assert off(face._replace(points=back)) < 0.25
        found += 1
    assert found >= PEOPLE - 1


def turned_back(points: np.ndarray, turns: int) -> np.ndarray:
    """Points of a photo after quarter turns counter-clockwise, in pixels of the photo as it was."""
    for turn in range(turns, 0, -1):
        width = WIDTH if turn % 2 else HEIGHT  # of the photo before this turn
        points = np.stack([width - 1 - points[:, 1], points[:, 0]], axis=1)
    return points


def test_a_bar_over_the_eyes_does_not_let_the_points_slide(photos, find):
    for photo in photos:
        hidden = photo.copy()
        corner = np.array([(WIDTH - round(178 * FACTOR)) / 2, (HEIGHT - round(218 * FACTOR)) / 2])
        low, high = ((np.array(c) * FACTOR + corner).astype(int) for c in ((55, 100), (123, 122)))
        hidden[low[1] : high[1], low[0] : high[0]] = 15
        try:
            face = find(hidden)
        except CaptureError:
            continue
        assert off(face) < 0.25


@pytest.mark.parametrize("any_side", [False, True])
@pytest.mark.parametrize("worn", [HEADWRAPS, DARK_GLASSES], ids=["headwraps", "dark glasses"])
def test_a_headwrap_or_dark_glasses_do_no_harm(people, find, worn, any_side):
    for number in worn:
        portrait = people / f"img_align_celeba/meb_{number}.jpg"
        face = find(phone_photo(portrait, WIDTH, HEIGHT), any_side=any_side)
        assert off(face) < 0.2, portrait.name
        assert (face.turns, face.others) == (0, 0)


def alignment_angle(face: capture.FoundFace) -> float:
    """By how many degrees the line between the eyes leans."""
    right, left = face.points[:2]
    return float(np.degrees(np.arctan2(*(left - right)[::-1])))


def test_a_60_pixel_face_is_found(photos, find):
    for photo in photos:
        small = cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
        face = find(small)
        assert 24 <= face.interocular < 34
        assert off(face._replace(points=(face.points + 0.5) / 0.4 - 0.5)) < 0.25


def test_a_face_far_away_is_found_in_a_large_photo(find, sample):
    names = [names[0] for names in sample_photos(sample, 2, 1).values()]
    for name in names:
        photo = phone_photo(sample / "img_align_celeba" / name, 1500, 2000, 0.09)
        face = find(photo, any_side=True)
        assert face.interocular == pytest.approx(38.3 * 2000 * 0.09 / 218, rel=0.15)


def test_jpeg_of_quality_10_noise_and_grey_do_no_harm(photos, find):
    rng = np.random.default_rng(1)
    for photo in photos:
        noisy = np.clip(photo + rng.normal(0, 12, photo.shape), 0, 255).astype(np.uint8)
        grey = np.repeat(photo.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        for damaged in (camera_photos.decode(encoded(photo, quality=10)), noisy, grey):
            assert off(find(damaged)) < 0.2


def test_distance_is_measured_in_pixels_of_the_photo_as_taken(photos, find):
    large = cv2.resize(photos[0], None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    face = find(camera_photos.decode(encoded(large)))
    assert face.interocular == pytest.approx(38.3 * FACTOR * 5, rel=0.15)


def test_a_second_person_is_refused_unless_the_larger_one_is_asked_for(photos, find):
    one, other = photos[:2]
    larger = cv2.resize(one, None, fx=1.2, fy=1.2, interpolation=cv2.INTER_CUBIC)
    other = cv2.copyMakeBorder(other, 0, len(larger) - HEIGHT, 0, 0, cv2.BORDER_REPLICATE)
    both = np.concatenate([other, larger], axis=1)
    with pytest.raises(SeveralFacesError):
        find(both)
    face = find(both, allow_several=True)
    assert face.others == 1
    assert face.points[:, 0].min() > WIDTH


def test_a_much_smaller_face_beside_is_no_second_person(photos, find):
    one, other = photos[:2]
    small = cv2.resize(other, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    small = cv2.copyMakeBorder(small, 0, HEIGHT - len(small), 0, 0, cv2.BORDER_REPLICATE)
    face = find(np.concatenate([one, small], axis=1))
    assert face.others == 0
    assert off(face) < 0.2


def test_a_share_of_nothing_counts_every_face_without_a_warning(photos):
    limits = LIMITS.model_copy(update={"second_face": 0.0})
    photo = Photo(photos[0], 1)
    with warnings.catch_warnings(action="error"):
        assert find_face(photo, NETWORKS, limits, allow_several=True).aligned.any()


def scribble() -> np.ndarray:
    """Lines drawn at random, some of them closed, on white paper."""
    rng = np.random.default_rng(5)
    paper = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for _ in range(40):
        line = np.cumsum(rng.normal(0, 40, (30, 2)), axis=0) + rng.uniform(100, 500, 2)
        cv2.polylines(paper, [line.astype(int)], bool(rng.integers(2)), (20, 20, 60), 3)
    return paper


def graph() -> np.ndarray:
    """Axes, a grid and three curves."""
    paper = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for place in range(80, 700, 62):
        cv2.line(paper, (60, place), (560, place), (210, 210, 210), 1)
        cv2.line(paper, (place, 80), (place, 700), (210, 210, 210), 1)
    cv2.rectangle(paper, (60, 80), (560, 700), (0, 0, 0), 2)
    x = np.arange(60, 560)
    for k, colour in enumerate([(30, 90, 200), (200, 60, 40), (40, 150, 60)]):
        y = 400 - 250 * np.tanh((x - 200 - 60 * k) / 60)
        cv2.polylines(paper, [np.stack([x, y], axis=1).astype(int)], False, colour, 4)
    return paper


@pytest.mark.parametrize("any_side", [False, True])
@pytest.mark.parametrize("drawn", [scribble, graph])
def test_a_drawing_is_no_face(find, drawn, any_side):
    with pytest.raises(NoFaceError):
        find(drawn(), any_side=any_side)


@pytest.mark.parametrize(("any_side", "whole"), [(False, 2), (True, 5)])
@pytest.mark.parametrize(("height", "closer"), [(600, 0), (800, 1), (1200, 2)])
def test_the_search_for_a_face_that_is_not_there_is_bounded(height, closer, any_side, whole):
    searched = []

    class Counted:
        def find(self, square):
            searched.append(square.shape)
            return NETWORKS.finder.find(square)

    with pytest.raises(NoFaceError):
        photo = Photo(cv2.resize(graph(), (height * 3 // 4, height)), 1)
        find_face(photo, NETWORKS._replace(finder=Counted()), LIMITS, any_side=any_side)
    assert searched == [(192, 192, 3)] * (whole + closer)


@pytest.mark.parametrize("side", [40.0, 300.0, 700.0])
def test_a_view_without_a_roll_shows_what_the_smallest_roll_shows(photos, side):
    centre = np.array([150.3, 210.8])
    plain, turned = (View(centre, side, roll).of(photos[0]) for roll in (0.0, 1e-12))
    np.testing.assert_array_equal(plain, turned)


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.32, 0.24, 0.06])
@pytest.mark.parametrize("size", [(600, 800), (602, 800), (601, 799), (2000, 1504)])
def test_a_part_that_is_halved_first_shows_the_same(size, factor):
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (12, 9, 3)).astype(np.uint8)
    part = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    part = np.clip(part + rng.normal(0, 5, part.shape), 0, 255).astype(np.uint8)
    found, expected = face_search._halved_first(part, factor), resized(part, factor)
    assert found.shape == expected.shape
    difference = found.astype(int) - expected
    assert np.abs(difference).max() <= 6  # of the noise
    assert abs(difference.mean()) < 0.6  # each halving rounds to whole grey levels, halves up


@pytest.mark.parametrize(
    ("score", "reads"), [(5e-5, 1), (5e-4, face_search.LEAST_READS), (0.5, face_search.READS)]
)
def test_a_box_is_read_as_long_as_there_is_hope(photos, score, reads):
    seen = []

    class Unsure:
        def read(self, square):
            seen.append(square)
            return NETWORKS.mesh.read(square)[0], score

    view = View(np.array(photos[0].shape[1::-1]) / 2, 200.0, 0.0)
    assert face_search._read(photos[0], view, Unsure()) is None
    assert len(seen) == reads


def test_the_networks_see_the_scaled_square(photos):
    square = np.ascontiguousarray(photos[0][:192, :192])
    finder, mesh = (
        Interpreter(model_content=path.read_bytes()) for path in face_networks.paths(ROOT / "data")
    )

    def outputs(interpreter, values):
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[None])
        interpreter.invoke()
        return [interpreter.get_tensor(part["index"]) for part in interpreter.get_output_details()]

    seen = square.astype(np.float32)
    expected = outputs(finder, seen / 127.5 - 1), outputs(mesh, seen / 255)
    given = (
        NETWORKS.finder._network.run(square, 127.5, 1.0),
        NETWORKS.mesh._network.run(square, 255),
    )
    for found, wanted in zip(given, expected, strict=True):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_shows_no_face_is_refused(find, photos):
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 255, (400, 300, 3), np.uint8)
    for photo in (noise, np.zeros((400, 300, 3), np.uint8), np.full((1, 1, 3), 9, np.uint8)):
        with pytest.raises(NoFaceError, match="show the whole face"):
            find(photo, any_side=True)
    hidden = photos[0].copy()
    hidden[HEIGHT // 4 :] = 128
    with pytest.raises(NoFaceError):
        find(hidden)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda p: (p * 0.1).astype(np.uint8), TooDarkError),
        (lambda p: np.clip(p * 0.2 + 215, 0, 255).astype(np.uint8), WashedOutError),
        (lambda p: cv2.GaussianBlur(p, (0, 0), 7), BlurredError),
        (lambda p: cv2.resize(p, None, fx=0.2, fy=0.2, interpolation=3), FaceTooSmallError),
    ],
    ids=["dark", "washed out", "out of focus", "small"],
)
def test_a_poor_photo_is_refused_with_its_reason(photos, find, damage, error):
    found = faults(photos, find, damage)
    assert error in found
    assert found <= {error, NoFaceError}


def test_limits_decide(photos):
    photo = Photo(photos[0], 1)

    def refused(**limits) -> str:
        with pytest.raises(CaptureError) as caught:
            find_face(photo, NETWORKS, LIMITS.model_copy(update=limits))
        return caught.value.code

    assert refused(min_interocular=500) == "face_too_small"
    assert refused(min_sharpness=9) == "blurred"
    assert refused(min_brightness=254) == "too_dark"
    assert refused(max_brightness=1) == "washed_out"
    assert refused(max_residual=0.1) == "wrong_points"


def test_sharpness_falls_with_blur_and_not_with_light(photos, find):
    aligned = find(photos[0]).aligned
    blurred = [cv2.GaussianBlur(aligned, (0, 0), sigma) for sigma in (1, 2, 3)]
    values = [capture.sharpness(picture) for picture in (aligned, *blurred)]
    assert values == sorted(values, reverse=True)
    assert capture.sharpness((aligned * 0.5).astype(np.uint8)) == pytest.approx(values[0], rel=0.05)
    assert capture.sharpness(np.full((218, 178, 3), 90, np.uint8)) == 0


def test_a_good_face_needs_no_advice_a_bright_or_blurred_one_does(photos, find):
    aligned = find(photos[0]).aligned
    assert capture.advice(aligned) == []
    for blurred in (cv2.GaussianBlur(aligned, (0, 0), 2), cv2.blur(aligned, (12, 1))):
        (said,) = capture.advice(blurred)
        assert "rather blurred" in said
    bright, blurred = capture.advice(np.full_like(aligned, 225))
    assert "rather bright" in bright
    assert "rather blurred" in blurred


def test_brightness_is_the_mean_luma():
    blue = np.zeros((218, 178, 3), np.uint8)
    blue[..., 2] = 255
    assert capture.brightness(blue) == pytest.approx(0.114 * 255, abs=1)
    assert capture.brightness(np.full((218, 178, 3), 255, np.uint8)) == 255


def test_several_threads_find_what_one_finds(photos, find):
    expected = [find(photo).aligned for photo in photos]
    found = {}

    def work(i):
        found[i] = find(photos[i]).aligned

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(photos))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, aligned in enumerate(expected):
        np.testing.assert_array_equal(found[i], aligned)


def test_every_reason_has_a_code_of_its_own():
    # Other wings have reasons of their own.
    kinds = [
        kind for kind in CaptureError.__subclasses__() if kind.__module__ == CaptureError.__module__
    ]
    codes = [kind.code for kind in kinds]
    assert len(kinds) == 10
    assert len({*codes, CaptureError.code}) == 11
