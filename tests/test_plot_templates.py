"""Tests of the plots' templates on made tables: the axes, and what is marked and named."""

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.stats import norm

from faceverify.evaluation import plot_data
from helpers import ROOT
from plots_page import VEGA_LITE

MODELS = ("ensemble", "ja", "mar", "alip", "rai", "dlib")


def draw(template: str, x: str, y: str, sides: dict[str, pd.DataFrame]) -> str:
    """The drawing, as SVG, that DVC would make of tables by revision."""
    rows = [
        row | {"rev": rev}
        for rev, table in sides.items()
        for row in csv.DictReader(io.StringIO(table.to_csv(index=False)))
    ]
    text = (ROOT / f".dvc/plots/{template}.json").read_text()
    text = text.replace('"<DVC_METRIC_DATA>"', json.dumps(rows))
    for anchor, name in (("X", x), ("Y", y), ("X_LABEL", x), ("Y_LABEL", y), ("TITLE", "A plot")):
        text = text.replace(f"<DVC_METRIC_{anchor}>", name)
    svg = vl_convert.vegalite_to_svg(text, vl_version=VEGA_LITE)
    assert "NaN" not in svg
    return svg


def labels(svg: str, kind: str) -> list[str]:
    """What a screen reader is told of each mark of a kind."""
    return re.findall(rf'aria-label="([^"]*)"[^>]*aria-roledescription="{kind}"', svg)


def written(svg: str, kind: str = "text mark") -> list[str]:
    """The text of each mark of a kind."""
    return re.findall(rf'aria-roledescription="{kind}"[^>]*>([^<]*)<', svg)


def ends(svg: str, axis: str) -> list[float]:
    """The ends of an axis, the same in all panels."""
    said = set(re.findall(rf"{axis}-axis titled [^\"]* values from (\S+) to ([^\s\"]+)", svg))
    assert len(said) <= 1
    numbers = [end.replace("\N{MINUS SIGN}", "-") for pair in said for end in pair]
    return [float(n[:-1]) / 100 if n.endswith("%") else float(n) for n in numbers]


def curves(seed: int = 1, pairs: int = 20_000) -> pd.DataFrame:
    """Curves of six models that accept about 60 to 90% at the least FMR."""
    random = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    scores = {
        name: np.abs(random.normal(np.where(same, 0.4, 1.2 + 0.03 * i), 0.13))
        for i, name in enumerate(MODELS)
    }
    return plot_data.operating_points_by_model(scores, same)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return curves()


def test_the_roc_begins_where_the_worst_curve_leaves_the_axis(table):
    svg = draw("roc", "fmr", "tar", {"workspace": table})
    at_left = table[table.fmr == table.fmr.min()].groupby("model").tar.max()
    low, high = ends(svg, "Y")
    assert at_left.min() > 0.4
    assert at_left.min() - 0.1 <= low <= at_left.min()
    assert high == 1
    assert len(labels(svg, "line mark")) == len(MODELS)


def test_the_det_ends_where_the_last_curve_has_no_error_left(table):
    svg = draw("det", "fmr", "fnmr", {"workspace": table})
    frame = [
        max(
            model[model[one] == model[one].min()][other].min()
            for _, model in table.groupby("model")
        )
        for one, other in (("fnmr", "fmr"), ("fmr", "fnmr"))
    ]
    assert max(frame) < 0.65
    assert [ends(svg, axis)[1] for axis in "XY"] == pytest.approx(norm.ppf(frame), abs=0.06)
    assert len(labels(svg, "line mark")) == len(MODELS)


@pytest.mark.parametrize(("template", "y"), [("roc", "tar"), ("det", "fnmr")])
def test_the_false_match_rates_that_count_are_marked_where_the_pairs_reach_them(table, template, y):
    few = curves(pairs=900)
    marked = written(draw(template, "fmr", y, {"workspace": table}))
    assert marked == ["1%", "0.1%", "0.01%"]
    assert written(draw(template, "fmr", y, {"workspace": few})) == ["1%"]


@pytest.mark.parametrize(("template", "y"), [("roc", "tar"), ("det", "fnmr")])
def test_two_revisions_have_a_panel_for_each_model_the_ensemble_first(table, template, y):
    svg = draw(template, "fmr", y, {"main": table, "HEAD": curves(seed=2)})
    titles = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg) if text in MODELS]
    assert titles[0] == "ensemble"
    assert sorted(titles) == sorted(MODELS)
    said = labels(svg, "line mark")
    for rev in ("main", "HEAD"):
        assert sum(rev in label for label in said) == len(MODELS)
    looks = set(re.findall(r'"line mark"[^>]* stroke="(#\w+)"[^>]* stroke-dasharray="(.*?)"', svg))
    assert len(looks) == len({colour for colour, _ in looks}) == len({d for _, d in looks}) == 2


def test_a_model_without_an_error_is_a_point_of_the_det():
    same = np.arange(2000) < 1000
    table = plot_data.operating_points_by_model({"ja": np.where(same, 0.1, 0.9)}, same)
    assert len(labels(draw("det", "fmr", "fnmr", {"workspace": table}), "point")) == 1


def test_a_group_without_an_interval_is_named_with_the_reason():
    rates = {"fmr": 0.1, "fmr_low": 0.05, "fmr_high": 0.2, "impostor": 90}
    rates |= {"fnmr": 0.1, "fnmr_low": 0.05, "fnmr_high": 0.2, "genuine": 80}
    few = rates | {"fmr_low": None, "fmr_high": None, "impostor": 11}
    none = rates | {"fnmr": None, "fnmr_low": None, "fnmr_high": None, "genuine": 0}
    groups = {"all": rates, "Male on none": few, "Male on one": none, "Young on both": rates}
    svg = draw("groups", "value", "group", {"workspace": plot_data.group_rates(groups)})
    assert written(svg) == ["too few people (11 pairs)", "no pairs"]
    assert len(labels(svg, "point")) == len(labels(svg, "rule mark")) == 6
    named = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg) if text in groups]
    assert named == list(groups)


def training(kept: int, epochs: int = 3) -> pd.DataFrame:
    """Curves of a member, of train and validation."""
    rows = [
        ("ja", split, epoch, int(epoch == kept), 0.1 * epoch)
        for split in ("train", "val")
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows, columns=["member", "split", "epoch", "kept", "loss"])


def test_a_member_whose_first_epoch_is_kept_is_explained():
    svg = draw("curves", "epoch", "loss", {"workspace": training(kept=1)})
    assert written(svg) == ["ja keeps epoch 1: no later one has a lower contrastive loss on val"]
    for other in (training(kept=2), training(kept=1, epochs=1)):
        assert written(draw("curves", "epoch", "loss", {"workspace": other})) == []
