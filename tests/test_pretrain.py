"""Tests of pretrain/: what the student sees and learns, and the recipe as people run it."""

import ast
import base64
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import checkpoint
import label_faces
import people
import recipe
import start_weights
import student as students
import views
from faceverify.base.errors import InputError
from faceverify.faces import dlib_descriptor, landmarks
from faceverify.faces.aligned_photos import decode, to_canvas, view_corner
from faceverify.model.network import Tower, build_brain, build_tower, cut_network
from faceverify.runs import parameters
from helpers import PREDICTOR, encode, error_line, sample_photos

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = ROOT / "pretrain"
SCRIPTS = ("label_faces", "start_weights", "train_brain", "train_tower")
SHIPPED = yaml.safe_load((PRETRAIN / "params.yaml").read_text())
STILL = dict.fromkeys(SHIPPED["augment"], 0.0)  # no photo is changed, only mirrored
ALWAYS = SHIPPED["augment"] | dict.fromkeys(("grey", "blur", "jpeg", "small"), 1.0)
SMALLEST = 91  # side of the smallest view whose features are large enough for the head


def settings(**changes):
    return recipe.Recipe.model_validate(SHIPPED | changes)


@pytest.fixture(scope="module")
def photo_files(sample):
    """Ten photos of ten people."""
    names = [own[0] for own in sample_photos(sample, 10, 1).values()]
    return [sample / "img_align_celeba" / name for name in names]


@pytest.fixture(scope="module")
def photos(photo_files):
    return [decode(path.read_bytes()) for path in photo_files]


# What the student sees


@pytest.mark.parametrize("size", [75, 128, 218])
def test_a_view_is_what_the_brain_crops_from_its_canvas(photos, size):
    top, left = view_corner(size)
    for photo in photos:
        expected = to_canvas(photo)[top : top + size, left : left + size].astype(int)
        found = views.view_of(photo, size)
        assert found.dtype == np.uint8
        assert found.shape == (size, size, 3)
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("size", [75, 128, 218])
def test_a_photo_of_half_the_size_gives_nearly_the_same_view(photos, size):
    for photo in photos:
        half = cv2.resize(photo, (89, 109), interpolation=cv2.INTER_AREA)
        difference = views.view_of(half, size) - views.view_of(photo, size).astype(int)
        assert np.abs(difference).mean() < 8
        # Moved by a pixel or brightened, it would differ to one side.
        assert np.abs(difference.mean()) < 0.5


@pytest.mark.parametrize("amounts", [SHIPPED["augment"], ALWAYS], ids=["shipped", "always"])
@pytest.mark.parametrize("size", [75, 128])
def test_one_state_of_the_generator_gives_one_augmented_view(photos, amounts, size):
    how = recipe.Augment.model_validate(amounts)
    found = [
        [views.augmented(photo, size, how, np.random.default_rng(seed)) for photo in photos]
        for seed in (1, 1, 2)
    ]
    assert {view.dtype for view in found[0]} == {np.dtype(np.uint8)}
    assert {view.shape for view in found[0]} == {(size, size, 3)}
    np.testing.assert_array_equal(found[0], found[1])
    assert not any(np.array_equal(a, b) for a, b in zip(found[0], found[2], strict=True))


@pytest.mark.parametrize("size", [75, 128])
def test_with_nothing_to_change_a_view_is_plain_or_mirrored(photos, size):
    how = recipe.Augment.model_validate(STILL)
    mirrored = set()
    for seed in range(8):
        photo = photos[seed]
        found = views.augmented(photo, size, how, np.random.default_rng(seed)).astype(int)
        mirrored.add(is_mirrored(found, photo))
    assert mirrored == {True, False}


def is_mirrored(view, photo):
    """Whether a view is the mirror image of the plain one; it must be one of the two."""
    plain = views.view_of(photo, view.shape[0])
    # Scaling by the light, which is 1 here, may round a number down.
    near = [np.abs(view.astype(int) - image).max() <= 1 for image in (plain, plain[:, ::-1])]
    assert sum(near) == 1
    return near[1]


# Batches


def batches(photo_files, epoch=0, order=None, **changes):
    """The batches of an epoch by index, made in some order; a photo's targets are its row."""
    targets = np.repeat(np.arange(len(photo_files), dtype=np.float32)[:, None], 128, axis=1)
    made = views.Views(photo_files, targets, settings(view=75, batch_size=3, **changes), epoch)
    return {i: made[i] for i in (range(len(made)) if order is None else order)}


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_is_the_same_in_whatever_order_batches_are_made(photo_files):
    forwards, backwards = batches(photo_files), batches(photo_files, order=(2, 0, 1, 0))
    assert list(forwards) == [0, 1, 2]
    assert all(same(forwards[i], backwards[i]) for i in range(3))
    seen, targets = forwards[0]
    assert seen.shape == (3, 75, 75, 3)
    assert seen.dtype == np.uint8
    assert targets.shape == (3, 128)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_gives_other_batches(photo_files, change):
    usual, other = batches(photo_files), batches(photo_files, **change)
    order, other_order = (
        [t[0] for i in range(3) for t in made[i][1].tolist()] for made in (usual, other)
    )
    assert order != other_order
    # One batch of all photos there are: the same ones, each seen in another way.
    views_of_one = [batches(photo_files[:1] * 3, order=[0], **some)[0][0] for some in ({}, change)]
    assert not np.array_equal(*views_of_one)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_uses_no_photo_twice(photo_files, epoch):
    made = batches(photo_files, epoch)
    rows = [row for _, targets in made.values() for row in targets[:, 0].tolist()]
    assert len(rows) == 9
    assert len(set(rows)) == 9


def test_targets_stay_with_their_photos(photo_files, photos):
    for seen, targets in batches(photo_files, augment=STILL).values():
        for view, row in zip(seen, targets[:, 0], strict=True):
            is_mirrored(view, photos[int(row)])


# Targets


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_targets_lie_between_a_photo_and_the_mean_of_its_person(share):
    rng = np.random.default_rng(1)
    identities = np.array([7, 3, 7, 12, 3, 7])
    descriptors = rng.normal(size=(6, 128)).astype(np.float32)
    found = people.mixed_with_person(descriptors, identities, share)
    assert found.dtype == np.float32
    for i, person in enumerate(identities):
        mean = descriptors[identities == person].astype(float).mean(axis=0)
        expected = descriptors[i] + share * (mean - descriptors[i])
        np.testing.assert_allclose(found[i], expected, atol=1e-6)


# The tower


@pytest.fixture(scope="module")
def train_tower():
    # Not at the top: it starts TensorFlow in its deterministic mode.
    import train_tower

    return train_tower


def test_the_nearest_are_those_of_the_least_distance(train_tower):
    descriptors = np.random.default_rng(1).normal(size=(30, 128)).astype(np.float32)
    apart = np.linalg.norm(descriptors[:, None] - descriptors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    expected = np.sort(np.argsort(apart, axis=1)[:, :4], axis=1)
    np.testing.assert_array_equal(train_tower.nearest(descriptors, 4), expected)


def test_the_angles_are_held_to_the_distances_of_all_and_once_more_of_partners(train_tower):
    rng = np.random.default_rng(1)
    descriptors, tails = rng.normal(size=(2, 6, 128)).astype(np.float32)
    units = tails.astype(float) / np.linalg.norm(tails.astype(float), axis=1, keepdims=True)
    thetas = np.arccos(np.clip(units @ units.T, -1, 1))
    apart = np.linalg.norm(descriptors[:, None].astype(float) - descriptors[None], axis=2)
    misses = (thetas - apart) ** 2
    partners = [misses[i, (i + 3) % 6] for i in range(6)]
    found = train_tower.angles_as_distances(descriptors, tails)
    np.testing.assert_allclose(found, misses.mean(axis=1) + partners, rtol=1e-4)


def test_a_tower_at_the_right_angles_has_no_loss_and_a_finite_gradient(train_tower):
    directions = np.deg2rad([0, 20, 45, 90]).astype(np.float32)
    tails = tf.Variable(np.stack([np.cos(directions), np.sin(directions)], axis=1))
    with tf.GradientTape() as tape:
        # Points on a line lie as far apart as their directions.
        loss = train_tower.angles_as_distances(tf.constant(directions[:, None]), tails)
    np.testing.assert_allclose(loss, 0, atol=1e-5)
    assert np.isfinite(tape.gradient(loss, tails)).all()


@pytest.fixture
def tower_batches(train_tower):
    """Batches of 40 made-up photos in 2 views, whose only feature is their row; and the photos."""
    rng = np.random.default_rng(1)
    descriptors = rng.normal(size=(40, 128)).astype(np.float32)
    points = rng.integers(0, 170, (40, 136))
    photos = people.LabelledPhotos(np.arange(40), np.arange(40) // 2, descriptors, points)
    rows = np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1)
    how = SHIPPED["tower"] | {"views": 2, "batch_size": 8, "near": 3}
    return train_tower.Batches([rows, rows + 100], photos, settings(tower=how), 1), photos


def test_a_batch_is_photos_and_a_near_partner_of_each(tower_batches, train_tower):
    batches, photos = tower_batches
    near = train_tower.nearest(photos.descriptors, 3)
    drawn = []
    for i in range(len(batches)):
        rows = batches[i][0].reshape(-1).astype(int) % 100
        drawn += rows[:4].tolist()
        assert all(b in near[a] for a, b in zip(rows[:4], rows[4:], strict=True))
        np.testing.assert_array_equal(batches[i][1]["tail"], photos.descriptors[rows])
    assert sorted(drawn) == list(range(40))


def test_landmarks_are_wanted_of_unchanged_photos_only(tower_batches):
    batches, photos = tower_batches
    span = np.ptp(photos.landmarks, axis=0)
    for i in range(len(batches)):
        seen, wanted, weight = batches[i]
        rows, views = np.divmod(seen.reshape(-1).astype(int), 100)[::-1]
        np.testing.assert_array_equal(weight["landmarks"], views == 0)
        expected = (photos.landmarks[rows] - photos.landmarks.min(axis=0)) / span
        np.testing.assert_allclose(wanted["landmarks"], expected, atol=1e-6)


def test_batches_are_the_same_in_any_order_and_others_in_the_next_epoch(tower_batches):
    batches, _ = tower_batches
    first, again = batches[0][0], [batches[i][0] for i in (3, 0)][1]
    np.testing.assert_array_equal(first, again)
    batches.start(1)
    assert not np.array_equal(first, batches[0][0])
    batches.start(0)
    np.testing.assert_array_equal(first, batches[0][0])


# The student


@pytest.fixture
def normalizations():
    """Keras's batch normalization and the fused one, with the same numbers; and a batch."""
    rng = np.random.default_rng(1)
    batch = rng.normal(2, rng.uniform(0.5, 3, 6), size=(3, 4, 5, 6)).astype(np.float32)
    kinds = (keras.layers.BatchNormalization, students.FusedNormalization)
    layers = [kind(scale=False, momentum=0.9) for kind in kinds]
    for layer in layers:
        layer.build(batch.shape)
        # beta, moving mean, moving variance
        layer.set_weights([np.full(6, 0.5), np.linspace(-1, 1, 6), np.linspace(0.5, 2, 6)])
    return layers, batch


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_fused_normalization_gives_what_batch_normalization_gives(
    normalizations, trainable, training
):
    layers, batch = normalizations
    for layer in layers:
        layer.trainable = trainable
    expected, found = (layer(batch, training=training) for layer in layers)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_fused_normalization_keeps_moving_statistics_while_it_learns(normalizations):
    layers, batch = normalizations
    beta, mean, variance = layers[0].get_weights()
    for layer in layers:
        layer(batch, training=True)
    plain, fused = layers
    np.testing.assert_allclose(fused.beta, beta)
    np.testing.assert_allclose(fused.moving_mean, plain.moving_mean, rtol=1e-5, atol=1e-7)
    assert not np.allclose(fused.moving_mean, mean)
    # The fused kernel gives the unbiased variance, Keras the mean square.
    numbers = batch[..., 0].size
    expected, found = (layer.moving_variance.numpy() - 0.9 * variance for layer in layers)
    np.testing.assert_allclose(found, expected * numbers / (numbers - 1), rtol=1e-5)


@pytest.mark.parametrize("trainable", [True, False])
def test_fused_normalization_keeps_its_statistics_where_it_does_not_learn(
    normalizations, trainable
):
    (_, fused), batch = normalizations
    fused.trainable = trainable
    before = fused.get_weights()
    fused(batch, training=not trainable)
    assert same(fused.get_weights(), before)


@pytest.mark.parametrize("training", [True, False])
def test_fused_normalization_of_bfloat16_keeps_its_statistics_in_float32(normalizations, training):
    (_, whole), batch = normalizations
    half = students.FusedNormalization(scale=False, momentum=0.9, dtype="mixed_bfloat16")
    half.build(batch.shape)
    half.set_weights(whole.get_weights())
    rounded = tf.cast(batch, "bfloat16")
    found = half(rounded, training=training)
    expected = whole(tf.cast(rounded, "float32"), training=training)
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, "float32"), expected, rtol=0.01, atol=0.01)
    for a, b in zip(half.get_weights(), whole.get_weights(), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_network_with_fused_normalization_gives_what_it_gave():
    network = cut_network("InceptionV3", "mixed0", 75, None)
    rng = np.random.default_rng(1)
    network.set_weights(
        [rng.uniform(0.5, 1.5, w.shape) - 0.9 * (w.ndim == 4) for w in network.get_weights()]
    )
    fused = students.fused(network)
    fused.set_weights(network.get_weights())
    assert fused.count_params() == network.count_params()
    kinds = [type(layer) for layer in fused.layers[-1].layers]
    assert keras.layers.BatchNormalization not in kinds
    assert kinds.count(students.FusedNormalization) == 12
    batch = rng.integers(256, size=(2, 75, 75, 3)).astype(np.float32)
    found, expected = (made.predict_on_batch(batch) for made in (fused, network))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_the_student_gives_a_descriptor_and_trains_by_its_squared_distance():
    student = students.build(settings(view=SMALLEST, precision="float32"))
    students.prepare(student, settings(), steps=100)
    assert student.output_shape == (None, 128)
    assert isinstance(student.optimizer, students.FiniteAdamW)
    rng = np.random.default_rng(1)
    wanted, given = rng.normal(size=(2, 5, 128)).astype(np.float32)
    expected = [np.linalg.norm(a - b) ** 2 for a, b in zip(wanted, given, strict=True)]
    np.testing.assert_allclose(students.squared_distance(wanted, given), expected, rtol=1e-5)
    rates = [float(student.optimizer._learning_rate(step)) for step in (0, 5, 100)]
    assert rates == pytest.approx([0, SHIPPED["lr"], 0], abs=1e-9)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_take_no_part_in_a_step(number):
    rng = np.random.default_rng(1)
    start = [rng.normal(size=(4, 3)), rng.normal(size=3)]
    # The steps in which there is such a number, and where.
    spoiled = {1: (0, (2, 1)), 2: (1, 0)}
    options = {"learning_rate": 0.1, "weight_decay": 0.02, "global_clipnorm": 0.5}
    ends = []
    for kind, stand_in in ((students.FiniteAdamW, number), (keras.optimizers.AdamW, 0.0)):
        optimizer = kind(**options)
        variables = [keras.Variable(value) for value in start]
        drawn = np.random.default_rng(2)
        for step in range(4):
            gradients = [drawn.normal(size=value.shape).astype(np.float32) for value in start]
            if step in spoiled:
                array, place = spoiled[step]
                gradients[array][place] = stand_in
            optimizer.apply([tf.constant(g) for g in gradients], variables)
        ends.append([variable.numpy() for variable in variables])
    for found, expected, before in zip(*ends, start, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert (np.abs(found - before) > 1e-3).all()


# The published weights


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
        (None, "npm is not installed; or set `start: false`"),
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


# Labels of single photos


def test_a_photo_of_half_the_size_is_described_like_the_whole_one(sample, photos, tmp_path):
    models = sample / PREDICTOR, sample / dlib_descriptor.NETWORK
    found = []
    for size in ((178, 218), (89, 109)):
        path = tmp_path / f"{size[0]}.png"
        photo = cv2.resize(photos[0], size, interpolation=cv2.INTER_AREA)
        path.write_bytes(encode(".png", photo))
        found.append(label_faces.describe(path, *models))
    (points, descriptor), (other_points, other_descriptor) = found
    assert np.linalg.norm(descriptor - other_descriptor) < dlib_descriptor.THRESHOLD / 2
    assert np.abs(points - other_points).mean() < 2  # pixels of the whole photo, both


def test_a_photo_without_a_found_face_is_described_by_its_usual_place(sample, tmp_path):
    path = tmp_path / "grey.png"
    path.write_bytes(encode(".png", np.full((218, 178, 3), 128, np.uint8)))
    points, found = label_faces.describe(path, sample / PREDICTOR, sample / dlib_descriptor.NETWORK)
    assert points.shape == (136,)
    assert found.shape == (128,)
    assert np.isfinite(found).all()


def test_a_damaged_photo_is_one_line_that_names_it(sample, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"cut.png: not a whole JPEG or PNG file$"):
        label_faces.describe(
            tmp_path / "cut.png", sample / PREDICTOR, sample / dlib_descriptor.NETWORK
        )


# The recipe, as people run it

PEOPLE, PHOTOS_EACH, UNSEEN = 5, 4, 2
TINY = SHIPPED | {
    "sets": ["tiny"],
    "start": False,
    "view": SMALLEST,
    "epochs": 2,
    "batch_size": 4,
    "precision": "float32",
    "tower": SHIPPED["tower"] | {"views": 2, "epochs": 2, "batch_size": 4, "near": 3},
}
MEMBER = "rai"  # whose tower is trained here


def command_line(name):
    """The arguments of a script in dvc.yaml."""
    return [f"{name}.py", MEMBER] if name == "train_tower" else [f"{name}.py"]


def shape_of(member):
    """The sizes of the tower that a member's weights are for."""
    sizes = (
        SHIPPED["members"][member][key] for key in ("head_filters", "neck_units", "tail_units")
    )
    return Tower(*sizes, dropout=0.0, l2=0.0)


def make_project(folder, **changes):
    """The recipe with other parameters, and no data."""
    folder.mkdir(exist_ok=True)
    for path in (*PRETRAIN.glob("*.py"), PRETRAIN / "dvc.yaml", PRETRAIN / "held_out.txt"):
        shutil.copy(path, folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(TINY | changes))
    (folder / "data").mkdir()
    return folder


def command(name, folder):
    """How dvc.yaml runs a script, for `subprocess`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return {
        "args": [sys.executable, *command_line(name)],
        "cwd": folder,
        "env": environment,
        "text": True,
    }


def run(name, folder):
    return subprocess.run(**command(name, folder), capture_output=True)


def printed(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def labelled(sample, tmp_path_factory):
    """A tiny project with labels and the weights to start from."""
    folder = make_project(tmp_path_factory.mktemp("pretrain") / "labelled")
    tiny = folder / "data/tiny"
    (tiny / "img_align_celeba").mkdir(parents=True)
    people = sample_photos(sample, PEOPLE, PHOTOS_EACH)
    lines = [f"{name} {person}" for person, names in people.items() for name in names]
    (tiny / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    for line in lines:
        shutil.copy(sample / "img_align_celeba" / line.split()[0], tiny / "img_align_celeba")
    for model in (landmarks.PREDICTOR, dlib_descriptor.NETWORK):
        (folder / "data" / model).symlink_to(sample / model)
    unseen = list(people)[:UNSEEN]
    (folder / "held_out.txt").write_text("".join(f"{person}\n" for person in unseen))
    assert "20 photos of 5 people labelled" in printed(run("label_faces", folder))
    printed(run("start_weights", folder))
    return folder


@pytest.fixture(scope="module")
def trained(labelled):
    """The project after an undisturbed training, and what that printed."""
    folder = labelled.with_name("trained")
    shutil.copytree(labelled, folder, symlinks=True)
    return folder, printed(run("train_brain", folder))


@pytest.fixture(scope="module")
def with_tower(trained):
    """The project after the tower's training, and what that printed."""
    folder, _ = trained
    return folder, printed(run("train_tower", folder))


def test_labels_are_dlibs_landmarks_and_descriptors_of_the_photos(labelled):
    rows = (labelled / "labels/photos.csv").read_text().splitlines()
    descriptors = np.load(labelled / "labels/descriptors.npy")
    numbers = np.load(labelled / "labels/landmarks.npy")
    identities = (labelled / "data/tiny/identity_CelebA.txt").read_text().splitlines()
    expected = [f"tiny/img_align_celeba/{line.replace(' ', ',')}" for line in identities]
    assert rows == ["photo,identity", *expected]
    assert descriptors.shape == (20, 128)
    assert descriptors.dtype == np.float32
    for i in range(0, 20, PHOTOS_EACH):
        photo = decode((labelled / "data" / rows[i + 1].split(",")[0]).read_bytes())
        predictor, model = (
            labelled / "data" / name for name in (landmarks.PREDICTOR, dlib_descriptor.NETWORK)
        )
        points = landmarks.find_landmarks(photo, predictor, label_faces.USUAL_FACE)
        found = dlib_descriptor.describe(photo, points, model)
        np.testing.assert_allclose(descriptors[i], found, atol=1e-6)
        np.testing.assert_array_equal(numbers[i], landmarks.flatten(points))


def test_without_published_weights_the_start_is_drawn_from_the_seed(labelled):
    found, expected = (
        build_brain("InceptionV3", "mixed5", SMALLEST, None, TINY["seed"]) for _ in range(2)
    )
    found.set_weights([np.zeros_like(weight) for weight in found.get_weights()])
    found.load_weights(labelled / "start" / recipe.WEIGHTS)
    assert same(found.get_weights(), expected.get_weights())


def test_the_unseen_people_are_not_among_those_trained_on(trained):
    _, output = trained
    assert (
        "12 photos of 3 people to learn from; 2 unseen people with 8 photos, 12 genuine pairs"
        in output.splitlines()
    )


def test_the_trained_weights_are_those_of_a_brain_in_half_precision(trained):
    folder, _ = trained
    path = folder / "model" / recipe.WEIGHTS
    types = set()
    with h5py.File(path) as file:
        file.visititems(
            lambda _, item: types.add(item.dtype) if isinstance(item, h5py.Dataset) else None
        )
    assert types == {np.dtype(np.float16)}
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.sha256"]
    brain = build_brain("InceptionV3", "mixed5", SMALLEST, str(path), TINY["seed"])
    start = build_brain("InceptionV3", "mixed5", SMALLEST, None, TINY["seed"])
    pairs = list(zip(brain.get_weights(), start.get_weights(), strict=True))
    assert all(np.isfinite(found).all() for found, _ in pairs)
    assert not any(np.array_equal(found, before) for found, before in pairs)


def test_the_figures_are_those_of_the_last_epoch(trained):
    folder, output = trained
    figures = json.loads((folder / "metrics.json").read_text())
    assert list(figures) == [
        "loss",
        "val_distance",
        "val_auc",
        "val_best_accuracy",
        "val_tar_at_fmr_1pct",
    ]
    assert figures["loss"] > 0
    assert figures["val_distance"] > 0
    assert all(0 <= figures[f"val_{name}"] <= 1 for name in ("auc", "tar_at_fmr_1pct"))
    assert 0.5 <= figures["val_best_accuracy"] <= 1
    last = output.splitlines()[-1]
    assert last.startswith(f"epoch 2/2  loss {figures['loss']:.4f}  unseen people: ")
    assert f"AUC {figures['val_auc']:.4f}" in last
    curve = (folder / "plots/training/plots/metrics/val/auc.tsv").read_text().splitlines()
    assert curve[0].split("\t") == ["step", "auc"]
    assert len(curve) == 3
    assert not (folder / ".cache/checkpoint.npz").exists()


def kill_and_go_on(script, folder, made, output):
    """Kill a training after its first epoch and run it again; `output` is an undisturbed one's."""
    with subprocess.Popen(
        **command(script, folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        first = next(line for line in process.stdout if line.startswith("epoch 1/2"))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert first in output
    assert not made.exists()
    lines = printed(run(script, folder)).splitlines()
    assert "going on after epoch 1" in lines
    assert lines[-2:] == output.splitlines()[-2:]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(labelled, trained):
    undisturbed, output = trained
    folder = labelled.with_name("killed")
    shutil.copytree(labelled, folder, symlinks=True)
    kill_and_go_on("train_brain", folder, folder / "model", output)
    for name in (
        f"model/{recipe.WEIGHTS}",
        f"model/{recipe.WEIGHTS}.sha256",
        "metrics.json",
        "plots/training/plots/metrics/train/loss.tsv",
        "plots/training/plots/metrics/val/auc.tsv",
    ):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_the_towers_weights_are_those_of_its_member_in_half_precision(with_tower):
    folder, output = with_tower
    path = folder / "tower" / MEMBER / recipe.tower_weights(MEMBER)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.sha256"]
    with h5py.File(path) as file:
        types = set()
        file.visititems(lambda _, item: types.add(getattr(item, "dtype", None)))
    assert types - {None} == {np.dtype(np.float16)}
    shape = build_brain("InceptionV3", "mixed5", SMALLEST, None, 1).output_shape[1:]
    tower = build_tower(shape, shape_of(MEMBER), 1, str(path))
    assert all(np.isfinite(weight).all() for weight in tower.get_weights())
    figures = json.loads((folder / f"tower_metrics/{MEMBER}.json").read_text())
    assert f"AUC {figures['val_auc']:.4f}" in output.splitlines()[-1]
    assert output.splitlines()[-1].startswith(f"epoch 2/2  loss {figures['loss']:.4f}")
    assert not list((folder / ".cache").glob("*.npz"))


@pytest.mark.slow
def test_a_towers_killed_training_goes_on_to_the_same_weights(with_tower):
    undisturbed, output = with_tower
    folder = undisturbed.with_name("killed_tower")
    shutil.copytree(undisturbed, folder, symlinks=True)
    for made in ("tower", "tower_metrics", "plots/tower"):
        shutil.rmtree(folder / made)
    kill_and_go_on("train_tower", folder, folder / "tower", output)
    for name in (
        f"tower/{MEMBER}/{recipe.tower_weights(MEMBER)}",
        f"tower_metrics/{MEMBER}.json",
        f"plots/tower/{MEMBER}/plots/metrics/val/auc.tsv",
    ):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def dense(size):
    """A compiled model of one layer, whose optimizer remembers."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(size)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_checkpoint_brings_model_and_figures_back_to_a_run_of_its_hash_only(tmp_path):
    path, trained = tmp_path / "checkpoint.npz", dense(3)
    stored = checkpoint.Checkpoint(path, "one", trained)
    trained.fit(np.ones((4, 2)), np.ones((4, 3)), verbose=0)
    stored.finish_epoch({"loss": 1.5})
    taken_up, other = dense(3), dense(3)
    assert checkpoint.Checkpoint(path, "one", taken_up).history == [{"loss": 1.5}]
    state, expected = (m.variables + m.optimizer.variables for m in (taken_up, trained))
    assert same([np.asarray(v) for v in state], [np.asarray(v) for v in expected])
    before = other.get_weights()
    assert checkpoint.Checkpoint(path, "two", other).history == []
    assert same(other.get_weights(), before)
    stored.remove()
    assert not path.exists()


def test_a_damaged_checkpoint_is_one_line_with_the_remedy(tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.Checkpoint(path, "one", dense(3)).finish_epoch({"loss": 1.5})
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", b"PK"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="checkpoint.npz is damaged .*; delete it") as refused:
            checkpoint.Checkpoint(path, "one", dense(3))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["params.yaml", "params.faces.yaml"])
def test_each_member_starts_from_shipped_weights_of_its_own_tower(file):
    settings = parameters.load(ROOT / file)
    for name in settings.members:
        member = settings.member(name).model
        assert member.tower_weights == f"pretrained/{recipe.tower_weights(name)}"
        brain = build_brain(
            member.brain, member.brain_layer, member.brain_view, str(ROOT / member.brain_weights), 1
        )
        sizes = Tower(member.head_filters, member.neck_units, member.tail_units, 0.0, 0.0)
        assert sizes == shape_of(name)
        build_tower(brain.output_shape[1:], sizes, 1, str(ROOT / member.tower_weights))


def test_the_members_differ_in_head_neck_tail_and_loss():
    settings = parameters.load(ROOT / "params.yaml")
    members = [settings.member(name) for name in settings.members]
    for part in ("head_filters", "neck_units", "tail_units"):
        assert len({str(getattr(member.model, part)) for member in members}) > 1, part
    losses = {(member.gamma, member.delta, member.l2, member.dropout) for member in members}
    assert len(losses) == len(members)


# Mistakes


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_unknown_parameter_is_one_line(name, tmp_path):
    folder = make_project(tmp_path / "project", speed=3)
    line = error_line(run(name, folder))
    assert line == f"{name}.py: error: params.yaml: speed: unknown key"
    assert list((folder / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view": 74}, "view: "),
        ({"view": 219}, "view: "),
        ({"sets": []}, "sets: "),
        ({"sets": ["../elsewhere"]}, "sets.0: "),
        ({"person_share": 1.1}, "person_share: "),
        ({"lr": 0}, "lr: "),
        ({"precision": "float8"}, "precision: "),
        ({"start": 1}, "start: "),
        ({"augment": SHIPPED["augment"] | {"jpeg": 2}}, "augment.jpeg: "),
        ({"augment": SHIPPED["augment"] | {"zoom": 0}}, "augment.zoom: unknown key"),
        ({"tower": SHIPPED["tower"] | {"batch_size": 5}}, "tower.batch_size: "),
        ({"tower": SHIPPED["tower"] | {"near": 0}}, "tower.near: "),
        ({"members": {}}, "members: "),
        ({"members": {"../ja": SHIPPED["members"]["ja"]}}, "members.../ja"),
        ({"members": {"ja": SHIPPED["members"]["ja"] | {"tail_units": [3]}}}, "members.ja.tail_un"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_by_name(changes, message, tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(SHIPPED | changes))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^params.yaml: {message}"):
        recipe.read()


def test_a_missing_photo_set_is_one_line(tmp_path):
    folder = make_project(tmp_path / "project")
    line = error_line(run("label_faces", folder))
    assert line.startswith("label_faces.py: error: data/tiny/identity_CelebA.txt")


@pytest.mark.parametrize("name", [landmarks.PREDICTOR, dlib_descriptor.NETWORK])
def test_a_missing_dlib_model_is_one_line(name, tmp_path):
    folder = make_project(tmp_path / "project")
    (folder / "data/tiny").mkdir()
    (folder / "data/tiny/identity_CelebA.txt").write_text("000001.png 1\n")
    for model in {landmarks.PREDICTOR, dlib_descriptor.NETWORK} - {name}:
        (folder / "data" / model).touch()
    line = error_line(run("label_faces", folder))
    assert line.startswith(f"label_faces.py: error: pretrain/data/{name} is missing")
    assert not (folder / "labels").exists()


@pytest.mark.parametrize("name", ["train_brain", "train_tower"])
def test_training_without_labels_is_one_line(name, tmp_path):
    folder = make_project(tmp_path / "project")
    line = error_line(run(name, folder))
    assert line == f"{name}.py: error: labels/photos.csv is missing; run dvc repro"
    assert not (folder / "plots").exists()


def test_a_tower_of_a_name_that_is_no_member_is_one_line(tmp_path):
    folder = make_project(tmp_path / "project", members={"ja": SHIPPED["members"]["ja"]})
    line = error_line(run("train_tower", folder))
    assert line == f"train_tower.py: error: params.yaml has no member {MEMBER!r} in `members`"


# As DVC sees it


def stage(name):
    found = yaml.safe_load((PRETRAIN / "dvc.yaml").read_text())["stages"][name]
    return found.get("do", found)


def modules_of(script):
    """The script and every module of pretrain/ that it uses, also through others."""
    found, left = {script}, [script]
    while left:
        tree = ast.parse((PRETRAIN / left.pop()).read_text())
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        new = {f"{name}.py" for name in names if (PRETRAIN / f"{name}.py").is_file()} - found
        found |= new
        left += new
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stage_depends_on_its_script_and_the_modules_beside_it(name):
    deps = stage(name)["deps"]
    own = {dep for dep in deps if dep.endswith(".py") and not dep.startswith("../src/")}
    assert own == modules_of(f"{name}.py")
    assert deps == sorted(deps)
    *params, packages = stage(name)["params"]
    assert params == sorted(params)
    assert packages["../packages.yaml"] == sorted(packages["../packages.yaml"])
    key = " ${key}" if name == "train_tower" else ""
    assert stage(name)["cmd"] == f"PYTHONPATH=../src python {name}.py{key}"


def test_every_parameter_belongs_to_a_stage():
    used = {key.split(".")[0] for name in SCRIPTS for key in stage(name)["params"][:-1]}
    assert used == set(SHIPPED) == set(recipe.Recipe.model_fields)


def test_pretrain_is_a_dvc_project_of_its_own():
    tracked = ["git", "ls-files", "--error-unmatch", "pretrain/.dvc/config"]
    assert subprocess.run(tracked, cwd=ROOT, capture_output=True).returncode == 0
    assert (PRETRAIN / ".dvc/config").is_file()
    for arguments in (["stage", "list", "--all"], ["status"]):
        result = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "pretrain/" not in result.stdout
        assert not set(SCRIPTS) & set(result.stdout.split())
