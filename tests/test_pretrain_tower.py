"""Tests of pretrain/: batches and loss of a tower."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import people
from faceverify.faces.aligned_photos import view_corner
from faceverify.model.network import build_brain
from pretraining import SHIPPED, settings


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


def test_a_cut_brain_gives_what_the_whole_one_gives_at_that_layer(train_tower):
    whole = build_brain("InceptionV3", "mixed1", 96, None, seed=3)
    shorter = train_tower.cut(whole, "mixed0", 96)
    features = whole.get_layer("network").layers[-1]
    at_layer = keras.Model(features.input, features.get_layer("mixed0").output)
    canvas = np.random.default_rng(1).uniform(0, 255, (1, 218, 218, 3)).astype(np.float32)
    top, left = view_corner(96)
    view = canvas[:, top : top + 96, left : left + 96]
    # The published network's own scaling.
    expected = at_layer(keras.applications.inception_v3.preprocess_input(view.copy()))
    np.testing.assert_allclose(shorter(canvas), expected, atol=1e-5)
