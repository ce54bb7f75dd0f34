"""Tests of evaluation.plot_data and summary: the numbers behind the plots, and the tables."""

import numpy as np
import pytest

from faceverify.evaluation import metrics, plot_data, summary
from faceverify.evaluation.bootstrap import Resampling


def made_scores(count=3000, seed=1):
    random = np.random.default_rng(seed)
    same = random.random(count) < 0.4
    return np.abs(random.normal(np.where(same, 0.4, 1.2), 0.3)), same


def test_operating_points_are_points_of_the_roc_off_the_edges():
    scores, same = made_scores()
    points = plot_data.operating_points(scores, same)
    assert len(points) <= 2 * plot_data.POINTS + 2
    genuine, impostors = same.sum(), (~same).sum()
    for threshold, fmr, tar, fnmr in points.itertuples(index=False):
        # Thresholds are rounded: the pair that lies on one may fall on either side.
        assert fmr == pytest.approx(np.mean(scores[~same] < threshold), abs=1.5 / impostors)
        assert tar == pytest.approx(np.mean(scores[same] < threshold), abs=1.5 / genuine)
        assert fnmr == pytest.approx(1 - tar, abs=0.51 / genuine)
    for rate, pairs in ((points.fmr, impostors), (points.fnmr, genuine)):
        assert rate.between(0.49 / pairs, 1 - 0.49 / pairs).all()
    assert points.fmr.is_monotonic_increasing
    assert points.tar.is_monotonic_increasing
    assert (points.tar.iloc[0], points.tar.iloc[-1]) == (0, 1)


def test_both_ends_of_the_curve_keep_every_step():
    scores, same = made_scores()
    points = plot_data.operating_points(scores, same)
    fmr, tar, _ = metrics.roc(scores, same)
    for kept, all_of_them in ((points.fmr, fmr), (1 - points.tar, 1 - tar)):
        few = np.unique(all_of_them[(all_of_them > 0) & (all_of_them < 0.005)])
        assert len(few) >= 5
        assert all(np.isclose(kept, rate, atol=1e-6).any() for rate in few)


def test_a_model_without_an_error_still_has_a_curve():
    same = np.arange(20) < 10
    points = plot_data.operating_points(np.where(same, 0.1, 0.9), same)
    assert (points.fmr > 0).all()
    assert (points.fnmr > 0).all()
    assert ((points.fmr == 0.05) & (points.fnmr == 0.05)).any()


@pytest.mark.parametrize("same", [np.ones(5, bool), np.zeros(5, bool), np.zeros(0, bool)])
def test_one_kind_of_pair_alone_has_no_curve(same):
    points = plot_data.operating_points(np.linspace(0, 1, len(same)), same)
    assert list(points) == ["threshold", "fmr", "tar", "fnmr"]
    assert len(points) == 0


def test_the_shares_of_each_kind_sum_to_one_and_lie_in_their_bins():
    scores, same = made_scores()
    table = plot_data.histogram(scores, same, 0.5, 0.6)
    for kind, mask in (("genuine", same), ("impostor", ~same)):
        own = table[table.kind == kind]
        assert own.share.sum() == pytest.approx(1, abs=1e-4)
        for start, end, share in zip(own.start, own.end, own.share, strict=True):
            inside = np.mean((scores[mask] >= start) & (scores[mask] < end))
            assert share == pytest.approx(inside, abs=1.5 / mask.sum())
    assert set(table.threshold) == {0.5}
    assert set(table.accept_threshold) == {0.6}
    assert table.end.max() == pytest.approx(scores.max(), abs=1e-6)


def test_a_histogram_reaches_the_limit_and_may_lack_a_kind():
    table = plot_data.histogram(np.array([0.1, 0.2]), np.ones(2, bool), 0.5, 0.6)
    assert table.end.max() == 0.6
    assert table[table.kind == "impostor"].share.sum() == 0
    assert len(plot_data.histogram(np.empty(0), np.empty(0, bool), 0.5, 0.6)) == 2 * plot_data.BINS


def test_decisions_count_all_four_kinds_also_where_there_are_none():
    scores, same = np.array([0.1, 0.6, 0.3, 0.9, 0.2]), np.array([1, 1, 0, 0, 0], bool)
    assert plot_data.decisions(scores, same, 0.6).pairs.tolist() == [1, 1, 2, 1]
    assert plot_data.decisions(scores[:0], same[:0], 0.6).pairs.tolist() == [0] * 4


def test_groups_have_a_row_for_each_rate_that_names_what_is_missing():
    scores, same = np.array([0.1, 0.9, 0.9, 0.2, 0.8]), np.array([1, 1, 1, 0, 0], bool)
    identities = np.array([[1, 1], [2, 2], [3, 3], [1, 2], [2, 3]])
    masks = {"all": np.ones(5, bool), "genuine": same, "none": np.zeros(5, bool)}
    masks["two people"] = np.array([1, 1, 0, 1, 0], bool)
    groups = metrics.group_error_rates(scores, same, identities, masks, 0.6, Resampling(100, 1))
    table = plot_data.group_rates(groups)
    assert list(zip(table.group, table.rate, table.pairs, strict=True)) == [
        *zip(masks, ["FMR"] * 4, (2, 0, 0, 1), strict=True),
        *zip(masks, ["FNMR"] * 4, (3, 3, 0, 2), strict=True),
    ]
    known = table[table.low.notna()]
    assert list(zip(known.group, known.rate, known.value, strict=True)) == [
        ("all", "FMR", 0.5),
        ("all", "FNMR", 0.666667),
        ("genuine", "FNMR", 0.666667),
    ]
    assert (known.low <= known.value).all()
    assert (known.value <= known.high).all()
    assert table.value.isna().equals(table.pairs == 0)
    assert list(plot_data.group_rates({})) == list(table)


def test_an_interval_is_shown_with_three_decimals_or_not_at_all():
    figures = {"auc": 0.91234, "auc_low": 0.9, "auc_high": 1.0}
    assert summary.interval(figures, "auc") == "0.912 [0.900, 1.000]"
    assert summary.interval(figures, "auc", "+") == "+0.912 [+0.900, +1.000]"
    assert summary.interval(figures | {"auc_low": None}, "auc") == "-"


def test_a_summary_has_six_figures_with_their_ends_in_order():
    figures = {f"{n}{e}": 0.5 for n in ("other", *summary.FIGURES) for e in summary.ENDS}
    assert len(summary.chosen(figures, summary.FIGURES)) == 18
    assert "other" not in summary.chosen(figures, summary.FIGURES)
