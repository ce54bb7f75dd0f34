"""Tests of faceverify.model.losses, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from faceverify.data.landmark_range import LandmarkRange
from faceverify.faces.landmarks import interocular_distance, unflatten
from faceverify.model.losses import (
    ContrastiveLoss,
    landmark_error,
    landmark_loss,
    pairwise_accuracy,
)

DELTA = 0.8
PI = np.float32(np.pi)


def drawn(*shape, seed=3):
    return np.random.default_rng(seed).random(shape, np.float32)


def value_and_gradient(loss, target, predicted):
    predicted = tf.Variable(predicted)
    with tf.GradientTape() as tape:
        value = loss(tf.constant(target), predicted)
    return value.numpy(), tf.convert_to_tensor(tape.gradient(value, predicted)).numpy()


# Landmark loss


def test_landmark_loss_is_each_faces_euclidean_distance():
    target, predicted = drawn(7, 136), drawn(7, 136, seed=4)
    value, gradient = value_and_gradient(landmark_loss, target, predicted)
    difference = predicted.astype(np.float64) - target
    distance = np.sqrt((difference**2).sum(axis=1))
    np.testing.assert_allclose(value, distance, rtol=1e-6)
    np.testing.assert_allclose(gradient, difference / distance[:, None], rtol=1e-4, atol=1e-6)


def test_an_exact_prediction_has_no_landmark_loss_and_no_gradient():
    target = drawn(3, 136)
    predicted = target.copy()
    predicted[1] += 0.5
    value, gradient = value_and_gradient(landmark_loss, target, predicted)
    np.testing.assert_allclose(value[[0, 2]], 0, atol=1e-6)
    np.testing.assert_array_equal(gradient[[0, 2]], 0)
    assert value[1] == pytest.approx(0.5 * np.sqrt(136), rel=1e-5)
    assert np.isfinite(gradient).all()


def test_landmark_loss_of_a_small_difference_is_not_rounded_away():
    target = np.zeros((1, 136), np.float32)
    predicted = np.full((1, 136), 1e-5, np.float32)
    value, _ = value_and_gradient(landmark_loss, target, predicted)
    assert value[0] == pytest.approx(1e-5 * np.sqrt(136), rel=1e-4)


# Contrastive loss


@pytest.mark.parametrize(
    ("same", "theta", "expected", "slope"),
    [
        (1, 0, 0, 0),
        (1, 0.3, 0.09, 0.6),
        (1, DELTA, DELTA**2, 2 * DELTA),
        (1, PI, np.pi**2, 2 * np.pi),
        (0, 0, DELTA**2, -2 * DELTA),
        (0, 0.3, 0.25, -1),
        (0, DELTA, 0, 0),
        (0, 0.9, 0, 0),
        (0, PI, 0, 0),
    ],
)
def test_contrastive_loss_pulls_one_person_together_and_pushes_others_to_delta(
    same, theta, expected, slope
):
    loss = ContrastiveLoss(DELTA)
    value, gradient = value_and_gradient(loss, np.float32([same]), np.float32([theta]))
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert gradient[0] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_contrastive_loss_is_the_mean_over_the_batch():
    theta = PI * drawn(50)
    same = np.float32(drawn(50, seed=4) < 0.4)
    expected = same * theta**2 + (1 - same) * np.maximum(0, DELTA - theta) ** 2
    loss = ContrastiveLoss(DELTA)
    np.testing.assert_allclose(loss.call(same, theta), expected, rtol=1e-5, atol=1e-7)
    assert float(loss(same, theta)) == pytest.approx(expected.mean(), rel=1e-5)


def test_contrastive_loss_keeps_delta_in_keras_configuration():
    stored = keras.losses.serialize(ContrastiveLoss(1.3, name="apart"))
    loss = keras.losses.deserialize(stored)
    assert isinstance(loss, ContrastiveLoss)
    assert (loss.delta, loss.name) == (1.3, "apart")


# Pairwise accuracy


@pytest.mark.parametrize(
    ("same", "theta", "right"),
    [(1, 0.49, 1), (1, 0.5, 0), (1, 0.51, 0), (0, 0.49, 0), (0, 0.5, 1), (0, 0.51, 1)],
)
def test_theta_below_the_threshold_says_same_and_at_it_different(same, theta, right):
    metric = pairwise_accuracy(0.5)
    metric.update_state(np.float32([same]), np.float32([theta]))
    assert float(metric.result()) == right


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.1, 2.7])
def test_theta_at_a_threshold_that_float32_rounds_counts_as_different(threshold):
    metric = pairwise_accuracy(threshold)
    metric.update_state(np.float32([0, 1]), np.full(2, threshold, np.float32))
    assert float(metric.result()) == 0.5
    below = np.nextafter(np.float32(threshold), np.float32(-1))
    metric.reset_state()
    metric.update_state(np.float32([1]), np.float32([below]))
    assert float(metric.result()) == 1


def test_accuracy_is_the_share_of_pairs_over_batches_of_any_size():
    theta = PI * drawn(50)
    same = np.float32(drawn(50, seed=4) < 0.4)
    metric = pairwise_accuracy(1.0)
    for part in (slice(0, 32), slice(32, 49), slice(49, 50)):
        metric.update_state(same[part], theta[part])
    assert float(metric.result()) == pytest.approx(np.mean((theta < 1.0) == (same == 1)))


# Landmark error


def limits_of_faces():
    """A range in which the face is at one place in x and at another in y."""
    generator = np.random.default_rng(8)
    centre = np.repeat([90.0, 120.0], 68)
    return LandmarkRange.fit(centre + generator.normal(scale=20, size=(30, 136)))


def test_landmark_error_is_the_mean_distance_over_the_interocular_distance_in_pixels():
    limits = limits_of_faces()
    target, predicted = drawn(9, 136), drawn(9, 136, seed=4)
    truth, guess = (unflatten(limits.denormalize(x)) for x in (target, predicted))
    errors = np.linalg.norm(guess - truth, axis=-1).mean(axis=-1) / interocular_distance(truth)
    metric = landmark_error(limits)
    metric.update_state(target[:6], predicted[:6])
    metric.update_state(target[6:], predicted[6:])
    assert float(metric.result()) == pytest.approx(errors.mean(), rel=1e-5)


def test_landmark_error_by_hand():
    # One unit is one pixel here: every point is 3 right and 4 below of where it should be, and
    # the eyes are 50 apart.
    limits = LandmarkRange(np.zeros(136), np.repeat([218 / 178, 1.0], 68))
    target = np.zeros((1, 136), np.float32)
    target[0, [36, 45]] = 10, 60
    predicted = target + np.repeat(np.float32([3, 4]), 68)
    metric = landmark_error(limits)
    metric.update_state(target, predicted)
    assert float(metric.result()) == pytest.approx(5 / 50, rel=1e-5)


def test_an_exact_prediction_has_no_landmark_error():
    target = drawn(4, 136)
    metric = landmark_error(limits_of_faces())
    metric.update_state(target, target)
    assert float(metric.result()) == 0
