"""The calibration: constants fitted to strangers, and the thresholds that are stated."""

import keras
import numpy as np
import pytest

from faceverify.base.errors import InputError
from faceverify.evaluation import calibration, summary
from faceverify.model.network import Tower, build_tower


def towers():
    sizes = {"ja": "neck", "rai": "landmarks"}
    return {
        name: build_tower((4, 4, 3), Tower(2, [4], [5], 0.0, 0.0, reads), 1)
        for name, reads in sizes.items()
    }


@pytest.fixture
def people():
    """Tails of 60 people with 4 photos each, calibrated by 2; whose they are."""
    rng = np.random.default_rng(3)
    tails = rng.normal(size=(240, 17)).astype(np.float32)
    tails[:, :-1] /= np.linalg.norm(tails[:, :-1], axis=1, keepdims=True)
    tails[:, -1] = 2
    return tails, np.repeat(np.arange(60), 4)


def test_the_fitted_constant_puts_one_in_a_thousand_strangers_below_the_threshold(people):
    tails, identities = people
    strangers = calibration.Strangers(identities)
    constant = strangers.fitted_constant(tails, 0.6)
    tails[:, -1] = constant
    theta = strangers.angles(tails)
    assert len(theta) == 240 * 236 / 2
    assert (theta < 0.6).sum() == pytest.approx(0.001 * len(theta), abs=1)
    assert calibration.threshold(theta, 0.001) == pytest.approx(0.6, abs=1e-3)


def test_only_pairs_of_different_people_count():
    tails = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    found = calibration.Strangers(np.array([7, 7, 8])).angles(tails)
    np.testing.assert_allclose(found, [np.pi / 2] * 2, atol=1e-6)


def test_thresholds_are_told_where_ten_strangers_lie_below_them():
    theta = np.arange(20_000) / 20_000
    found = calibration.thresholds(theta)
    assert [(point.fmr, point.threshold) for point in found] == [
        (0.01, 0.01), (0.001, 0.001), (0.0001, None),
    ]  # fmt: skip


def test_too_few_strangers_end_in_one_line(people):
    tails, identities = (part[:40] for part in people)
    with pytest.raises(InputError, match="needs 10,000 pairs of different .*; there are 720$"):
        calibration.Strangers(identities).fitted_constant(tails, 0.6)


def test_strangers_too_alike_for_the_threshold_end_in_one_line(people):
    tails, identities = people
    tails[:, 0] += 10
    with pytest.raises(InputError, match="closer than an accept_threshold of 0.6"):
        calibration.Strangers(identities).fitted_constant(tails, 0.6)


def test_constants_are_read_and_set_where_there_is_a_calibration():
    made = towers()
    calibration.set_constants(made, {"ja": 1.25, "rai": None})
    assert {name: calibration.constant_of(tower) for name, tower in made.items()} == {
        "ja": 1.25, "rai": None,
    }  # fmt: skip
    tail = made["ja"](np.ones((1, 4, 4, 3), np.float32))["tail"]
    assert keras.ops.convert_to_numpy(tail)[0, -1] == 1.25


def test_what_the_threshold_means_is_said_in_one_line():
    rates = {f"{name}{end}": 0.25 for name in ("fmr", "fnmr") for end in summary.ENDS}
    report = {"accept_threshold": 0.6, "val": rates, "card": rates | {"fmr": None}}
    assert summary.threshold_said(report) == (
        "At theta < 0.6 the ensemble accepts 0.250 [0.250, 0.250] of these different people and "
        "refuses 0.250 [0.250, 0.250] of the same; with a card - and 0.250 [0.250, 0.250]."
    )
