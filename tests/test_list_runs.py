"""Tests of list_runs.py: experiments do not mix, and where they do, the table says so."""

import re
import shlex
import shutil
import sys

import pytest

from faceverify.runs import experiments
from faceverify.runs.experiments import Run
from helpers import ROOT
from tiny import Clone

FIGURES = ("accuracy", "accuracy_fitted", "auc", "eer", "fmr", "fnmr")
# In the place of the pipeline: a stage that reads params.yaml and writes one model's figures.
STAGE = """\
stages:
  score:
    cmd: python score.py
    deps: [score.py]
    params: [params.yaml: ]
    metrics:
      - metrics/summary.json: {cache: false}
      - metrics/cards.json: {cache: false}
"""
SCORE = f"""\
import json
from pathlib import Path
Path("metrics").mkdir(exist_ok=True)
figures = dict.fromkeys({FIGURES}, len(Path("params.yaml").read_text()) / 1e5)
Path("metrics/summary.json").write_text(json.dumps({{"ja": figures}}))
card = {{"card": {{"fmr": 0.0, "fnmr": 0.5}}}}
Path("metrics/cards.json").write_text(json.dumps({{"ja": card}}))
"""


def run(name, **values):
    return Run(name, values, {})


# What a run differs in


def test_a_parameter_that_came_went_or_changed_is_told_with_what_it_was():
    old = {"alpha": 0.5, "model": {"weights": None, "units": [1]}, "members": {"ja": {}}}
    new = {"alpha": 0.3, "model": {"weights": "a"}, "members": {"ja": {"l2": 0.1}}}
    assert experiments.parameters(old, new) == {
        "alpha": "0.3 (was 0.5)",
        "members.ja.l2": "0.1 (was nothing)",
        "model.units": "nothing (was [1])",
        "model.weights": "a (was null)",
    }
    assert experiments.parameters(old, old) == {}


def test_of_the_changed_files_results_are_no_cause():
    lock = {"stages": {"s": {"outs": [{"path": "metrics/a.json", "md5": "1"}]}}}
    lock["stages"]["s"]["outs"].append({"path": "plots", "md5": "2.dir"})
    changed = ["dvc.lock", "params.yaml", "metrics/a.json", "plots/b.csv", "src/train.py"]
    assert experiments.inputs(changed, lock) == ["src/train.py"]


@pytest.mark.parametrize(
    ("one", "others", "expected"),
    [
        (run("ja-lr", lr="1"), [], []),
        (run("bluff-sire", alpha="1"), [], []),
        (run("ja-lr", lr="1", alpha="1"), [], ["alpha"]),
        (run("ja-lr-alpha03", lr="1", alpha="1"), [], []),
        (run("ja-threshold", accept_threshold="1", lr="1"), [], ["accept_threshold", "lr"]),
        (run("ja-accept-threshold", accept_threshold="1"), [], []),
        (run("clear", lr="1", alpha="1"), [], ["alpha", "lr"]),
        (run("ja-ensemble", **{"ensemble.ja": "1", "ensemble.mar": "1"}), [], []),
        (run("ja-l2", **{"members.ja.l2": "1", "src/train.py": "changed"}), [], ["src/train.py"]),
        (run("ja-g-1", lr="1", beta="1"), [run("ja-g-2", lr="2", beta="2")], []),
        (run("ja-g-1", lr="1", beta="1"), [run("ja-g-2", lr="2", beta="1")], ["beta"]),
        (run("ja-g-1", lr="1", beta="1"), [run("other-2", lr="2")], ["beta", "lr"]),
    ],
)
def test_a_run_differs_in_no_more_than_its_name_and_its_sweep_suggest(one, others, expected):
    assert experiments.surplus(one, [one, *others]) == expected


# With DVC


@pytest.fixture
def project(tmp_path) -> Clone:
    """A project with the shipped params.yaml, and one quick stage for the whole pipeline."""
    made = Clone(tmp_path / "project")
    made.folder.mkdir()
    for name in ("params.yaml", "Makefile", ".gitignore"):
        shutil.copy(ROOT / name, made.folder / name)
    (made.folder / "src").symlink_to(ROOT / "src")
    (made.folder / "dvc.yaml").write_text(STAGE)
    (made.folder / "score.py").write_text(SCORE)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.name_author()
    made.dvc("init", "--quiet")
    made.dvc("repro", "--quiet")
    made.commit("A project")
    return made


def table(project: Clone) -> tuple[dict[str, str], str]:
    """Run -> what it differs in, with its mark, as `make runs` prints it; and the rest."""
    printed = project.run("make", "--silent", "runs", "MODEL=ja").stdout
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line[:1] == "|"]
    return {row[0]: row[1] for row in rows[2:]}, re.sub(r"^\|.*\n", "", printed, flags=re.M).strip()


def commands(page: str, heading: str) -> list[str]:
    """The commands of the blocks below a heading of a page, word for word, without comments."""
    part = (ROOT / page).read_text().split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


def settings(command: str) -> list[str]:
    words = shlex.split(command)
    return [words[i + 1] for i, word in enumerate(words) if word == "-S"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "headings", "runs"),
    [
        ("README.md", ["## Tune a model"], 4),
        ("docs/tuning.md", ["## 2. Try one value", "## 3. Try several at once"], 4),
    ],
    ids=["README", "tuning"],
)
def test_each_run_of_the_documented_block_changes_what_it_says_and_nothing_else(
    project, page, headings, runs
):
    documented = [line for heading in headings for line in commands(page, heading)]
    tried = [line for line in documented if line.startswith("dvc exp run")]
    for line in documented:
        if line.startswith("dvc exp apply"):
            continue  # by intention the one that changes the workspace
        # In the foreground, and no worker that outlives the test.
        line = "dvc exp run --run-all" if line.startswith("dvc queue start") else line
        project.run("bash", "-c", line)
        assert project.git("status", "--porcelain") == "", line
    base, *found = table(project)[0].items()
    assert base == ("main", "-")
    assert len(found) == runs
    assert not [name for name, _ in found if name.startswith("!")]
    expected = {one.split("=")[0].lstrip("+") for line in tried for one in settings(line)}
    assert {changed.split(" ")[0] for _, changed in found} == expected
    assert all(re.fullmatch(r"\S+ \S+ \(was \S+\)", changed) for _, changed in found), found


@pytest.mark.slow
def test_what_was_left_in_the_workspace_and_what_a_run_took_along_is_told(project):
    project.dvc("exp", "run", "--quiet", "--name", "ja-alpha", "-S", "alpha=0.3")
    assert "workspace differs from its commit (alpha 0.3 (was 0.5))" in table(project)[1]
    project.dvc("exp", "run", "--quiet", "--temp", "--name", "ja-lr", "-S", "lr=0.01")
    project.dvc("exp", "run", "--quiet", "--queue", "--name", "ja-l2", "-S", "l2=0.1")
    found, said = table(project)
    assert found["! ja-lr"].startswith("alpha 0.3 (was 0.5), lr 0.01 (was ")
    assert found["! ja-l2"].startswith("alpha 0.3 (was 0.5), l2 0.1 (was ")
    assert "! ja-lr differs in 2 things, and neither its name" in said
    assert "say why in alpha: was it left over?" in said


@pytest.mark.slow
def test_apply_drops_uncommitted_changes_of_tracked_files_and_keeps_new_files(project):
    project.dvc("exp", "run", "--quiet", "--temp", "--name", "ja-alpha", "-S", "alpha=0.3")
    score, new = project.folder / "score.py", project.folder / "new.py"
    committed = score.read_text()
    score.write_text(f"{committed}# mine\n")
    new.write_text("# mine")
    project.dvc("exp", "apply", "ja-alpha")
    assert score.read_text() == committed
    assert new.read_text() == "# mine"
    assert project.git("stash", "list") == ""


@pytest.mark.slow
def test_a_model_that_is_not_there_is_named(project):
    script = str(ROOT / "src/list_runs.py")
    result = project.run(sys.executable, script, "--model", "nobody", check=False)
    assert result.returncode == 2
    assert result.stderr == (
        "list_runs.py: error: main has no figures of nobody; name another: MODEL=...\n"
    )
