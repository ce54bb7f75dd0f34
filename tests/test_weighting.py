"""Tests of faceverify.evaluation.weighting: other weights of the ensemble, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from faceverify.evaluation import weighting


def made_thetas(noise, pairs=2000, seed=4):
    """Members' scores with so much noise each, and which pairs are genuine."""
    random = np.random.default_rng(seed)
    same = random.random(pairs) < 0.5
    clean = np.where(same, 0.5, 0.9)
    return np.stack([random.normal(clean, own) for own in noise]), same


def test_the_fit_matches_scikit_learn():
    thetas, same = made_thetas((0.1, 0.2, 0.3))
    strength = 1 / (2 * weighting.RIDGE * len(same))
    scaled = thetas.T / thetas.std()
    reference = LogisticRegression(C=strength, tol=1e-10, max_iter=1000).fit(scaled, same)
    slopes = -reference.coef_[0]
    assert (slopes > 0).all()
    np.testing.assert_allclose(weighting.fitted(thetas, same), slopes / slopes.sum(), atol=2e-3)


def test_a_better_member_weighs_more_and_one_that_misleads_nothing():
    thetas, same = made_thetas((0.1, 0.2, 0.2))
    thetas[2] = 1.4 - thetas[2]
    weights = weighting.fitted(thetas, same)
    assert weights[0] > weights[1] > 0
    assert weights[2] == 0


@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_the_scale_of_theta_changes_nothing(scale):
    thetas, same = made_thetas((0.1, 0.2, 0.3))
    expected = weighting.fitted(thetas, same)
    np.testing.assert_allclose(weighting.fitted(scale * thetas, same), expected, atol=1e-3)


@pytest.mark.parametrize("members", [1, 3, 7])
def test_weights_are_thousandths_that_sum_to_one(members):
    weights = weighting.fitted(*made_thetas([0.2] * members))
    np.testing.assert_array_equal(weights, np.round(weights, 3))
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert (weights >= 0).all()


def test_members_that_never_err_are_weighted_equally_and_nothing_is_infinite():
    same = np.arange(100) < 50
    thetas = np.stack([np.where(same, 0.2, 1.0)] * 2)
    assert weighting.fitted(thetas, same).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("same", [np.zeros(9, bool), np.ones(9, bool), np.arange(9) % 2 == 0])
def test_where_nobody_tells_anything_the_weights_are_uniform(same):
    assert weighting.fitted(np.full((4, 9), 0.7), same).tolist() == [0.25] * 4


def test_the_alternatives_are_the_best_member_alone_all_alike_and_the_fit():
    thetas, same = made_thetas((0.3, 0.1, 0.3))
    by_name = dict(zip(("a", "b", "c"), thetas, strict=True))
    found = weighting.alternatives(by_name, same, {"a": 0.7, "b": 0.9, "c": None})
    assert list(found) == ["best single", "uniform", "fitted"]
    assert found["best single"] == {"a": 0, "b": 1, "c": 0}
    assert found["uniform"] == dict.fromkeys("abc", 1 / 3)
    assert list(found["fitted"].values()) == weighting.fitted(thetas, same).tolist()


def test_of_equally_good_members_the_first_is_the_best():
    thetas, same = made_thetas((0.3, 0.3))
    by_name = dict(zip(("a", "b"), thetas, strict=True))
    for auc in (0.9, None):
        found = weighting.alternatives(by_name, same, {"a": auc, "b": auc})
        assert found["best single"] == {"a": 1, "b": 0}
