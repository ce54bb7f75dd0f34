"""Tests of faceverify.runs.comparison: what a reviewer is told of two revisions."""

import numpy as np
import pytest

from faceverify.evaluation.summary import FIGURES
from faceverify.runs import comparison
from faceverify.runs.comparison import Out


def figures(value=0.8, half=0.05, **others):
    """The six figures of a model, all alike, with intervals of a width."""
    given = dict.fromkeys(FIGURES, (value, half)) | others
    return {
        f"{name}{end}": None if v is None else round(v + sign * h, 6)
        for name, (v, h) in given.items()
        for end, sign in (("", 0), ("_low", -1), ("_high", 1))
    }


def rows(table):
    """The cells of a Markdown table, its header and the line under it included."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_the_interval_of_a_change_is_that_of_two_independent_estimates():
    random = np.random.default_rng(1)
    before, after = random.normal(0.8, 0.03, 200_000), random.normal(0.86, 0.04, 200_000)
    sides = []
    for drawn in (before, after):
        low, high = np.percentile(drawn, (2.5, 97.5))
        sides.append({"auc": drawn.mean(), "auc_low": low, "auc_high": high})
    found = comparison.change(*sides, "auc")
    low, high = np.percentile(after - before, (2.5, 97.5))
    assert list(found.values()) == pytest.approx([0.06, low, high], abs=2e-3)


def test_a_change_takes_the_halves_of_the_intervals_that_face_each_other():
    old = {"fmr": 0.1, "fmr_low": 0.06, "fmr_high": 0.4}
    new = {"fmr": 0.2, "fmr_low": 0.17, "fmr_high": 0.21}
    found = comparison.change(old, new, "fmr")
    assert found["fmr_low"] == pytest.approx(0.1 - np.hypot(0.03, 0.3))
    assert found["fmr_high"] == pytest.approx(0.1 + np.hypot(0.01, 0.04))


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("auc", 0.7, 0.9, "▲ better"),
        ("auc", 0.9, 0.7, "▼ worse"),
        ("accuracy", 0.70, 0.74, "▲ within noise"),
        ("eer", 0.3, 0.1, "▲ better"),
        ("fmr", 0.1, 0.3, "▼ worse"),
        ("fnmr", 0.1, 0.13, "▼ within noise"),
        ("fnmr", None, 0.13, "no interval"),
        ("fnmr", 0.1, None, "no interval"),
    ],
)
def test_a_figure_that_changed_has_a_row_with_a_verdict(name, old, new, expected):
    before, after = (figures(**{name: (value, 0.05)}) for value in (old, new))
    table = comparison.figures_table({"ja": before}, {"ja": after}, FIGURES)
    header, _, (model, figure, *_, verdict) = rows(table)
    assert header == ["model", "figure", "before", "after", "change", ""]
    assert (model, figure, verdict) == ("ja", name, expected)
    assert "5 figures are unchanged." in table


def test_a_figure_whose_interval_alone_moved_is_a_change():
    table = comparison.figures_table({"ja": figures()}, {"ja": figures(auc=(0.8, 0.06))}, FIGURES)
    assert [row[1] for row in rows(table)[2:]] == ["auc"]
    assert "| +0.000 [-0.078, +0.078] | within noise |" in table


def test_models_that_come_and_go_are_named():
    table = comparison.figures_table(
        {"ja": figures(), "mar": figures()}, {"ja": figures(), "eka": figures()}, FIGURES
    )
    assert table == "New: eka.\n\nGone: mar.\n\n6 figures are unchanged."


def moved(old, new):
    return comparison.moves(old, new, FIGURES)


def test_the_ensemble_comes_first_and_what_says_more_before_what_says_less():
    old = {name: figures() for name in ("ja", "ensemble")}
    new = {
        "ja": figures(auc=(0.99, 0.001)),
        "ensemble": figures(fmr=(0.81, 0.05), eer=(0.6, 0.05), fnmr=(None, 0), auc=(0.9, 0.05)),
    }
    found = [(move.model, move.figure) for move in moved(old, new)]
    assert found == [("ensemble", name) for name in ("eer", "auc", "fmr", "fnmr")] + [("ja", "auc")]


def test_how_much_a_change_says_is_its_size_in_widths_of_its_interval():
    grown = {"auc": 0.2, "auc_low": 0.1, "auc_high": 0.7}
    assert comparison.weight(grown, "auc") == pytest.approx(2)
    shrunk = {"auc": -0.2, "auc_low": -0.7, "auc_high": 0.2}
    assert comparison.weight(shrunk, "auc") == pytest.approx(0.5)
    assert comparison.weight(dict.fromkeys(grown, 0.1), "auc") == np.inf
    for nothing in (0, None):
        assert comparison.weight(dict.fromkeys(grown, nothing), "auc") == 0


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({}, "The ensemble is the same in all figures that both sides have."),
        ({"auc": (0.99, 0.01)}, "The ensemble is better in auc."),
        ({"auc": (0.5, 0.01)}, "The ensemble is worse in auc."),
        (
            {"fmr": (0.1, 0.01), "eer": (0.2, 0.01), "auc": (0.5, 0.05), "fnmr": (0.81, 0.05)},
            "The ensemble is better in fmr and eer and worse in auc.",
        ),
        ({"accuracy": (0.82, 0.05)}, "The ensemble changed within noise, in accuracy."),
        (
            {"fmr": (None, 0), "auc": (0.99, 0.01)},
            "The ensemble is better in auc; no interval has its fmr.",
        ),
        ({"fmr": (None, 0)}, "The ensemble cannot be judged; no interval has its fmr."),
    ],
)
def test_one_sentence_says_better_worse_or_within_noise_and_in_what(others, said):
    found = moved({"ensemble": figures()}, {"ensemble": figures(**others)})
    assert comparison.conclusion({"": found}) == said


def test_the_sentence_names_the_condition_and_the_members_that_changed_beyond_noise():
    old = {name: figures() for name in ("ja", "alip", "mar", "ensemble")}
    new = {
        "ja": figures(auc=(0.81, 0.05)),
        "alip": figures(auc=(0.3, 0.05)),
        "mar": figures(auc=(0.2, 0.05), fmr=(0.2, 0.05)),
        "ensemble": figures(auc=(0.2, 0.05)),
    }
    found = moved(old, new)
    assert comparison.conclusion({"": [], " on cards": found}) == (
        "The ensemble is worse in auc on cards; beyond noise also better mar and worse mar and "
        "alip."
    )
    only_members = [move for move in found if move.model != "ensemble"]
    assert comparison.conclusion({"": only_members}).startswith(
        "The ensemble is the same in all figures that both sides have; beyond noise also better "
    )


def test_what_says_little_of_the_members_is_folded():
    old = {name: figures() for name in ("ja", "ensemble")}
    new = {"ja": figures(auc=(0.81, 0.05), fmr=(0.2, 0.05)), "ensemble": figures(eer=(0.81, 0.05))}
    shown, hidden = comparison.figures_table(old, new, FIGURES).split("<details>")
    assert [row[:2] for row in rows(shown)[2:]] == [["ensemble", "eer"], ["ja", "fmr"]]
    assert shown.endswith("9 figures are unchanged.\n\n")
    assert hidden.startswith("<summary>1 more within noise</summary>\n\n| model |")
    assert [row[:2] for row in rows(hidden)[2:]] == [["ja", "auc"]]


def test_parameters_that_changed_in_the_same_way_share_a_row():
    halved = {"old": 64, "new": 32, "diff": -32}
    changes = {
        "model.head_filters": halved,
        "members.ja.head_filters": halved,
        "members.ja.tail_filters": halved,
        "members.mar.head_filters": halved | {"new": 16},
    }
    text = comparison.parameters_section({"params.yaml": changes, "more.yaml": {"lr": halved}})
    assert text.startswith("4 changes together: no figure speaks for one of them alone.\n\n| file ")
    assert rows(text)[2:] == [
        ["more.yaml", "lr", "64", "32"],
        ["params.yaml", "members.ja.head_filters, model.head_filters", "64", "32"],
        ["params.yaml", "members.ja.tail_filters", "64", "32"],
        ["params.yaml", "members.mar.head_filters", "64", "16"],
    ]


def test_one_parameter_is_no_change_together_and_packages_are_folded():
    one = {"params.yaml": {"lr": {"old": None, "new": 0.1}}}
    table = (
        "| file | parameter | before | after |\n| --- | --- | --- | --- |\n"
        "| params.yaml | lr | - | 0.1 |"
    )
    assert comparison.parameters_section(one) == table
    packages = {"packages.yaml": {name: {"old": "1.0", "new": "2.0"} for name in ("a.b", "c.b")}}
    shown, hidden = comparison.parameters_section(one | packages).split("\n\n<details>")
    assert shown == table
    assert hidden.startswith("<summary>2 packages differ</summary>")
    assert [row[1] for row in rows(hidden)[2:]] == ["a.b", "c.b"]
    assert comparison.parameters_section(packages).startswith("No parameter differs.\n\n<details>")
    assert comparison.parameters_section({}) == "No parameter differs."


LOCK = {
    "stages": {
        "a": {
            "outs": [{"path": "models/members/ja", "md5": "1.dir", "size": 2_500_000, "nfiles": 3}]
        },
        "b": {"outs": [{"path": "models/verifier.json", "md5": "2", "size": 999}]},
        "c": {"deps": [{"path": "src/a.py", "md5": "3"}]},
    }
}
DATA = {"outs": [{"path": "data", "md5": "4.dir", "size": 129_289_159, "nfiles": 404}]}


def test_outs_come_from_the_lock_file_and_the_dvc_files_folders_with_a_slash():
    assert comparison.outs(LOCK, DATA) == {
        "models/members/ja/": Out("1.dir", 2_500_000, 3),
        "models/verifier.json": Out("2", 999, None),
        "data/": Out("4.dir", 129_289_159, 404),
    }
    assert comparison.outs({}, {}) == {}


def test_data_that_differ_are_listed_with_their_extent():
    old = comparison.outs(LOCK, DATA)
    new = {**old, "data/": Out("5.dir", 64_000_000_000, 1200), "x": Out("6", 0, None)}
    del new["models/verifier.json"]
    assert comparison.changed(old, new) == ["data/", "models/verifier.json", "x"]
    assert rows(comparison.data_table(old, new))[2:] == [
        ["`data/`", "modified", "404 files, 129 MB", "1,200 files, 64 GB"],
        ["`models/verifier.json`", "deleted", "999 B", "-"],
        ["`x`", "added", "-", "0 B"],
    ]
    assert comparison.changed(old, dict(old)) == []


def test_the_files_inside_a_folder_are_counted_by_what_happened_to_them():
    difference = {
        "added": [{"path": "data/"}, {"path": "data/a"}, {"path": "database/b"}],
        "renamed": [{"path": {"old": "data/c", "new": "data/d"}}],
    }
    table = comparison.contents_table(difference, ["data/", "models/members/ja/"])
    assert rows(table)[0] == ["files in", "added", "deleted", "modified", "moved"]
    assert rows(table)[2:] == [
        ["`data/`", "1", "0", "0", "1"],
        ["`models/members/ja/`", "0", "0", "0", "0"],
    ]


def test_a_plot_is_drawn_from_the_files_of_its_y_or_from_the_one_that_it_is_named_for():
    plots = [
        {"ROC": {"x": "fmr", "y": {"a.csv": "tar", "b.csv": ["tar", "fmr"]}}},
        {"c.csv": {"x": "epoch", "y": "loss"}, "d.csv": None},
        "e.csv",
    ]
    assert comparison.plot_files(plots) == {
        "ROC": {"a.csv", "b.csv"},
        "c.csv": {"c.csv"},
        "d.csv": {"d.csv"},
        "e.csv": {"e.csv"},
    }
    assert comparison.plot_files([]) == {}


def test_trainings_of_former_members_are_no_outs():
    entries = {name: {"outs": [{"path": f"models/{name}", "md5": "1"}]} for name in ("ja", "old")}
    lock = {"schema": "2.0", "stages": {f"train@{name}": e for name, e in entries.items()}}
    lock["stages"]["export"] = {"outs": [{"path": "models/verifier.json", "md5": "2"}]}
    kept = comparison.without_former(lock, {"ja": {}})
    assert set(kept["stages"]) == {"train@ja", "export"}
    assert set(comparison.outs(kept)) == {"models/ja", "models/verifier.json"}
    assert comparison.without_former({}, {"ja": {}})["stages"] == {}
