"""Tests of the plots: each template drawn with Vega, and DVC's page as a browser shows it."""

import csv
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import vl_convert
import yaml
from PIL import Image
from scipy.stats import norm

from plots_page import PAGE, VEGA_LITE
from plots_page import page as written_page
from tiny import MEMBERS, Clone

pytestmark = pytest.mark.slow

ROC, DET = "ROC on the validation pairs", "DET on the validation pairs"
SCORES = "Ensemble scores of genuine and impostor pairs"
ON_CARDS = "with the first photo on a card"
GROUPS, DECISIONS = (
    "Ensemble error rates by attribute group",
    "Ensemble decisions at accept_threshold",
)
TRAINING = ("Contrastive loss", "Pairwise accuracy", "Landmark error")
LINES = 2 * len(MEMBERS)


@pytest.fixture(scope="module")
def specs(clone) -> dict[str, dict]:
    """Title -> the Vega-Lite drawing that DVC makes of a template and the data."""
    shown = json.loads(clone.dvc("plots", "show", "--json").stdout)
    assert not shown.get("errors")
    return {title: plot["content"] for title, (plot,) in shown["data"].items()}


@pytest.fixture(scope="module")
def drawings(specs) -> dict[str, str]:
    """Title -> the drawing as SVG."""
    return {t: vl_convert.vegalite_to_svg(s, vl_version=VEGA_LITE) for t, s in specs.items()}


def rows(clone: Clone, name: str) -> list[dict[str, str]]:
    with (clone.folder / "plots" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def expected_marks(clone: Clone) -> dict[str, dict[str, int]]:
    """Title -> kind of mark -> how many there are, by the data."""
    models = len({row["model"] for row in rows(clone, "roc.csv")})
    groups = len(rows(clone, "groups.csv"))
    assert models == len(MEMBERS) + 2
    assert groups > 4
    return {
        ROC: {"line mark": models},
        DET: {"line mark": models},
        SCORES: {"bar": len(rows(clone, "scores.csv")), "rule mark": 2},
        f"ROC {ON_CARDS}": {"line mark": models},
        f"DET {ON_CARDS}": {"line mark": models},
        f"Ensemble scores {ON_CARDS}": {
            "bar": len(rows(clone, "card_scores.csv")),
            "rule mark": 2,
        },
        GROUPS: {"point": groups, "rule mark": groups},
        DECISIONS: {"rect mark": 4, "text mark": 4},
        **{f"{name} while training": {"line mark": LINES, "point": LINES} for name in TRAINING},
    }


def marks(svg: str) -> Counter:
    """Kind -> how many marks of it a drawing has, as it tells a screen reader."""
    return Counter(re.findall(r'aria-roledescription="([a-z ]+)"', svg))


def lines(svg: str) -> dict[str, np.ndarray]:
    """Model -> where its line bends, (n, 2) in the units of the drawing."""
    found = {}
    for label, path in re.findall(r'aria-label="([^"]*)"[^>]*line mark"[^>]* d="([^"]*)"', svg):
        points = re.findall(r"[ML](-?[\d.]+(?:e-\d+)?),(-?[\d.]+(?:e-\d+)?)", path)
        found[re.search(r"model: (\w+)", label)[1]] = np.array(points, float)
    return found


def test_every_declared_plot_draws_a_mark_for_each_row_of_its_data(clone, drawings):
    declared = yaml.safe_load((clone.folder / "dvc.yaml").read_text())["plots"]
    expected = expected_marks(clone)
    assert {title for plot in declared for title in plot} == set(expected) == set(drawings)
    for title, counts in expected.items():
        assert {k: marks(drawings[title])[k] for k in counts} == counts, title
        assert "NaN" not in drawings[title], title


def test_the_roc_has_a_logarithmic_axis_and_the_det_curve_normal_deviates(clone, drawings):
    assert "for a log scale" in drawings[ROC]
    for label in ("10%", "20%", "40%"):
        assert f">{label}</text>" in drawings[DET]
    table = rows(clone, "roc.csv")
    drawn_lines = lines(drawings[DET])
    assert set(drawn_lines) == {*MEMBERS, "ensemble", "dlib"}
    for model, points in drawn_lines.items():
        kept = [r for r in table if r["model"] == model]
        rates = np.array([(float(r["fmr"]), float(r["fnmr"])) for r in kept])
        rates = rates[(rates <= 0.7).all(axis=1)]
        assert len(points) == len(rates) > 2
        for drawn, rate in zip(points.T, norm.ppf(rates).T, strict=True):
            fit = np.polyfit(rate, drawn, 1)
            np.testing.assert_allclose(np.polyval(fit, rate), drawn, atol=0.6)


def test_the_histogram_marks_both_thresholds(clone, drawings):
    values = yaml.safe_load((clone.folder / "params.yaml").read_text())
    labels = re.findall(r'aria-label="([^"]*)"[^>]*"rule mark"', drawings[SCORES])
    for name in ("threshold", "accept_threshold"):
        assert [label for label in labels if re.search(rf"theta: {values[name]:g}\b", label)], name


def test_training_curves_are_those_of_all_members_on_both_splits(specs):
    for name in TRAINING:
        values = specs[f"{name} while training"]["data"]["values"]
        drawn = {(row["member"], row["split"]) for row in values}
        assert drawn == {(member, split) for member in MEMBERS for split in ("train", "val")}


def test_two_revisions_are_drawn_beside_each_other(clone, tmp_path):
    changed = clone.copy(tmp_path / "clone")
    for name in ("roc", "scores", "card_roc", "card_scores", "groups", "confusion"):
        path = changed.folder / f"plots/{name}.csv"
        path.write_text(path.read_text().replace("0.5", "0.4"))
    shown = json.loads(changed.dvc("plots", "diff", "HEAD", "--json").stdout)["data"]
    expected = expected_marks(clone)
    for title, (plot,) in shown.items():
        svg = vl_convert.vegalite_to_svg(plot["content"], vl_version=VEGA_LITE)
        sides = {row["rev"] for row in plot["content"]["data"]["values"]}
        assert len(sides) == 2, title
        for kind, count in expected[title].items():
            assert marks(svg)[kind] == 2 * count, title


# In a browser


def test_the_page_is_the_one_that_the_script_writes():
    root = Path(__file__).resolve().parents[1]
    assert (root / PAGE).read_text(encoding="utf-8") == written_page()


@pytest.fixture(scope="module")
def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("there is no Chromium to open DVC's page with")
    return found


@pytest.fixture(scope="module")
def page(clone, tmp_path_factory) -> Path:
    """The page of `dvc plots show`, as it is."""
    folder = tmp_path_factory.mktemp("page") / "shown"
    clone.dvc("plots", "show", "--out", str(folder))
    return folder / "index.html"


def test_the_page_asks_the_network_for_nothing(page):
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page.read_text())


def browse(chromium: str, page: Path, *options: str) -> str:
    """Open a page without a window and without a network, and give what is printed."""
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--proxy-server=127.0.0.1:9"),
        *(f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=30000", *options),
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_in_chromium_every_plot_has_its_data(clone, chromium, page):
    shown = browse(chromium, page, "--dump-dom")
    parts = re.split(r'<div id="(\w+)"', shown)
    plots = dict(zip(parts[1::2], parts[2::2], strict=True))
    for title, counts in expected_marks(clone).items():
        found = marks(plots[title.replace(" ", "_")])
        assert {kind: found[kind] for kind in counts} == counts, title


def test_a_screenshot_shows_ink_in_all_of_the_page(chromium, page):
    picture = page.parent / "page.png"
    browse(chromium, page, f"--screenshot={picture}", "--window-size=900,3200")
    grey = np.asarray(Image.open(picture).convert("L"))
    assert grey.shape == (3200, 900)
    for strip in np.split(grey[:2800], 14):
        assert (strip < 128).mean() > 0.001
