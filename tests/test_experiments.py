"""A member's tuning round, as docs/tuning.md describes it: real DVC, queue and remotes."""

import json
import time

import pytest

from tiny import Clone

pytestmark = pytest.mark.slow

FIGURES = ("accuracy", "accuracy_fitted", "auc", "eer", "fmr", "fnmr", "card.fmr", "card.fnmr")
NAMES = ("ja-dropout-1", "ja-dropout-2")


@pytest.fixture(scope="module")
def tuned(clone, bucket, tmp_path_factory) -> Clone:
    """A clone in which a sweep was queued and worked off, a mistake among it; with a git remote."""
    folder = tmp_path_factory.mktemp("tuned")
    made = bucket.serve(clone.copy(folder / "clone"))
    made.git("init", "--quiet", "--bare", "--initial-branch", "main", str(folder / "team.git"))
    made.git("remote", "add", "origin", str(folder / "team.git"))
    made.git("push", "--quiet", "origin", "main")
    made.dvc("exp", "run", "--queue", "--name", "ja-wrong", "-S", "lr=-1")
    made.dvc("exp", "run", "--queue", "--name", "ja-dropout", "-S", "++members.ja.dropout=0.1,0.2")
    made.dvc("queue", "start", "--jobs", "2")
    for _ in range(360):  # a worker that dies must not keep the tests waiting for ever
        time.sleep(5)
        if not {"Queued", "Running"} & set(made.dvc("queue", "status").stdout.split()):
            break
    return made


def figures(clone: Clone, model: str = "ja") -> dict[str, float]:
    return json.loads((clone.folder / "metrics/summary.json").read_text())[model]


def test_the_queue_ran_what_could_run_and_says_why_the_rest_failed(tuned):
    rows = [line.split() for line in tuned.dvc("queue", "status").stdout.splitlines()]
    outcome = {row[1]: row[-1] for row in rows if len(row) > 4}
    assert {name: outcome[name] for name in (*NAMES, "ja-wrong")} == {
        "ja-dropout-1": "Success",
        "ja-dropout-2": "Success",
        "ja-wrong": "Failed",
    }
    log = tuned.dvc("queue", "logs", "ja-wrong").stdout
    assert "params.yaml: lr: Input should be greater than 0 (got -1)" in log
    assert "Traceback" not in log


def test_a_run_in_the_queue_leaves_the_workspace_alone(tuned, clone):
    assert tuned.git("status", "--porcelain") == ""
    assert tuned.lock() == clone.lock()
    assert figures(tuned) == figures(clone)


def test_the_table_has_what_was_tuned_and_the_figures_of_one_model(tuned):
    table = tuned.run("make", "--silent", "runs", "MODEL=ja").stdout
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    assert head == ["run", "differs from the commit in", *(f"ja.{name}" for name in FIGURES)]
    assert {name: changed for name, changed, *_ in rows} == {
        "main": "-",
        "ja-dropout-1": "members.ja.dropout 0.1 (was nothing)",
        "ja-dropout-2": "members.ja.dropout 0.2 (was nothing)",
    }


def test_two_runs_compared(tuned):
    difference = tuned.json("exp", "diff", *NAMES, "--json")
    (changed,) = difference["params"].values()
    assert changed == {"members.ja.dropout": {"old": 0.1, "new": 0.2, "diff": 0.1}}
    changed = {name for figures in difference["metrics"].values() for name in figures}
    assert {name.split(".")[0] for name in changed} == {"ja", "ensemble"}


def test_a_run_taken_over_and_committed_needs_no_more_work(tuned, tmp_path):
    clone = tuned.copy(tmp_path / "clone")
    clone.dvc("exp", "apply", "ja-dropout-2")
    assert "dropout: 0.2" in (clone.folder / "params.yaml").read_text()
    assert clone.stages_run(clone.dvc("repro").stdout) == set()
    clone.commit("ja: dropout 0.2")
    assert clone.json("status", "--json") == {}
    assert figures(clone) != figures(tuned)


def test_a_run_as_a_branch(tuned, tmp_path):
    clone = tuned.copy(tmp_path / "clone")
    clone.dvc("exp", "branch", "ja-dropout-1", "ja-dropout")
    clone.git("switch", "--quiet", "ja-dropout")
    clone.dvc("checkout")
    assert "dropout: 0.1" in (clone.folder / "params.yaml").read_text()
    assert clone.json("status", "--json") == {}


def test_a_run_shared_with_another_member(tuned, bucket, tmp_path):
    tuned.dvc("exp", "push", "origin", "ja-dropout-1")
    mar = Clone(tmp_path / "mar")
    tuned.git("clone", "--quiet", tuned.git("remote", "get-url", "origin").strip(), str(mar.folder))
    bucket.serve(mar)
    assert "ja-dropout-1" in mar.dvc("exp", "list", "origin").stdout
    mar.dvc("exp", "pull", "origin", "ja-dropout-1")
    mar.dvc("exp", "apply", "ja-dropout-1")
    mar.dvc("checkout", "models/members/ja")

    tuned = tuned.copy(tmp_path / "ja")
    tuned.dvc("exp", "apply", "ja-dropout-1")
    assert figures(mar) == figures(tuned)
    weights = "models/members/ja/tower.weights.h5"
    assert (mar.folder / weights).read_bytes() == (tuned.folder / weights).read_bytes()


def test_clearing_up_leaves_what_is_committed(tuned, tmp_path):
    clone = tuned.copy(tmp_path / "clone")
    clone.dvc("exp", "remove", *NAMES)
    clone.dvc("gc", "--workspace", "--all-branches", "--all-experiments", "--force")
    assert not set(NAMES) & set(clone.dvc("exp", "list", "--name-only").stdout.split())
    assert clone.json("status", "--json") == {}
    assert len(list((clone.folder / ".dvc/cache").rglob("*"))) < len(
        list((tuned.folder / ".dvc/cache").rglob("*"))
    )
