"""Tests of evaluation.metrics and bootstrap, against scikit-learn and really repeated pairs."""

# The names of the tests say what they check.

import itertools
import warnings

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from faceverify.evaluation import bootstrap, metrics
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.metrics import Thresholds

NAMES = [
    "accuracy",
    "accuracy_fitted",
    "auc",
    "eer",
    "fmr",
    "fnmr",
    "tar_at_fmr_1pct",
    "tar_at_fmr_0.1pct",
]
THRESHOLDS = Thresholds(threshold=1.0, accept_threshold=0.8, fitted_threshold=1.1)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def made_pairs(count=400, people=30, decimals=1, seed=5):
    """Overlapping scores with many ties; person numbers with gaps."""
    random = np.random.default_rng(seed)
    first = random.integers(people, size=count)
    other = (first + random.integers(1, people, size=count)) % people
    same = random.random(count) < 0.4
    scores = np.round(random.normal(1.3 - 0.6 * same, 0.4), decimals)
    identities = 7 * np.stack([first, np.where(same, first, other)], axis=1) + 3
    return scores, same, identities


def measured(scores, same, identities, **changes):
    resampling = Resampling(changes.pop("resamples", 40), changes.pop("seed", 11))
    pairs = np.array(scores), np.array(same, bool), np.array(identities)
    return metrics.measure(*pairs, THRESHOLDS._replace(**changes), resampling)


def pairs_of(genuine, impostor):
    """One genuine pair for each person, and impostor pairs between neighbours."""
    people = max(len(genuine), 2)
    scores = np.array([*genuine, *impostor], float)
    same = np.arange(len(scores)) < len(genuine)
    numbers = [(i, i) for i in range(len(genuine))]
    numbers += [(i % people, (i + 1) % people) for i in range(len(impostor))]
    return scores, same, np.array(numbers, int).reshape(-1, 2)


def brute_points(scores, same):
    """FMR and TAR of every operating point, by counting."""
    limits = [*sorted(set(scores)), np.inf]
    accepted = [scores < limit for limit in limits]
    return [(np.mean(a[~same]), np.mean(a[same])) for a in accepted]


def brute_eer(points):
    """Cross FMR with FNMR on the line between the two points around the crossing."""
    for (fmr, tar), (next_fmr, next_tar) in itertools.pairwise(points):
        if next_fmr >= 1 - next_tar:
            gap, next_gap = (1 - tar) - fmr, next_fmr - (1 - next_tar)
            return fmr + (next_fmr - fmr) * gap / (gap + next_gap)
    raise AssertionError("the last operating point accepts all")


def brute_figures(scores, same, limits=(0.01, 0.001)):
    points = brute_points(scores, same)
    accept = scores < THRESHOLDS.accept_threshold
    found = [
        np.mean((scores < THRESHOLDS.threshold) == same),
        np.mean((scores < THRESHOLDS.fitted_threshold) == same),
        roc_auc_score(same, -scores),
        brute_eer(points),
        np.mean(accept[~same]),
        np.mean(~accept[same]),
    ]
    found += [max(tar for fmr, tar in points if fmr <= limit) for limit in limits]
    return dict(zip(NAMES, found, strict=False))


def repeated_pairs(same, identities, resamples, seed):
    """For each resample the positions of the pairs, each as often as its people were drawn."""
    random = np.random.default_rng(seed)
    people = sorted(set(identities.ravel().tolist()))
    for _ in range(resamples):
        drawn = [people[i] for i in random.integers(len(people), size=len(people))]
        positions = []
        for position, (first, second) in enumerate(identities.tolist()):
            times = drawn.count(first)
            if not same[position]:
                times *= drawn.count(second)
            positions += [position] * times
        yield np.array(positions, int)


# Estimates


@pytest.mark.parametrize("decimals", [1, 8])
def test_estimates_match_scikit_learn_and_counting(decimals):
    scores, same, identities = made_pairs(count=2500, decimals=decimals)
    assert np.count_nonzero(~same) >= 1000
    found = measured(scores, same, identities, resamples=0)
    expected = brute_figures(scores, same, limits=(0.01,))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_figures_come_in_order_as_plain_floats():
    found = measured(*made_pairs())
    assert list(found) == [f"{name}{end}" for name in NAMES for end in ("", "_low", "_high")]
    for value in found.values():
        assert value is None or (type(value) is float and value == round(value, 6))


@pytest.mark.parametrize("decimals", [1, 8])
def test_roc_matches_scikit_learn(decimals):
    scores, same, _ = made_pairs(decimals=decimals)
    fmr, tar, thresholds = metrics.roc(scores, same)
    expected_fmr, expected_tar, _ = roc_curve(same, -scores, drop_intermediate=False)
    np.testing.assert_allclose(fmr, expected_fmr)
    np.testing.assert_allclose(tar, expected_tar)
    assert (fmr[0], tar[0], fmr[-1], tar[-1]) == (0, 0, 1, 1)
    for point, threshold in enumerate(thresholds):
        assert fmr[point] == pytest.approx(np.mean(scores[~same] < threshold))
        assert tar[point] == pytest.approx(np.mean(scores[same] < threshold))
    assert np.all(np.diff(thresholds) > 0) and np.isfinite(thresholds).all()


def test_a_score_equal_to_the_threshold_is_refused():
    pairs = pairs_of([0.5, 0.5], [0.5, 0.5, 0.5])
    names = ("fmr", "fnmr", "accuracy", "accuracy_fitted")
    at = measured(*pairs, threshold=0.5, fitted_threshold=0.5, accept_threshold=0.5)
    assert [at[name] for name in names] == [0, 1, 0.6, 0.6]
    above = np.nextafter(0.5, 1)
    over = measured(*pairs, threshold=above, fitted_threshold=0.5, accept_threshold=above)
    assert [over[name] for name in names] == [1, 0, 0.4, 0.6]
    group = {"all": np.ones(5, bool)}
    rates = metrics.group_error_rates(*pairs, group, 0.5, Resampling(0, 1))["all"]
    assert (rates["fmr"], rates["fnmr"]) == (0, 1)


def test_perfectly_separable():
    scores, same, identities = pairs_of(np.linspace(0, 0.7, 20), np.linspace(1.2, 2, 1000))
    found = measured(scores, same, identities)
    for name in ("accuracy", "auc", "tar_at_fmr_1pct"):
        assert [found[name + end] for end in ("", "_low", "_high")] == [1, 1, 1], name
    assert [found["eer" + end] for end in ("", "_low", "_high")] == [0, 0, 0]
    for name, kind in (("fmr", ~same), ("fnmr", same)):
        # No error among so many says that there are few, not that there are none.
        trials = len(np.unique(np.sort(identities[kind], axis=1), axis=0))
        assert (found[name], found[f"{name}_low"]) == (0, 0)
        assert found[f"{name}_high"] == pytest.approx(1 - 0.025 ** (1 / trials), abs=1e-6)
    assert metrics.fitted_threshold(scores, same) == pytest.approx(0.95)


def test_all_scores_equal():
    scores, same, identities = pairs_of([0.9] * 4, [0.9] * 1000)
    found = measured(scores, same, identities)
    assert (found["auc"], found["eer"], found["tar_at_fmr_1pct"]) == (0.5, 0.5, 0)
    fmr, tar, _ = metrics.roc(scores, same)
    assert (fmr.tolist(), tar.tolist()) == ([0, 1], [0, 1])


def test_eer_is_interpolated_linearly():
    # (FMR, FNMR) goes from (0, 1/2) to (1/4, 1/2) to (1, 0): they meet at 1/4 + 3/4 * 1/5.
    found = measured(*pairs_of([0.1, 0.9], [0.5, 0.9, 0.9, 0.9]))
    assert found["eer"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("impostors", "one_percent", "one_per_mille"),
    [(999, False, False), (1000, True, False), (9999, True, False), (10000, True, True)],
)
def test_tar_needs_ten_times_one_over_fmr_impostors(impostors, one_percent, one_per_mille):
    found = measured(*pairs_of([0.1, 0.2], np.full(impostors, 1.5)), resamples=5)
    for end in ("", "_low", "_high"):
        assert (found[f"tar_at_fmr_1pct{end}"] is not None) == one_percent
        assert (found[f"tar_at_fmr_0.1pct{end}"] is not None) == one_per_mille


@pytest.mark.parametrize(("hits", "tar"), [(10, 1.0), (11, 0.5)])
def test_tar_allows_exactly_the_fmr(hits, tar):
    # 10 of 1,000 impostors at 0.5 keep the FMR at 1 %, so the genuine pair at 0.5 counts.
    found = measured(*pairs_of([0.1, 0.5], [0.5] * hits + [2.0] * (1000 - hits)))
    assert found["tar_at_fmr_1pct"] == tar


# Fitted threshold


def test_fitted_threshold_is_the_best_and_lowest():
    for seed in range(20):
        scores, same, _ = made_pairs(count=40, seed=seed)
        distinct = sorted(set(scores))
        middles = [(a + b) / 2 for a, b in itertools.pairwise(distinct)]
        candidates = [distinct[0], *middles, np.inf]
        right = [np.count_nonzero((scores < candidate) == same) for candidate in candidates]
        expected = candidates[int(np.argmax(right))]
        assert metrics.fitted_threshold(scores, same) == pytest.approx(expected), seed


def test_fitted_threshold_counts_decisions_not_rates():
    # By rates, accepting up to 0.5 would be better: all genuine, 2 of 10 impostors.
    scores = np.array([0.5, 0.4, 0.4] + [1.0] * 8)
    same = np.array([True] + [False] * 10)
    assert metrics.fitted_threshold(scores, same) == 0.4


def test_fitted_threshold_prefers_the_lowest_of_equals():
    assert metrics.fitted_threshold([0.0, 1.0, 2.0, 3.0], [True, False, True, False]) == 0.5


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("scores", [[0.3, 0.6, 0.6], [0.7, 0.7, 0.7]])
def test_fitted_threshold_is_finite_where_all_or_none_is_accepted(same, scores):
    found = metrics.fitted_threshold(np.array(scores), np.full(3, same))
    assert type(found) is float and np.isfinite(found)
    assert np.all((np.array(scores) < found) == same)


@pytest.mark.parametrize("low", [1.0, np.nextafter(1.0, 2), 5e-324, 1e308])
def test_fitted_threshold_separates_neighbouring_floats(low):
    found = metrics.fitted_threshold([low, np.nextafter(low, np.inf)], [True, False])
    assert low < found <= np.nextafter(low, np.inf)


# Bootstrap over identities


def expected_interval(values):
    return np.percentile(values, [2.5, 97.5])


def test_intervals_match_really_repeated_pairs():
    scores, same, identities = made_pairs(count=1800, people=12)
    assert np.count_nonzero(~same) >= 1000
    found = measured(scores, same, identities, resamples=30, seed=21)
    resampled = [
        brute_figures(scores[chosen], same[chosen], limits=(0.01,))
        for chosen in repeated_pairs(same, identities, 30, 21)
    ]
    for name in NAMES[:-1]:
        low, high = expected_interval([figures[name] for figures in resampled])
        assert low < high
        assert found[f"{name}_low"] == pytest.approx(low, abs=1e-6), name
        assert found[f"{name}_high"] == pytest.approx(high, abs=1e-6), name


def test_undefined_resamples_are_left_out():
    # Two people: a resample of one of them twice has no impostor pair.
    scores = np.array([0.1, 0.9, 0.5, 1.0])
    same = np.array([True, True, False, False])
    identities = np.array([[1, 1], [2, 2], [1, 2], [2, 1]])
    found = measured(scores, same, identities, resamples=40, seed=3)
    chosen = list(repeated_pairs(same, identities, 40, 3))
    both = [c for c in chosen if not same[c].all()]
    assert 0 < len(both) < len(chosen)
    assert (found["fmr_low"], found["fmr_high"]) == (None, None)  # two people say nothing of others
    auc = [roc_auc_score(same[c], -scores[c]) for c in both]
    assert (found["auc_low"], found["auc_high"]) == pytest.approx(expected_interval(auc), abs=1e-6)
    accuracy = [np.mean((scores[c] < 1.0) == same[c]) for c in chosen]
    expected = pytest.approx(expected_interval(accuracy), abs=1e-6)
    assert (found["accuracy_low"], found["accuracy_high"]) == expected


def test_tar_leaves_out_resamples_without_impostors():
    # Of one person drawn twice, no impostor limits the TAR: it would be 1.
    scores = np.array([0.1, 0.9] + [0.5] * 1000)
    same = np.arange(1002) < 2
    identities = np.array([(1, 1), (2, 2)] + [(1, 2)] * 1000)
    found = measured(scores, same, identities)
    assert [found["tar_at_fmr_1pct" + end] for end in ("", "_low", "_high")] == [0.5, 0.5, 0.5]


def test_people_are_drawn_not_pairs():
    # All errors belong to one of many people: the interval must reach from none to many.
    identities = np.repeat(np.arange(20), 50)[:, None].repeat(2, axis=1)
    scores = np.where(identities[:, 0] == 0, 2.0, 0.1)
    found = measured(scores, np.ones(1000, bool), identities, resamples=300)
    assert found["fnmr"] == 0.05
    assert found["fnmr_low"] == 0
    assert found["fnmr_high"] >= 0.1


def test_same_seed_same_result_other_seed_other_result():
    pairs = made_pairs()
    assert measured(*pairs, seed=4) == measured(*pairs, seed=4)
    assert measured(*pairs, seed=4)["auc_low"] != measured(*pairs, seed=5)["auc_low"]


@pytest.mark.parametrize("weights", [1, 400 * 3 + 5, 400 * 7, 10**7])
def test_the_chunk_size_changes_nothing(weights, monkeypatch):
    scores, same, identities = made_pairs()
    groups = {"some": scores < 1.2, "all": scores < 9}
    options = {"threshold": 1.0, "resampling": Resampling(40, 8)}
    before = measured(scores, same, identities)
    rates = metrics.group_error_rates(scores, same, identities, groups, **options)
    monkeypatch.setattr(bootstrap, "CHUNK_WEIGHTS", weights)
    assert measured(scores, same, identities) == before
    assert metrics.group_error_rates(scores, same, identities, groups, **options) == rates


def test_the_order_of_the_pairs_changes_nothing():
    pairs = made_pairs()
    order = np.random.default_rng(2).permutation(len(pairs[0]))
    assert measured(*(column[order] for column in pairs)) == measured(*pairs)


def test_no_resamples_give_no_intervals():
    found = measured(*made_pairs(), resamples=0)
    assert found["auc"] is not None and found["auc_low"] is None and found["auc_high"] is None


# Groups


def test_group_rates_match_really_repeated_pairs():
    scores, same, identities = made_pairs(people=12)
    mixed = (identities[:, 0] // 7) % 2 == 0
    groups = {"even": mixed, "low": scores < 1.2, "none": np.zeros(len(scores), bool)}
    options = {"threshold": 1.0, "resampling": Resampling(30, 6)}
    found = metrics.group_error_rates(scores, same, identities, groups, **options)
    assert list(found) == list(groups)
    wrong = (scores < 1.0) != same
    chosen = list(repeated_pairs(same, identities, 30, 6))
    for name in ("even", "low"):
        for rate, count, kind in (("fmr", "impostor", ~same), ("fnmr", "genuine", same)):
            inside = groups[name] & kind
            assert found[name][rate] == pytest.approx(np.mean(wrong[inside]), abs=1e-6)
            assert found[name][count] == np.count_nonzero(inside)
            expected = expected_interval([np.mean(wrong[c[inside[c]]]) for c in chosen])
            interval = (found[name][f"{rate}_low"], found[name][f"{rate}_high"])
            assert interval == pytest.approx(expected, abs=1e-6)
        people = {*identities[groups[name]].ravel().tolist()}
        assert found[name]["people"] == len(people)
    assert list(found["none"].values()) == [None] * 6 + [0, 0, 0]
    assert list(found["none"]) == [
        *("fmr", "fmr_low", "fmr_high", "fnmr", "fnmr_low", "fnmr_high"),
        *("genuine", "impostor", "people"),
    ]


def test_the_group_of_all_agrees_with_measure():
    scores, same, identities = made_pairs()
    options = {"threshold": 0.8, "resampling": Resampling(40, 11)}
    groups = {"all": np.ones(len(scores), bool)}
    rates = metrics.group_error_rates(scores, same, identities, groups, **options)["all"]
    found = measured(scores, same, identities)
    for name in ("fmr", "fmr_low", "fmr_high", "fnmr", "fnmr_low", "fnmr_high"):
        assert rates[name] == found[name]


def rates_of(people, wrong_impostors, *, genuine=2):
    """FMR and FNMR of one group of so many people, each pair of whom has two impostor pairs."""
    meetings = list(itertools.combinations(range(people), 2))
    numbers = np.array([(i, i) for i in range(people)] * genuine + meetings * 2)
    same = numbers[:, 0] == numbers[:, 1]
    scores = np.where(same, 0.1, 1.5)
    scores[np.flatnonzero(~same)[:wrong_impostors]] = 0.2
    group = {"all": np.ones(len(same), bool)}
    options = {"threshold": 1.0, "resampling": Resampling(200, 3)}
    return metrics.group_error_rates(scores, same, numbers, group, **options)["all"]


@pytest.mark.parametrize("people", [1, 2])
def test_one_or_two_people_have_rates_without_an_interval(people):
    found = rates_of(people, wrong_impostors=1)
    assert (found["fmr"], found["fnmr"]) == (None if people == 1 else 0.5, 0)
    assert [found[f"{rate}{end}"] for rate in ("fmr", "fnmr") for end in ("_low", "_high")] == [
        None
    ] * 4


def test_a_rate_of_none_or_all_has_the_interval_that_so_few_people_allow():
    # 5 people meet in 10 pairs: without an error in 10 trials, 0.308 is possible once in 40 times.
    found = rates_of(5, wrong_impostors=0)
    assert (found["fmr"], found["fmr_low"]) == (0, 0)
    assert (1 - found["fmr_high"]) ** 10 == pytest.approx(0.025, abs=1e-5)
    assert (1 - found["fnmr_high"]) ** 5 == pytest.approx(0.025, abs=1e-5)
    found = rates_of(5, wrong_impostors=20)
    assert (found["fmr"], found["fmr_high"]) == (1, 1)
    assert found["fmr_low"] ** 10 == pytest.approx(0.025, abs=1e-5)
    found = rates_of(5, wrong_impostors=1)
    assert 0.05 == found["fmr"] < found["fmr_high"] < 0.3


def test_shares_of_two_groups_match_really_repeated_pairs():
    scores, same, identities = made_pairs(people=12)
    even = (identities[:, 0] // 7) % 2 == 0
    options = {"threshold": 1.0, "resampling": Resampling(30, 6)}
    groups = {"parity": (even, ~even), "low": (scores < 1.2, even)}
    found = metrics.fmr_shares(scores, same, identities, groups, **options)
    assert list(found) == list(groups)
    chosen = list(repeated_pairs(same, identities, 30, 6))
    for name, masks in groups.items():

        def share(at, masks=masks):
            first, second = (np.mean(scores[at][(m & ~same)[at]] < 1.0) for m in masks)
            return first / (first + second)

        expected = [share(slice(None)), *expected_interval([share(at) for at in chosen])]
        assert list(found[name]) == ["share", "share_low", "share_high"]
        assert list(found[name].values()) == pytest.approx(expected, abs=1e-6)


def test_groups_without_a_false_accept_are_equal_and_one_without_pairs_has_no_share():
    scores, same, identities = pairs_of([0.1] * 6, [1.5] * 12)
    half, none = np.arange(18) % 2 == 0, np.zeros(18, bool)
    options = {"threshold": 1.0, "resampling": Resampling(20, 6)}
    groups = {"halves": (half, ~half), "none": (half, none)}
    found = metrics.fmr_shares(scores, same, identities, groups, **options)
    assert list(found["halves"].values()) == [0.5] * 3
    assert list(found["none"].values()) == [None] * 3


# Differences


def test_auc_differences_match_really_repeated_pairs():
    scores, same, identities = made_pairs(people=12)
    others = np.round(scores + np.random.default_rng(3).normal(0, 0.3, len(scores)), 1)
    found = metrics.auc_difference(scores, others, same, identities, Resampling(30, 6))

    def difference(at):
        return roc_auc_score(same[at], -others[at]) - roc_auc_score(same[at], -scores[at])

    chosen = list(repeated_pairs(same, identities, 30, 6))
    expected = [difference(slice(None)), *expected_interval([difference(at) for at in chosen])]
    assert list(found) == ["auc_difference", "auc_difference_low", "auc_difference_high"]
    assert list(found.values()) == pytest.approx(expected, abs=1e-6)


def test_what_moves_both_scores_together_is_no_difference():
    scores, same, identities = made_pairs()
    found = metrics.auc_difference(scores, 2 * scores, same, identities, Resampling(30, 6))
    assert list(found.values()) == [0, 0, 0]


def test_without_impostors_there_is_no_auc_difference():
    scores, same, identities = pairs_of([0.1, 0.5], [])
    found = metrics.auc_difference(scores, scores, same, identities, Resampling(30, 6))
    assert list(found.values()) == [None] * 3


# What is missing or wrong


def check_only(found, given, without_interval=()):
    for name in NAMES:
        for end in ("", "_low", "_high"):
            there = name in given and not (end and name in without_interval)
            assert (found[name + end] is not None) == there, name + end


def test_only_genuine_pairs():
    scores, same, identities = pairs_of([0.1, 0.5, 1.4, 0.9], [])
    found = measured(scores, same, identities)
    check_only(found, {"accuracy", "accuracy_fitted", "fnmr"})
    assert (found["accuracy"], found["fnmr"]) == (0.75, 0.5)
    fmr, tar, _ = metrics.roc(scores, same)
    assert np.isnan(fmr).all() and tar.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_only_impostor_pairs():
    scores, same, identities = pairs_of([], np.linspace(0.1, 2, 1000))
    found = measured(scores, same, identities)
    people = len(np.unique(identities))
    check_only(found, {"accuracy", "accuracy_fitted", "fmr"}, {"fmr"} if people < 3 else ())
    fmr, tar, _ = metrics.roc(scores, same)
    assert np.isnan(tar).all() and (fmr[0], fmr[-1]) == (0, 1)


def test_one_person_only():
    found = measured([0.2, 0.9], [True, True], [[4, 4], [4, 4]])
    assert found["fnmr"] == 0.5
    check_only(found, {"accuracy", "accuracy_fitted", "fnmr"}, {"fnmr"})


def test_no_pairs():
    scores, same, identities = np.empty(0), np.empty(0, bool), np.empty((0, 2), int)
    check_only(measured(scores, same, identities), set())
    assert metrics.fitted_threshold(scores, same) == 0
    assert [len(column) for column in metrics.roc(scores, same)] == [0, 0, 0]
    options = {"threshold": 1.0, "resampling": Resampling(10, 1)}
    rates = metrics.group_error_rates(scores, same, identities, {"g": same}, **options)
    assert list(rates["g"].values()) == [None] * 6 + [0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_must_be_finite(bad):
    scores, same, identities = made_pairs()
    scores[3] = bad
    options = {"threshold": 1.0, "resampling": Resampling(1, 1)}
    for refused in (
        lambda: metrics.fitted_threshold(scores, same),
        lambda: metrics.roc(scores, same),
        lambda: measured(scores, same, identities),
        lambda: metrics.group_error_rates(scores, same, identities, {}, **options),
    ):
        with pytest.raises(ValueError, match="^1 scores are not finite$"):
            refused()


def test_shapes_must_agree():
    scores, same, identities = made_pairs()
    with pytest.raises(ValueError, match="^scores must have one dimension"):
        metrics.roc(scores[:, None], same)
    with pytest.raises(ValueError, match="^same has shape"):
        metrics.fitted_threshold(scores, same[:1])
    with pytest.raises(ValueError, match="^identities has shape"):
        measured(scores, same, identities[:, 0])
    with pytest.raises(ValueError, match="^identities has shape"):
        measured(scores, same, identities[1:])
    options = {"threshold": 1.0, "resampling": Resampling(1, 1)}
    with pytest.raises(ValueError, match="^group old has shape"):
        metrics.group_error_rates(scores, same, identities, {"old": same[1:]}, **options)


def test_same_and_identities_must_agree():
    scores, same, identities = made_pairs()
    same[:2] = ~same[:2]
    with pytest.raises(ValueError, match="^same and identities disagree on 2 pairs$"):
        measured(scores, same, identities)


@pytest.mark.parametrize("name", Thresholds._fields)
def test_thresholds_must_be_numbers(name):
    with pytest.raises(ValueError, match="^a threshold is not a number$"):
        measured(*made_pairs(), **{name: np.nan})


def test_inputs_are_left_as_they_were():
    pairs = made_pairs()
    copies = [column.copy() for column in pairs]
    measured(*pairs)
    for column, copy in zip(pairs, copies, strict=True):
        np.testing.assert_array_equal(column, copy)
