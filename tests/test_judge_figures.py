"""The figures of a judged list against those of scikit-learn, NumPy and the evaluation."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from faceverify.evaluation import metrics
from faceverify.evaluation.bootstrap import Resampling
from faceverify.judge import figures, findings
from faceverify.judge.figures import ALL, REFUSED, Judged, Scored
from faceverify.judge.labelled_pairs import Groups, no_groups
from faceverify.judge.scoring import Scores

FMRS = {"1pct": Fraction(1, 100), "10pct": Fraction(1, 10)}
RESAMPLING = Resampling(resamples=200, seed=7)


def drawn(seed: int, people: int = 60, pairs: int = 4000) -> tuple[np.ndarray, Judged]:
    """Scores that depend on the people, some without an answer, with ties; half are genuine."""
    rng = np.random.default_rng(seed)
    units = rng.integers(people, size=(pairs, 2))
    units[: pairs // 2, 1] = units[: pairs // 2, 0]
    same = units[:, 0] == units[:, 1]
    ease = rng.normal(0, 0.1, people)
    scores = np.where(same, 0.4, 0.9) + ease[units].sum(axis=1) + rng.normal(0, 0.15, pairs)
    scores = scores.clip(0, 3).round(3)
    scores[rng.random(pairs) < 0.03] = REFUSED
    order = rng.permutation(pairs)
    return scores[order], Judged(same[order], units[order], no_groups(pairs), FMRS)


def measured(scores: np.ndarray, judged: Judged, threshold: float = 0.6) -> dict:
    return figures.measure({"one": Scored(scores, threshold)}, judged, RESAMPLING)["models"]["one"]


def test_figures_are_those_of_numpy_and_scikit_learn():
    scores, judged = drawn(1)
    same, found = judged.same, measured(*drawn(1))
    rates, shown = found["rates"][ALL], found["figures"]
    assert rates["fmr"] == pytest.approx(np.mean(scores[~same] < 0.6), abs=1e-6)
    assert rates["fnmr"] == pytest.approx(np.mean(~(scores[same] < 0.6)), abs=1e-6)
    assert (rates["genuine"], rates["impostor"]) == (same.sum(), (~same).sum())
    finite = np.minimum(scores, 9)
    assert shown["auc"] == pytest.approx(roc_auc_score(same, -finite), abs=1e-6)
    for name, fmr in FMRS.items():
        fits = [t for t in np.unique(finite) if np.mean(finite[~same] < t) <= fmr]
        assert found["thresholds"][name] == pytest.approx(fits[-1], abs=1e-6)
        tar = np.mean(finite[same] < fits[-1])
        assert shown[f"tar_at_fmr_{name}"] == pytest.approx(tar, abs=1e-6)


def test_figures_and_intervals_are_those_of_the_evaluation():
    scores, judged = drawn(2)
    found = measured(scores, judged)
    thresholds = metrics.Thresholds(0.6, 0.6, 0.6)
    expected = metrics.measure(
        np.minimum(scores, 4.0), judged.same, judged.units, thresholds, RESAMPLING
    )
    for end in ("", "_low", "_high"):
        for rate in ("fmr", "fnmr"):
            assert found["rates"][ALL][f"{rate}{end}"] == expected[f"{rate}{end}"]
        for name in ("auc", "tar_at_fmr_1pct"):
            assert found["figures"][f"{name}{end}"] == expected[f"{name}{end}"]


def test_groups_are_those_of_the_evaluation():
    scores, judged = drawn(3)
    code = np.random.default_rng(3).integers(-1, 3, len(scores))
    judged = judged._replace(groups=Groups(code, {"a": [0], "b": [1], "b or c": [1, 2]}))
    found = measured(scores, judged)["rates"]
    masks = {"a": code == 0, "b": code == 1, "b or c": code >= 1}
    expected = metrics.group_error_rates(
        np.minimum(scores, 4.0), judged.same, judged.units, masks, 0.6, RESAMPLING
    )
    for name, rates in expected.items():
        assert found[name] == {key: rates[key] for key in rates if key != "people"}


def test_a_pair_without_an_answer_counts_as_refused():
    scores, judged = drawn(4)
    without = scores.copy()
    without[judged.same & (scores < 0.6)] = REFUSED
    found = measured(without, judged)
    assert found["rates"][ALL]["fnmr"] == 1
    assert found["rates"][ALL]["fmr"] == measured(scores, judged)["rates"][ALL]["fmr"]
    silent = scores == REFUSED
    share, low, high = figures.no_answer_share(silent, judged, RESAMPLING)
    assert share == pytest.approx(silent.mean(), abs=1e-6)
    assert low < share < high


def test_where_all_are_refused_the_threshold_accepts_all_answers():
    scores, judged = drawn(5)
    scores = np.where(judged.same, scores, REFUSED)
    found = measured(scores, judged)
    most = scores[np.isfinite(scores)].max()
    assert found["thresholds"]["1pct"] == pytest.approx(most, abs=1e-6)
    assert found["figures"]["tar_at_fmr_1pct"] == pytest.approx(
        np.isfinite(scores[judged.same]).mean(), abs=1e-6
    )


def test_a_tar_wants_enough_impostor_pairs():
    scores, judged = drawn(6, pairs=1900)  # 950 or fewer impostor pairs
    found = measured(scores, judged)
    assert found["figures"]["tar_at_fmr_1pct"] is None
    assert found["thresholds"]["1pct"] is None
    assert found["figures"]["tar_at_fmr_10pct"] > 0


def test_one_kind_of_pair_has_its_figures_alone():
    scores, judged = drawn(7)
    kept = ~judged.same
    people = judged._replace(
        same=judged.same[kept], units=judged.units[kept], groups=no_groups(kept.sum())
    )
    found = measured(scores[kept], people)
    assert found["rates"][ALL]["fnmr"] is None
    assert found["figures"]["auc"] is None
    assert found["rates"][ALL]["fmr"] == measured(scores, judged)["rates"][ALL]["fmr"]
    assert found["thresholds"]["1pct"] == measured(scores, judged)["thresholds"]["1pct"]


def test_intervals_cover_the_true_rate():
    """Of 100 draws of people, nearly all 95% intervals hold what endless people would give."""
    truth, _ = drawn(99, people=40_000, pairs=400_000)
    _, all_pairs = drawn(99, people=40_000, pairs=400_000)
    expected = {
        "fmr": np.mean(truth[~all_pairs.same] < 0.6),
        "fnmr": np.mean(~(truth[all_pairs.same] < 0.6)),
    }
    covered = dict.fromkeys(expected, 0)
    for seed in range(100):
        rates = measured(*drawn(seed, people=50, pairs=600))["rates"][ALL]
        for rate, value in expected.items():
            covered[rate] += rates[f"{rate}_low"] <= value <= rates[f"{rate}_high"]
    assert min(covered.values()) >= 85, covered


def test_photos_are_drawn_where_people_are_not_named():
    """Interval ends from a plain loop over the draws, with a weight n_i n_j for each pair."""
    rng = np.random.default_rng(8)
    units = np.array([(i, j) for i in range(20) for j in range(i + 1, 20)])
    same = rng.random(len(units)) < 0.5
    scores = rng.random(len(units))
    judged = Judged(same, units, no_groups(len(units)), {})
    found = measured(scores, judged, 0.3)["rates"][ALL]
    draws = np.random.default_rng(RESAMPLING.seed)
    rates = []
    for _ in range(RESAMPLING.resamples):
        times = np.bincount(draws.integers(20, size=20), minlength=20)
        weight = times[units].prod(axis=1)
        rates.append(weight[~same & (scores < 0.3)].sum() / weight[~same].sum())
    low, high = np.percentile(rates, (2.5, 97.5))
    assert found["fmr_low"] == pytest.approx(low, abs=1e-6)
    assert found["fmr_high"] == pytest.approx(high, abs=1e-6)


def test_no_error_still_has_an_interval_and_few_people_have_none():
    units = np.array([(i, j) for i in range(10) for j in range(i, 10)])
    same = units[:, 0] == units[:, 1]
    judged = Judged(same, units, no_groups(len(units)), {})
    rates = measured(np.where(same, 0.1, 0.9), judged)["rates"][ALL]
    assert (rates["fmr"], rates["fmr_low"]) == (0, 0)
    assert rates["fmr_high"] == pytest.approx(1 - 0.025 ** (1 / 45), abs=1e-6)
    assert rates["fnmr_high"] == pytest.approx(1 - 0.025 ** (1 / 10), abs=1e-6)
    few = judged._replace(units=np.minimum(units, 1), same=same | True)
    assert measured(np.full(len(units), 0.9), few)["rates"][ALL]["fnmr_low"] is None


def test_two_models_are_compared_on_the_same_draws():
    scores, judged = drawn(9)
    better = np.where(judged.same, scores - 0.3, scores + 0.3)
    models = {"one": Scored(scores, 0.6), "two": Scored(better, 0.6)}
    found = figures.measure(models, judged, RESAMPLING)
    for name in ("fmr", "fnmr"):
        one, two = (found["models"][model]["rates"][ALL][name] for model in models)
        assert found["differences"][name] == pytest.approx(two - one, abs=2e-6)
    assert set(figures.verdicts(found["differences"], list(models)).values()) == {"two"}
    turned = dict(reversed(models.items()))
    found = figures.measure(turned, judged, RESAMPLING)
    assert set(figures.verdicts(found["differences"], list(turned)).values()) == {"two"}
    equal = {"one": Scored(scores, 0.6), "two": Scored(scores, 0.6)}
    found = figures.measure(equal, judged, RESAMPLING)
    assert found["differences"]["auc"] == found["differences"]["auc_high"] == 0
    assert set(figures.verdicts(found["differences"], list(equal)).values()) == {""}


# Findings


def test_the_worst_errors_come_first():
    theta = np.array([0.1, 0.5, np.nan, 0.9, 0.7, 0.2, np.nan])
    same = np.array([False, False, False, True, True, True, True])
    assert findings.worst(theta, same, 0.6, 5) == {
        "false_accepts": [0, 1], "false_refusals": [3, 4],
    }  # fmt: skip
    assert findings.worst(theta, same, 0.6, 1) == {"false_accepts": [0], "false_refusals": [3]}


def test_a_label_is_suspected_where_both_models_are_far_on_the_other_side():
    theta = np.array([0.30, 0.30, 0.50, 1.00, 1.00, 0.70, np.nan, 0.10, 0.9])
    distance = np.array([0.35, 0.55, 0.35, 0.90, 0.65, 0.90, np.nan, 0.10, 0.9])
    same = np.array([False, False, False, True, True, True, True, False, False])
    identical = np.zeros(9, bool)
    identical[8] = True
    scores = Scores(theta, distance, [], np.full((9, 2), -1), identical)
    found = findings.suspected(scores, same, 0.6, 0.6)
    assert sorted(found) == [0, 3, 7, 8]
    assert found[0] == 7
