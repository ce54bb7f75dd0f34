"""A face brought to CelebA's canvas: where it lands, what becomes of fine detail, the bytes."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from faceverify.faces import alignment, landmarks
from helpers import ROOT, sample_photos

# Each is (scale, angle in radians, x shift, y shift).
SIMILARITIES = [
    (1.0, 0.0, 0.0, 0.0),
    (0.21, 0.4, 12.5, -7.0),
    (3.7, -1.1, -200.0, 55.0),
    (0.9, 3.0, 300.0, 400.0),
]


def similarity(scale, angle, x, y):
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([(a, -b, x), (b, a, y)])


def mapped(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def face_with(five):
    """68 landmarks whose five points are the given ones; each eye is a hexagon around its own."""
    points = np.full((68, 2), 50.0)
    turns = np.arange(6) * np.pi / 3
    hexagon = 4 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    points[landmarks.RIGHT_EYE] = five[0] + hexagon
    points[landmarks.LEFT_EYE] = five[1] + hexagon
    points[[landmarks.NOSE_TIP, landmarks.MOUTH_RIGHT, landmarks.MOUTH_LEFT]] = five[2:]
    return points


def unmapped(matrix, points):
    return mapped(cv2.invertAffineTransform(matrix), points)


@pytest.mark.parametrize("known", SIMILARITIES)
def test_a_known_similarity_is_recovered(known):
    matrix = similarity(*known)
    five = unmapped(matrix, alignment.CANONICAL_POINTS)
    np.testing.assert_allclose(alignment.alignment_matrix(five), matrix, atol=1e-8)
    assert alignment.residual(five, matrix) == pytest.approx(0, abs=1e-8)


def test_the_five_points_are_the_eyes_the_nose_and_the_mouth():
    five = np.array([(70.0, 111), (108, 111), (89, 135), (73, 152), (105, 152)])
    np.testing.assert_allclose(landmarks.five_points(face_with(five)), five)


@pytest.mark.parametrize("known", SIMILARITIES)
def test_the_fit_is_the_nearest_of_all_similarities(known):
    rng = np.random.default_rng(3)
    noisy = alignment.CANONICAL_POINTS + rng.normal(0, 3, (5, 2))
    five = unmapped(similarity(*known), noisy)
    matrix = alignment.alignment_matrix(five)

    # Umeyama's closed form, by the singular values of the covariance.
    source, target = (p - p.mean(axis=0) for p in (five, alignment.CANONICAL_POINTS))
    left, values, right = np.linalg.svd(target.T @ source)
    linear = values.sum() / (source**2).sum() * left @ right
    shift = alignment.CANONICAL_POINTS.mean(axis=0) - linear @ five.mean(axis=0)
    np.testing.assert_allclose(matrix, np.column_stack([linear, shift]), atol=1e-8)


def test_a_mirrored_face_is_not_mirrored_back():
    flipped = alignment.CANONICAL_POINTS * (-1, 1) + (178, 0)
    matrix = alignment.alignment_matrix(flipped)
    linear = matrix[:, :2]
    assert np.linalg.det(linear) > 0
    np.testing.assert_allclose(linear @ linear.T, np.linalg.det(linear) * np.eye(2), atol=1e-9)


def test_the_residual_is_the_root_mean_square_of_what_the_fit_leaves():
    matrix = similarity(0.5, 0.3, 10, 20)
    five = unmapped(matrix, alignment.CANONICAL_POINTS + np.array((3, 4)))
    assert alignment.residual(five, matrix) == pytest.approx(5)


@pytest.mark.parametrize("known", SIMILARITIES)
@pytest.mark.parametrize("order", [[1, 0, 2, 4, 3], [1, 0, 2, 3, 4], [3, 4, 2, 0, 1]])
def test_points_in_another_order_fit_badly(known, order):
    five = unmapped(similarity(*known), alignment.CANONICAL_POINTS[order])
    assert alignment.residual(five, alignment.alignment_matrix(five)) > 20


def blob_photo(points, shape, radius):
    """A dark photo with a soft light blob at each point."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = (
        (x - points[:, None, None, 0]) ** 2 + (y - points[:, None, None, 1]) ** 2
    ) / radius**2
    return (20 + 200 * np.exp(-distance).max(axis=0)).round().astype(np.uint8)


@pytest.mark.parametrize(
    "known", [(0.3, 0.25, 20.0, -60.0), (1.0, -0.1, 3.0, 5.0), (2.2, 0.3, 5, 8)]
)
def test_points_of_a_photo_land_on_the_canonical_positions(known):
    matrix = similarity(*known)
    five = unmapped(matrix, alignment.CANONICAL_POINTS)
    moved = five - five.min(axis=0) + 40 / known[0]
    height, width = np.ceil(moved.max(axis=0) + 40 / known[0]).astype(int)[::-1]
    found = alignment.alignment_matrix(moved)
    photo = blob_photo(moved, (height, width), 4 / known[0])
    aligned = alignment.align(photo, found).astype(float)
    y, x = np.mgrid[: aligned.shape[0], : aligned.shape[1]]
    for px, py in alignment.CANONICAL_POINTS:
        near = (x - px) ** 2 + (y - py) ** 2 < 10**2
        weight = np.where(near, aligned - 20, 0)
        centre = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
        np.testing.assert_allclose(centre, (px, py), atol=0.25)


@pytest.mark.parametrize("shape", [(218, 178), (218, 178, 3)])
def test_an_aligned_photo_stays_as_it_is(shape):
    photo = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    matrix = similarity(1, 0, 0, 0)
    np.testing.assert_array_equal(alignment.align(photo, matrix), photo)


@pytest.mark.parametrize("size", [(30, 20), (218, 178), (1000, 700)])
@pytest.mark.parametrize("known", [(0.2, 0.1, 5, 5), (0.77, -0.3, 20, 9), (2.5, 0.5, -40, 0)])
def test_grey_and_colour_give_the_canvas_and_agree(size, known):
    rng = np.random.default_rng(2)
    channels = [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(3)]
    matrix = similarity(*known)
    colour = alignment.align(np.dstack(channels), matrix)
    assert (colour.shape, colour.dtype) == ((218, 178, 3), np.uint8)
    for i, channel in enumerate(channels):
        grey = alignment.align(channel, matrix)
        assert (grey.shape, grey.dtype) == ((218, 178), np.uint8)
        np.testing.assert_array_equal(grey, colour[..., i])


@pytest.mark.parametrize("factor", [2, 3, 5, 8])
def test_a_large_photo_is_averaged_block_by_block(factor):
    rng = np.random.default_rng(factor)
    photo = rng.integers(0, 256, (218 * factor, 178 * factor), dtype=np.uint8)
    blocks = photo.reshape(218, factor, 178, factor).mean(axis=(1, 3))
    shift = 0.5 / factor - 0.5  # pixel centres lie at whole numbers
    aligned = alignment.align(photo, similarity(1 / factor, 0, shift, shift))
    assert np.abs(aligned - blocks).max() <= 1


def area_average(photo, matrix, steps=12):
    """Each canvas pixel as the mean of the photo below it, by many samples."""
    offsets = (np.arange(steps) + 0.5) / steps - 0.5
    inverse = cv2.invertAffineTransform(matrix)
    total = np.zeros((218, 178))
    y, x = np.mgrid[:218, :178].astype(float)
    for dy in offsets:
        for dx in offsets:
            place = mapped(inverse, np.stack([x + dx, y + dy], axis=-1)).round().astype(int)
            column = place[..., 0].clip(0, photo.shape[1] - 1)
            total += photo[place[..., 1].clip(0, photo.shape[0] - 1), column]
    return total / steps**2


@pytest.mark.parametrize(
    "known", [(0.31, 0.0, -20, -10), (0.17, 0.35, 40, -30), (0.36, -0.2, 0, 0)]
)
@pytest.mark.parametrize("period", [2, 3, 4])
def test_fine_stripes_of_a_large_photo_do_not_alias(known, period):
    y, x = np.mgrid[:1300, :1100]
    photo = np.where((x + y) // (period / 2) % 2 == 0, 250, 5).astype(np.uint8)
    matrix = similarity(*known)
    inner = (slice(60, 160), slice(60, 120))
    averaged = area_average(photo, matrix)[inner]
    aligned = alignment.align(photo, matrix)[inner].astype(float)
    assert averaged.std() < 15  # no pattern is left to see; without averages it is above 40
    assert np.abs(aligned - averaged).mean() < 15
    assert aligned.std() < 10


@pytest.mark.parametrize("known", [(0.31, 0.0, -20, -10), (0.17, 0.35, 40, -30)])
def test_what_is_large_enough_to_see_stays_in_place(known):
    y, x = np.mgrid[:1300, :1100]
    coarse = 9 / known[0]
    photo = (128 + 100 * np.sin(x / coarse) * np.cos(y / coarse)).astype(np.uint8)
    matrix = similarity(*known)
    inner = (slice(60, 160), slice(60, 120))
    averaged = area_average(photo, matrix)[inner]
    aligned = alignment.align(photo, matrix)[inner].astype(float)
    assert averaged.std() > 30
    assert np.abs(aligned - averaged).max() < 4


def test_beyond_the_photo_its_border_is_repeated():
    photo = np.zeros((50, 40), np.uint8)
    photo[:, 0], photo[:, -1], photo[0], photo[-1] = 50, 100, 150, 200
    aligned = alignment.align(photo, similarity(1, 0, 60, 80))
    assert (aligned[90:120, :60] == 50).all()
    assert (aligned[90:120, 101:] == 100).all()
    assert (aligned[:80, 65:95] == 150).all()
    assert (aligned[131:, 65:95] == 200).all()


@pytest.mark.parametrize("known", [(1e-4, 0, 0, 0), (1.0, 0, 1e6, -1e6), (500.0, 1.0, 0, 0)])
def test_an_extreme_transform_still_gives_a_canvas(known):
    photo = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    assert alignment.align(photo, similarity(*known)).shape == (218, 178, 3)


def test_far_beyond_the_photo_its_nearest_pixel_is_repeated():
    photo = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (alignment.align(photo, similarity(1, 0, 50_000, -50_000)) == photo[-1, 0]).all()
    assert (alignment.align(photo, similarity(1, 0, -50_000, 50_000)) == photo[0, -1]).all()


# Prints a digest of what the image functions give for photos of all kinds.
DIGEST = """
import hashlib, sys
from pathlib import Path
import cv2, numpy as np
from faceverify.faces import alignment, aligned_photos
cv2.setNumThreads(int(sys.argv[1]))
print(cv2.checkHardwareSupport(11))  # CV_CPU_AVX2
rng = np.random.default_rng(4)
total = hashlib.sha256()
pictures = [aligned_photos.decode(Path(name).read_bytes()) for name in sys.argv[2:]]
pictures += [rng.integers(0, 256, size, dtype=np.uint8) for size in
             [(112, 92), (1301, 1099, 3), (640, 480, 3), (61, 47), (2000, 1500)]]
for picture in pictures:
    total.update(aligned_photos.to_canvas(picture).tobytes())
    total.update(picture.tobytes())
    for scale in (0.137, 0.2, 0.5, 0.731, 1.0, 1.94, 3.3):
        for angle in (0.0, 0.1, -0.7):
            a, b = scale * np.cos(angle), scale * np.sin(angle)
            matrix = np.array([(a, -b, 11.3), (b, a, -7.7)])
            total.update(alignment.align(picture, matrix).tobytes())
print(total.hexdigest())
"""


def digest(names, threads="1", **environment):
    result = subprocess.run(
        [sys.executable, "-c", DIGEST, threads, *names],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


@pytest.fixture(scope="module")
def photo_files(sample):
    found = sample_photos(sample, 40, 1).values()
    return [str(sample / "img_align_celeba" / name) for (name,) in list(found)[::10]]


@pytest.mark.parametrize("disabled", ["AVX2,FMA3,AVX", "AVX512-SKX,AVX2,FMA3,AVX,FP16,SSE4.2"])
def test_bytes_do_not_depend_on_the_processors_instructions(photo_files, disabled):
    has_avx2, plain = digest(photo_files, OPENCV_CPU_DISABLE=disabled)
    assert has_avx2 == "False"
    assert digest(photo_files)[1] == plain


def test_bytes_do_not_depend_on_the_number_of_threads(photo_files):
    assert digest(photo_files, threads="4") == digest(photo_files, threads="1")
