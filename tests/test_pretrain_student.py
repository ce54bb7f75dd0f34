"""Tests of pretrain/: the student's network, its steps and its checkpoint."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import checkpoint
import student as students
from faceverify.base.errors import InputError
from faceverify.model.network import cut_network
from pretraining import SHIPPED, SMALLEST, same, settings


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


# Checkpoints


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
