"""Tests of faceverify.base.cache, features and store: what is computed once, what is on disk."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

from faceverify.base import digests
from faceverify.base.cache import stored
from faceverify.base.errors import InputError, UnusableError
from faceverify.faces.aligned_photos import decode_aligned, to_canvas
from faceverify.model import features, network, store

SOURCE = Path(__file__).resolve().parents[1] / "src"
CUT = ("VGG16", "block1_pool", 64)  # the quickest to build
NORMED = ("MobileNetV2", "block_1_expand_relu", 64)  # has batch statistics
SIZES = network.Tower(4, [8, 6], [7, 5], dropout=0.1, l2=0.01)
PHOTOS = 35  # more than one batch, the last one smaller


def made_brain(seed=1, activation="relu"):
    """A small brain of its own, for what does not depend on the brain."""
    keras.utils.set_random_seed(seed)
    photo = keras.Input(network.PHOTO_SHAPE, name="photo")
    scaled = keras.layers.Rescaling(1 / 255, name="scaled")(photo)
    maps = keras.layers.Conv2D(4, 16, strides=16, activation=activation, name="maps")(scaled)
    return keras.Model(photo, maps, name="brain")


@pytest.fixture(scope="module")
def brain():
    return made_brain()


@pytest.fixture(scope="module")
def photos(sample):
    """The encoded bytes of some photos, by name."""
    paths = sorted((sample / "img_align_celeba").iterdir())[:PHOTOS]
    return {path.name: path.read_bytes() for path in paths}


def stores(cache):
    return sorted(cache.glob("*/rows.npy"))


# An array that is computed once


def test_an_array_is_computed_once_for_equal_inputs(tmp_path):
    rows = np.random.default_rng(1).random((5, 2, 3), np.float32)
    calls = []

    def batches():
        calls.append(1)
        yield from (rows[:2], rows[2:4], rows[4:])

    for _ in range(2):
        found = stored(tmp_path, ["some", b"thing"], rows.shape, batches)
        np.testing.assert_array_equal(found, rows)
        assert found.dtype == np.float32
    assert len(calls) == 1
    stored(tmp_path, ["some", b"other"], rows.shape, batches)
    assert len(calls) == 2
    assert len(stores(tmp_path)) == 2


def test_a_stored_array_cannot_be_changed_through_what_is_given(tmp_path):
    found = stored(tmp_path, ["x"], (1, 2), lambda: [np.ones((1, 2))])
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 2


def test_a_failed_computation_leaves_nothing(tmp_path):
    def failing():
        yield np.ones((1, 2))
        raise UnusableError("no photo")

    with pytest.raises(UnusableError):
        stored(tmp_path, ["x"], (2, 2), failing)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    found = stored(tmp_path, ["x"], (2, 2), lambda: [np.full((2, 2), 3.0)])
    np.testing.assert_array_equal(found, np.full((2, 2), 3.0))


def test_a_killed_computation_is_not_taken_for_a_complete_one(tmp_path):
    code = f"""
        import os, signal
        import numpy as np
        from pathlib import Path
        from faceverify.base.cache import stored

        def killed():
            yield np.ones((1, 2))
            os.kill(os.getpid(), signal.SIGKILL)

        stored(Path({str(tmp_path)!r}), ["x"], (2, 2), killed)
    """
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert stores(tmp_path) == []
    found = stored(tmp_path, ["x"], (2, 2), lambda: [np.full((2, 2), 3.0)])
    np.testing.assert_array_equal(found, np.full((2, 2), 3.0))


DAMAGES = {
    "emptied": lambda data: b"",
    "cut off": lambda data: data[:200],
    "one bit of a number": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "another shape": lambda data: data.replace(b"(20, 5)", b"(5, 20)"),
    "longer": lambda data: data + bytes(8),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_made_again(tmp_path, damage):
    rows = np.arange(100, dtype=np.float32).reshape(20, 5)

    def compute():
        return stored(tmp_path, ["x"], rows.shape, lambda: [rows])

    compute()
    (path,) = stores(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert path.read_bytes() != whole
    np.testing.assert_array_equal(compute(), rows)
    assert path.read_bytes() == whole


# Features of photos


def test_features_are_what_the_brain_says_of_each_photo(brain, photos, tmp_path):
    names = list(photos)[::-1]
    values, rows = features.brain_features(brain, names, photos.get, tmp_path)
    assert values.shape == (PHOTOS, 13, 13, 4)
    canvases = np.stack([to_canvas(decode_aligned(photos[name])) for name in names])
    expected = brain.predict(canvases, verbose=0)
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(values[rows], expected, atol=1e-6)


def test_the_brain_runs_once_for_equal_photos_by_whatever_names(brain, photos, tmp_path):
    names = list(photos)[:6]
    values, rows = features.brain_features(brain, names, photos.get, tmp_path)
    (path,) = stores(tmp_path)
    expected = np.array(values[rows])
    # A mark in what is stored shows whether it is read or computed again.
    rows_on_disk = np.load(path)
    rows_on_disk[:, 0, 0, 0] = 77
    np.save(path, rows_on_disk)
    digests.seal(path)
    expected[:, 0, 0, 0] = 77

    others = [f"paired-{name}" for name in reversed(names)]
    marked, marked_rows = features.brain_features(
        brain, others, lambda name: photos[name.removeprefix("paired-")], tmp_path
    )
    np.testing.assert_array_equal(marked[marked_rows][::-1], expected)
    again, again_rows = features.brain_features(made_brain(), names, photos.get, tmp_path)
    np.testing.assert_array_equal(again[again_rows], expected)
    assert stores(tmp_path) == [path]


def test_a_photo_with_two_names_has_one_row(brain, photos, tmp_path):
    first, second = list(photos)[:2]
    read = {"a": photos[first], "b": photos[second], "c": photos[first]}
    values, rows = features.brain_features(brain, ["a", "b", "c"], read.get, tmp_path)
    assert len(values) == 2
    assert rows[0] == rows[2] != rows[1]


def test_another_brain_or_photo_has_another_store(brain, photos, tmp_path):
    names = list(photos)[:3]
    brains = [brain, made_brain(seed=2), made_brain(activation="elu")]
    found = [features.brain_features(b, names, photos.get, tmp_path)[0] for b in brains]
    assert len(stores(tmp_path)) == 3
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    features.brain_features(brain, list(photos)[1:4], photos.get, tmp_path)
    assert len(stores(tmp_path)) == 4


def test_a_published_brain_that_is_built_again_has_the_same_fingerprint():
    prints = [features.fingerprint(network.build_brain(*CUT, None, seed)) for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_brains_with_equal_weights_that_differ_in_layers_have_other_fingerprints():
    # The cut before an activation has the same weights as the cut after it.
    cuts = (("MobileNetV2", "block_1_expand_BN", 64), NORMED)
    prints = {features.fingerprint(network.build_brain(*cut, None, 1)) for cut in cuts}
    assert len(prints) == 2


def test_brains_of_other_precision_have_other_fingerprints():
    prints = {features.fingerprint(made_brain())}
    for policy in ("mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            prints.add(features.fingerprint(made_brain()))
        finally:
            keras.config.set_dtype_policy("float32")
    assert len(prints) == 3


def test_a_damaged_photo_is_refused_and_nothing_is_stored(brain, photos, tmp_path):
    damaged = photos | {list(photos)[2]: b"no photo"}
    with pytest.raises(InputError, match=f"{list(photos)[2]}: not a whole JPEG or PNG"):
        features.brain_features(brain, list(photos), damaged.get, tmp_path)
    assert stores(tmp_path) == []


# A model on disk


def made_model(tower_seed=1, sizes=SIZES, cut=CUT):
    brain = network.build_brain(*cut, None, seed=3)
    tower = network.build_tower(brain.output_shape[1:], sizes, tower_seed)
    names = ("brain", "brain_layer", "brain_view")
    description = dict(zip(names, cut, strict=True)) | {"brain_trainable": False}
    return store.TrainedModel(brain, tower, description | sizes._asdict())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model and the folder that holds it."""
    folder = tmp_path_factory.mktemp("models") / "ja"
    made = made_model()
    store.save(folder, made)
    return made, folder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of the folder, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in saved[1].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("cut", [CUT, NORMED], ids=lambda cut: cut[0])
def test_a_loaded_model_gives_the_same_outputs_to_the_bit(photos, tmp_path, cut):
    made = made_model(cut=cut)
    # A trained brain's numbers, batch statistics among them, are not those of a new one.
    generator = np.random.default_rng(4)
    made.brain.set_weights(
        [w * generator.uniform(0.9, 1.1, w.shape) for w in made.brain.get_weights()]
    )
    store.save(tmp_path / "ja", made)
    loaded = store.load(tmp_path / "ja")
    assert loaded.description == made.description
    canvases = features.canvases(list(photos.values())[:3], list(photos)[:3])
    maps, expected = (m.brain.predict_on_batch(canvases) for m in (loaded, made))
    np.testing.assert_array_equal(maps, expected)
    found, expected = (m.tower.predict_on_batch(maps) for m in (loaded, made))
    for name in ("landmarks", "tail"):
        assert np.ptp(expected[name]) > 0
        np.testing.assert_array_equal(found[name], expected[name])


def test_saving_again_replaces_the_folder_as_a_whole(saved, tmp_path):
    folder = tmp_path / "ja"
    folder.mkdir()
    (folder / "old.txt").write_text("of another version")
    store.save(folder, saved[0])
    expected = {path.name: path.read_bytes() for path in saved[1].iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert set(expected) == {"model.json", "brain.weights.h5", "tower.weights.h5"}
    assert [path.name for path in tmp_path.iterdir()] == ["ja"]


def test_members_with_the_same_frozen_brain_have_the_same_brain_file(tmp_path):
    other_sizes = SIZES._replace(neck_units=[9], dropout=0.0)
    for name, made in {"ja": made_model(), "rai": made_model(2, other_sizes)}.items():
        store.save(tmp_path / name, made)
    brains, towers = (
        [(tmp_path / name / f"{part}.weights.h5").read_bytes() for name in ("ja", "rai")]
        for part in ("brain", "tower")
    )
    assert brains[0] == brains[1]
    assert towers[0] != towers[1]


@pytest.mark.parametrize("name", ["brain.weights.h5", "tower.weights.h5", "model.json"])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        store.load(copied)


@pytest.mark.parametrize("part", ["brain", "tower"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "broken tree", "the other's"])
def test_damaged_weights_are_named(copied, part, damage):
    path = copied / f"{part}.weights.h5"
    other = copied / ("tower.weights.h5" if part == "brain" else "brain.weights.h5")
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut off": data[: len(data) // 2],
            "broken tree": data.replace(b"TREE", b"EERT"),
            "the other's": other.read_bytes(),
        }[damage]
    )
    with pytest.raises(InputError, match=f"{part}.weights.h5 is not the file that model.json"):
        store.load(copied)


@pytest.mark.parametrize(
    "change",
    [
        {"brain": "Inception4"},
        {"brain": "__class__"},
        {"brain_layer": "mixed5"},
        {"brain_layer": "block1_conv1"},
        {"brain_view": 300},
        {"brain_view": "wide"},
        {"brain_view": 8},
        {"head_filters": 5},
        {"head_filters": 0},
        {"neck_units": 8},
        {"neck_units": [8, 7]},
        {"tail_units": [7]},
        {"tail_reads": "head"},
        {"tail_reads": "neck"},
        {"dropout": 2},
        {"l2": "much"},
    ],
    ids=str,
)
def test_a_description_that_fits_no_model_is_refused(copied, change):
    path = copied / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError):
        store.load(copied)


@pytest.mark.parametrize(
    "key", ["brain", "brain_layer", "brain_view", "brain_trainable", *network.Tower._fields]
)
def test_a_description_without_a_key_is_refused(copied, key):
    path = copied / "model.json"
    description = json.loads(path.read_text())
    del description[key]
    path.write_text(json.dumps(description))
    with pytest.raises(InputError, match="model.json"):
        store.load(copied)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"ja"'])
def test_a_description_that_is_none_is_refused(copied, text):
    (copied / "model.json").write_text(text)
    with pytest.raises(InputError, match="model.json"):
        store.load(copied)
