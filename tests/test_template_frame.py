"""Tests of faceverify.model.template_frame: where a face comes to lie, its contrast and details."""

import numpy as np
import pytest

from faceverify.faces.aligned_photos import CANVAS_SIZE, view_corner
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model import template_frame
from helpers import sample_canvases

STRETCH = np.array([CANVAS_SIZE / 178, 1])
NOSE = 2  # which of the five points it is


# Where the face lies


def in_frame(canvas, view=CANVAS_SIZE):
    """Where the light of a canvas lies in the template frame, (x, y)."""
    rows, columns = template_frame.frame_matrices(view)
    top, left = view_corner(view)
    frame = rows @ canvas[top : top + view, left : left + view] @ columns.T
    places = np.arange(template_frame.SIDE)
    return np.array([frame.sum(0) @ places, frame.sum(1) @ places]) / frame.sum()


@pytest.mark.parametrize("view", [CANVAS_SIZE, 160])
@pytest.mark.parametrize("point", range(5))
def test_the_five_points_come_to_lie_on_the_template(point, view):
    x, y = (CANONICAL_POINTS[point] + 0.5) * STRETCH - 0.5
    across, down = np.meshgrid(np.arange(CANVAS_SIZE), np.arange(CANVAS_SIZE))
    spot = np.exp(-((across - x) ** 2 + (down - y) ** 2) / 18)
    scale, shift = template_frame.template_map()
    found = in_frame(spot, view)
    np.testing.assert_allclose(found, CANONICAL_POINTS[point] * scale + shift, atol=0.02)
    # One scale cannot do more: CelebA's nose tip is another point than the template's.
    away = np.hypot(*(found - template_frame.TEMPLATE_POINTS[point]))
    assert away < (3 if point == NOSE else 1.7)


def test_no_other_scale_or_shift_brings_the_points_nearer():
    def error(scale, shift):
        moved = CANONICAL_POINTS * scale + shift
        return np.square(moved - template_frame.TEMPLATE_POINTS).sum()

    scale, shift = template_frame.template_map()
    least = error(scale, shift)
    for step in (-1e-3, 1e-3):
        assert error(scale + step, shift) > least
        for direction in np.eye(2):
            assert error(scale, shift + step * direction) > least


def test_a_plain_view_keeps_its_colour_beyond_its_border():
    for view in (CANVAS_SIZE, 100):
        plain = np.full((1, view, view, 3), (0, 127.5, 255), np.float32)
        frame = np.asarray(template_frame.prepared(plain))
        assert frame.shape == (1, 112, 112, 3)
        np.testing.assert_allclose(frame, np.full_like(frame, (0, 127.5, 255)), atol=1e-3)


# Contrast and details


def sharpness(frames):
    """The details' root mean square of each frame."""
    blur = template_frame.blur_matrix()
    planes = np.moveaxis(np.asarray(frames), -1, 1)
    details = (planes - blur @ planes @ blur.T)[..., 8:-8, 8:-8]
    return np.sqrt(np.square(details).mean(axis=(1, 2, 3)))


@pytest.fixture(scope="module")
def frames(sample):
    """Photos of a few people in the template frame, with nothing else done to them."""
    rows, columns = template_frame.frame_matrices(CANVAS_SIZE)
    faces, _ = sample_canvases(sample, people=8, photos=10)
    planes = rows @ np.moveaxis(faces.astype(np.float32), -1, 1) @ columns.T
    return np.moveaxis(planes, 1, -1)


def extremes(found):
    tiles = np.asarray(found).reshape(-1, 28, 4, 28, 4, 3).mean(axis=(2, 4))
    return tiles.min(axis=(1, 2, 3)), tiles.max(axis=(1, 2, 3))


def test_a_pale_frame_gets_the_range_of_a_good_photo(frames):
    dark, bright = extremes(template_frame.widened(frames * 0.6 + 60))
    assert (dark < 10.01).all()
    assert (bright > 239.99).all()


def test_a_frame_that_has_the_whole_range_is_not_widened(frames):
    frames = frames.copy()
    frames[:, :4, :4], frames[:, -4:, -4:] = 3, 252
    np.testing.assert_allclose(template_frame.widened(frames), frames, atol=1e-3)


def test_a_frame_that_lacks_one_end_keeps_the_other(frames):
    frames = frames * 0.6 + 60
    frames[:, :4, :4] = 2
    dark, bright = extremes(template_frame.widened(frames))
    np.testing.assert_allclose(dark, 2, atol=1e-3)
    assert (bright > 239.99).all()


def test_widening_is_one_linear_map_for_all_colours(frames):
    pale = frames * np.float32([0.6, 0.5, 0.4]) + np.float32([60, 40, 80])
    found = np.asarray(template_frame.widened(pale))
    for one, other in zip(pale, found, strict=True):
        gain, shift = np.polyfit(one.ravel(), other.ravel(), 1)
        np.testing.assert_allclose(other, gain * one + shift, atol=0.01)
        assert 1 < gain <= 4.001


@pytest.mark.parametrize("light", [0, 5, 128, 255])
def test_a_plain_frame_stays_plain(light):
    plain = np.full((1, 112, 112, 3), light, np.float32)
    found = np.asarray(template_frame.sharpened(template_frame.widened(plain)))
    assert np.ptp(found) < 1e-3
    assert found.min() >= 0
    assert found.max() <= 255


def test_a_range_that_takes_too_much_gain_comes_to_lie_about_the_middle(frames):
    dim = frames * 0.1 + 2
    dark, bright = extremes(template_frame.widened(dim))
    before = np.subtract(*extremes(dim))
    np.testing.assert_allclose(dark - bright, np.maximum(4 * before, -238), rtol=0.01)
    np.testing.assert_allclose((dark + bright) / 2, 125, atol=5)


def test_a_single_pixel_is_no_measure_of_the_range(frames):
    spotted = frames * 0.6 + 60
    spotted[:, 2, 2], spotted[:, 50, 50] = 0, 255
    gain = np.ptp(template_frame.widened(spotted), axis=(1, 2, 3)) / 255
    assert (gain > 1.2).all()


def test_noise_of_a_plain_area_grows_by_both_steps_at_most():
    noise = np.random.default_rng(1).normal(120, 1, (2, 112, 112, 3)).astype(np.float32)
    most = template_frame.MOST_GAIN * (1 + template_frame.MOST_SHARPENED)
    found = np.asarray(template_frame.sharpened(template_frame.widened(noise)))
    assert found.std() <= most * noise.std()


def test_a_dull_frame_gets_the_details_of_a_good_photo(frames):
    blur = template_frame.blur_matrix()
    dull = np.moveaxis(blur @ np.moveaxis(frames, -1, 1) @ blur.T, 1, -1)
    before, after = sharpness(dull), sharpness(template_frame.sharpened(dull))
    assert (after > before).all()
    assert after.mean() > 1.3 * before.mean()
    assert np.abs(template_frame.sharpened(dull) - frames).mean() < np.abs(dull - frames).mean()


def test_a_sharp_frame_is_not_sharpened(frames):
    sharp = frames + np.random.default_rng(1).normal(0, 8, frames.shape).astype(np.float32)
    assert sharpness(sharp).min() > template_frame.DETAIL
    np.testing.assert_array_equal(template_frame.sharpened(sharp), sharp)


def test_the_matrices_are_exact_in_the_exported_files_float16():
    matrices = [*template_frame.frame_matrices(CANVAS_SIZE), template_frame.blur_matrix()]
    for matrix in [*matrices, *template_frame.frame_matrices(160)]:
        np.testing.assert_array_equal(matrix, matrix.astype(np.float16))
        np.testing.assert_array_equal(matrix.sum(axis=1), 1)
