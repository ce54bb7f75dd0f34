"""Tests of pretrain/: the published weights that a training starts from."""

import base64
import hashlib
import io
import tarfile

import numpy as np
import pytest

import start_weights
from faceverify.base.errors import InputError
from faceverify.model.network import build_brain


@pytest.fixture(scope="module")
def brain():
    return build_brain("InceptionV3", "mixed5", 75, None, 1)


@pytest.fixture(scope="module")
def published_weights(brain):
    """Random weights by the package's names, and one of a layer that the brain lacks."""
    rng = np.random.default_rng(1)
    weights = {}
    for layer in brain.get_layer("network").layers[-1].layers:
        kind, _, number = layer.name.rpartition("_")
        if not number.isdecimal():
            kind, number = layer.name, "0"
        for weight in layer.weights:
            name = f"{kind}_{int(number) + 1}/{weight.name}"
            weights[name] = rng.normal(size=weight.shape).astype(np.float32)
    names = sorted(weights)  # not in the order of the layers
    weights["dense_1/kernel"] = np.ones((5, 2), np.float32) * [-1, 1]
    return {name: weights[name] for name in [*names[:7], "dense_1/kernel", *names[7:]]}


def packed(folder, weights, extra=b""):
    """An archive as npm delivers it, of two shards that are cut inside an array."""
    entries, codes = [], b""
    for name, array in weights.items():
        low, step = float(array.min()), float(array.max() - array.min()) / 255
        shape = ",".join(str(side) for side in array.shape)
        entries.append(
            f'{{name:"{name}",shape:[{shape}],dtype:"float32",'
            f'quantization:{{min:{low!r},scale:{step!r},dtype:"uint8"}}}}'.replace(":0.", ":.")
        )
        codes += np.round((array - low) / step).astype(np.uint8).tobytes()
    codes += extra
    cut = len(codes) * 2 // 5
    home = start_weights.FOLDER
    files = {
        "package/package.json": "{}",
        f"{home}/model.min.js": f"!function(){{x={{weights:[{','.join(entries)}]}}}}();",
    }
    for i, part in enumerate((codes[:cut], codes[cut:]), start=1):
        text = base64.b64encode(part).decode()
        files[f"{home}/group1-shard{i}of2.min.js"] = f'!function(){{module.exports="{text}"}}();'
    archive = folder / "made.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as package:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            package.addfile(member, io.BytesIO(text.encode()))
    return archive


def stand_in_npm(folder, monkeypatch, *commands):
    """Put a command `npm` in the place of the real one."""
    npm = folder / "npm"
    npm.write_text("\n".join(["#!/bin/sh", *commands, ""]))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def deliver(folder, monkeypatch, archive):
    stand_in_npm(folder, monkeypatch, f"/bin/cp '{archive}' nsfwjs-4.4.0.tgz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(start_weights, "SHA256", digest)


def test_published_weights_come_back_to_half_a_step(
    brain, published_weights, tmp_path, monkeypatch
):
    deliver(tmp_path, monkeypatch, packed(tmp_path, published_weights))
    found = start_weights.published()
    assert list(found) == list(published_weights)
    for name, array in published_weights.items():
        step = np.ptp(array) / 255
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], array, atol=step / 2 + 1e-6, err_msg=name)
    ordered = start_weights.in_order(found, brain)
    assert len(ordered) == len(brain.weights)
    for array, weight in zip(ordered, brain.weights, strict=True):
        layer = weight.path.split("/")[-2]
        number = int(layer.split("_")[-1]) if layer[-1].isdecimal() else 0
        name = f"{layer.rstrip('_0123456789')}_{number + 1}/{weight.name}"
        np.testing.assert_array_equal(array, found[name])


def test_a_package_with_more_numbers_than_it_lists_is_refused(
    published_weights, tmp_path, monkeypatch
):
    few = {name: published_weights[name] for name in list(published_weights)[:20]}
    deliver(tmp_path, monkeypatch, packed(tmp_path, few, extra=b"\0"))
    total = sum(array.size for array in few.values())
    with pytest.raises(InputError, match=f"holds {total + 1} numbers, not {total}$"):
        start_weights.published()


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (["echo text > nsfwjs-4.4.0.tgz"], r"nsfwjs@4.4.0 has SHA-256 \w{64}, not 585cd178"),
        (["exit 1"], "npm could not download nsfwjs@4.4.0; see above"),
        (None, "npm is not installed; install Node.js, which brings it"),
    ],
    ids=["another package", "no download", "no npm"],
)
def test_a_package_that_cannot_be_had_is_one_line(commands, message, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    if commands:
        stand_in_npm(tmp_path, monkeypatch, *commands)
    with pytest.raises(InputError, match=message) as refused:
        start_weights.published()
    assert "\n" not in str(refused.value)
