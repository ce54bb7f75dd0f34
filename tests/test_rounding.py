"""Tests of drift.py and of faceverify.runs.rounding: rounding is told from a real change."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from faceverify.base.errors import InputError
from faceverify.runs import rounding
from helpers import error_line, spoil_json
from tiny import Clone

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
THRESHOLDS = (0.5, 0.6)


def scored(*thetas, name="ja"):
    """A run's table with these scores of one model."""
    photos = np.array([[f"{i}-0.png", f"{i}-1.png"] for i in range(len(thetas))], object)
    return rounding.thetas({name: np.array(thetas)}, photos, np.ones(len(thetas), bool), seed=1)


def moved(old, new, thresholds=THRESHOLDS):
    return rounding.compare(scored(*old), scored(*new), {"ja": thresholds})["ja"]


# Scores that are kept


def test_few_pairs_are_all_kept_with_six_decimals():
    table = scored(0.12345649, 0.5)
    assert table.to_csv(index=False) == (
        "first,second,same,ja\n0-0.png,0-1.png,1,0.123456\n1-0.png,1-1.png,1,0.5\n"
    )


def test_of_many_pairs_some_are_drawn_evenly_and_the_same_again():
    count = 3 * rounding.MOST_PAIRS
    photos = np.arange(2 * count).astype(str).astype(object).reshape(-1, 2)
    scores, same = np.arange(count) / count, np.arange(count) % 2 == 0
    one, again, other = (rounding.thetas({"ja": scores}, photos, same, seed) for seed in (1, 1, 2))
    assert len(one) == rounding.MOST_PAIRS
    assert one.equals(again)
    assert not one.equals(other)
    assert one.ja.is_monotonic_increasing
    assert one["first"].is_unique
    assert 0.45 < one.same.mean() < 0.55
    assert 0.47 < one.ja.mean() < 0.53


def test_what_is_written_is_read_again():
    table = scored(0.1, 0.65)
    assert rounding.parse(table.to_csv(index=False), "here").ja.tolist() == [0.1, 0.65]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "thetas.csv is not a table"),
        ("first,second\n", "thetas.csv, line 1: expected the columns first,second,same"),
        ("first,second,same\n", "thetas.csv, line 1: expected the columns first,second,same"),
        ("first,second,same,ja\na,b,1,x\n", "thetas.csv, line 2: ja is not a number"),
        ("first,second,same,ja\na,b,1,0.5\na,c,1,inf\n", "thetas.csv, line 3: ja is not a"),
        ("first,second,same,ja\na,b,1,0.5,7,8\n", "thetas.csv, line 1: expected the columns"),
        ('first,second,same,ja\n"a,b,1,0.5\n', "thetas.csv is not a table"),
    ],
)
def test_other_tables_are_refused_by_line(text, message):
    with pytest.raises(InputError, match=f"^{message}"):
        rounding.parse(text, "thetas.csv")


# Comparison


def test_moves_and_changed_decisions_are_counted():
    found = moved([0.1, 0.499, 0.59, 0.7], [0.1, 0.501, 0.61, 0.69])
    assert found.largest == pytest.approx(0.02)
    assert found.median == pytest.approx(0.006)
    assert found.changed == {0.5: 1, 0.6: 1}
    assert found.farthest == pytest.approx(0.01)


def test_a_score_at_the_threshold_is_refused_as_everywhere():
    assert moved([0.6], [0.599999]).changed == {0.5: 0, 0.6: 1}
    assert moved([0.6], [0.600001]).changed == {0.5: 0, 0.6: 0}


def test_other_pairs_or_models_are_no_comparison():
    one, thresholds = scored(0.1, 0.2), {"ja": THRESHOLDS, "mar": THRESHOLDS}
    with pytest.raises(InputError, match="^the two runs judge other pairs of photos"):
        rounding.compare(one, scored(0.1), thresholds)
    with pytest.raises(InputError, match="^the two runs judge other pairs of photos"):
        rounding.compare(one, one.assign(second=["x.png", "y.png"]), thresholds)
    with pytest.raises(InputError, match="^the two runs have other models"):
        rounding.compare(one, scored(0.1, 0.2, name="mar"), thresholds)
    with pytest.raises(InputError, match="^no threshold of ja is known"):
        rounding.compare(one, one, {})


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ([0.1, 0.5, 0.7], rounding.IDENTICAL),
        ([0.1, 0.5, 0.7 + 0.9 * rounding.TOLERANCE], rounding.NOISE),
        ([0.1, 0.5, 0.7 + 1.1 * rounding.TOLERANCE], rounding.REAL),
        ([0.1, 0.5 - 0.5 * rounding.TOLERANCE, 0.7], rounding.REAL),
    ],
    ids=["equal", "near", "far", "near, decided otherwise"],
)
def test_the_verdict_wants_near_scores_and_equal_decisions(new, expected):
    assert rounding.verdict({"ja": moved([0.1, 0.5, 0.7], new)}) == expected


# The command


def changed_thetas(clone: Clone, by: float) -> None:
    """Move each score of the workspace."""
    path = clone.folder / "metrics/thetas.csv"
    table = rounding.parse(path.read_text(), str(path))
    models = table.columns[len(rounding.PAIR) :]
    table[models] = (table[models] + by).round(6)
    table.to_csv(path, index=False)


def run(clone: Clone, base: str = "HEAD", *options: str):
    script = str(ROOT / "src/drift.py")
    return clone.run(sys.executable, script, "--base", base, *options, check=False)


@pytest.fixture
def results(clone, tmp_path) -> Clone:
    """What the command reads of the clone, committed in a repository of its own."""
    made = Clone(tmp_path / "results")
    for part in ("metrics", "plots/training"):
        shutil.copytree(clone.folder / part, made.folder / part)
    shutil.copy(clone.folder / "dvc.lock", made.folder)
    made.git("init", "--quiet")
    made.name_author()
    made.commit("Results")
    return made


def test_a_run_that_is_the_same_is_identical(clone):
    result = run(clone)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Both were made in the same environment: metrics/environment.json." in result.stdout
    assert "Outputs with other bytes: none." in result.stdout
    assert result.stdout.splitlines()[-1] == "Verdict: identical. Every score is the same."
    assert clone.git("status", "--porcelain") == ""


COMPUTED = """
from faceverify.base import backend
backend.start()
backend.compute_alike()
import keras
keras.layers.Conv2D(8, 3)(keras.ops.ones((1, 16, 16, 3)))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 has these instructions alone")
@pytest.mark.parametrize(
    ("wanted", "used"), [({}, "AVX2"), ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, "SSE4.1")]
)
def test_onednn_uses_what_all_processors_have_or_what_the_user_says(wanted, used):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "ONEDNN_VERBOSE": "1", **wanted}
    result = subprocess.run(
        [sys.executable, "-c", COMPUTED],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"onednn_verbose,v1,info,cpu,isa:Intel {used}\n" in result.stdout
    assert "onednn_verbose,v1,primitive,exec,cpu,convolution" in result.stdout


def test_another_instruction_set_gives_numerical_noise(clone, tmp_path, monkeypatch):
    workspace = clone.copy(tmp_path / "clone")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    workspace.run("rm", "-r", ".cache")
    workspace.dvc("repro", "--force", "--single-item", "evaluate")
    result = run(workspace)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "`metrics/environment.json`" in result.stdout
    assert "`models/members/ja/`" not in result.stdout
    if platform.machine() == "x86_64":
        usual, without = (
            json.dumps({"ONEDNN_MAX_CPU_ISA": "AVX2", "TF_ENABLE_ONEDNN_OPTS": value})
            for value in ("1", "0")
        )
        assert f"| evaluate | settings | {usual} | {without} |" in result.stdout
    # Whether any score moves at all depends on what oneDNN has for this processor.
    assert "\nVerdict: numerical noise. " in result.stdout or "identical. " in result.stdout


def test_scores_that_moved_far_are_a_real_change(results):
    changed_thetas(results, 0.01)
    result = run(results)
    assert (result.returncode, result.stderr) == (1, "")
    assert "| ja | 0.010000 | 0.010000 |" in result.stdout
    assert "\nVerdict: a real change. " in result.stdout


def test_in_brief_it_is_one_line(results):
    same = "Against HEAD: identical. Every score is the same. 0 outputs have other bytes.\n"
    assert run(results, "HEAD", "--brief").stdout == same
    changed_thetas(results, 0.01)
    result = run(results, "HEAD", "--brief")
    assert result.returncode == 1
    assert result.stdout.startswith("Against HEAD: a real change. A score moved by more than ")
    assert result.stdout.count("\n") == 1


def test_make_demo_ends_with_one_line_whatever_it_says(results):
    makefile = (ROOT / "Makefile").read_text()
    last = makefile.split("\ndemo: sample\n")[1].split("\n\n")[0].splitlines()[-1]
    (results.folder / "src").symlink_to(ROOT / "src")

    def said() -> str:
        result = results.run("sh", "-c", last.strip("\t@"))
        assert result.stderr == ""
        empty, line = result.stdout.splitlines()
        assert empty == ""
        return line

    assert said().startswith("Against HEAD: identical. ")
    changed_thetas(results, 0.01)
    assert said().startswith("Against HEAD: a real change. ")
    (results.folder / "metrics/thetas.csv").unlink()
    assert said().startswith("drift.py: error: metrics/thetas.csv is missing; ")


def test_another_machine_is_seen_in_the_records(results):
    path = results.folder / "metrics/environment.json"
    here = json.loads(path.read_text())
    path.write_text(json.dumps(here | {"cores": here["cores"] + 1, "processor": "Z80"}))
    shown = run(results).stdout
    assert f"| evaluate | cores | {here['cores']} | {here['cores'] + 1} |" in shown
    assert f"| evaluate | processor | {here['processor']} | Z80 |" in shown


def test_models_of_other_bytes_are_results_and_no_other_inputs(results):
    def another(stages):
        (model,) = (o for o in stages["train@ja"]["outs"] if o["path"] == "models/members/ja")
        (models,) = (d for d in stages["evaluate"]["deps"] if d["path"] == "models/members")
        model["md5"] = models["md5"] = f"{'0' * 32}.dir"

    change_lock(results, another)
    result = run(results)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Outputs with other bytes: `models/members/ja/`." in result.stdout


def change_lock(clone: Clone, change) -> None:
    path = clone.folder / "dvc.lock"
    values = yaml.safe_load(path.read_text())
    change(values["stages"])
    path.write_text(yaml.safe_dump(values))


def other_alpha(stages):
    stages["train@ja"]["params"]["params.yaml"]["alpha"] = 0.3


def other_code(stages):
    dep = next(d for d in stages["evaluate"]["deps"] if d["path"] == "src/evaluate.py")
    dep["md5"] = "0" * 32


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda c: change_lock(c, other_alpha),
            "the run here and that of HEAD differ in train@ja: alpha: this is no comparison of",
        ),
        (
            lambda c: change_lock(c, other_code),
            "the run here and that of HEAD differ in src/evaluate.py: this is no comparison of",
        ),
        (lambda c: (c.folder / "dvc.lock").write_text("{"), "dvc.lock is damaged"),
        (lambda c: (c.folder / "dvc.lock").unlink(), "dvc.lock: No such file or directory"),
        (lambda c: (c.folder / "metrics/thetas.csv").unlink(), "metrics/thetas.csv is missing"),
        (
            lambda c: (c.folder / "metrics/thetas.csv").write_text("first\n"),
            "metrics/thetas.csv, line 1: expected the columns",
        ),
        (
            lambda c: (c.folder / "metrics/details.json").write_text("[]"),
            "metrics/details.json is damaged",
        ),
        (
            lambda c: spoil_json(c.folder / "metrics/details.json", ["ja", "threshold"]),
            "metrics/details.json is damaged: ja.threshold: Input should be a valid number",
        ),
        (
            lambda c: spoil_json(c.folder / "metrics/details.json", ["ja", "threshold"], None),
            "metrics/details.json is damaged: ja.threshold: Input should be a valid number",
        ),
        (
            lambda c: (c.folder / "dvc.lock").write_text(f"a: {'[' * 100_000}"),
            "dvc.lock is damaged",
        ),
        (
            lambda c: (c.folder / "dvc.lock").write_text("stages: [1, 2]"),
            "dvc.lock is damaged: stages: Input should be a valid dictionary",
        ),
        (
            lambda c: (c.folder / "dvc.lock").write_text("stages: {a: {outs: [{path: b}]}}"),
            "dvc.lock is damaged: stages.a.outs.0.md5: missing key",
        ),
        (
            lambda c: (c.folder / "metrics/details.json").write_text("{}"),
            "no threshold of alip is known",
        ),
        (
            lambda c: (c.folder / "metrics/environment.json").write_text("["),
            "metrics/environment.json is not valid JSON",
        ),
        (
            lambda c: (c.folder / "metrics/environment.json").write_text("[]"),
            "metrics/environment.json is damaged",
        ),
    ],
    ids=[
        "alpha",
        "code",
        "lock",
        "no lock",
        "no scores",
        "no columns",
        "details",
        "a threshold",
        "no threshold",
        "a deep lock",
        "a list of stages",
        "no hash",
        "no model",
        "record",
        "a list",
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(results, spoil, message):
    spoil(results)
    assert error_line(run(results)).startswith(f"drift.py: error: {message}")


def test_a_base_without_results_is_named(clone, tmp_path):
    first = clone.git("rev-list", "--max-parents=0", "HEAD").strip()
    assert error_line(run(clone, first)).startswith(
        f"drift.py: error: {first} has no dvc.lock; name a revision with results: BASE=..."
    )
    assert error_line(run(clone, "nowhere")).startswith(
        "drift.py: error: there is no revision nowhere"
    )
