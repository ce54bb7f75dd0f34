"""Tests of review.py: the report of a pull request, with real git and DVC."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers import error_line, spoil_json
from tiny import Clone

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
STAGE = """
import csv, json, pathlib, yaml
alpha = yaml.safe_load(open("params.yaml"))["alpha"]
model = pathlib.Path("models/members/ja")
model.mkdir(parents=True, exist_ok=True)
(model / "weights").write_text(str(alpha))
(model / "same").write_text("same")
ends = zip(("", "_low", "_high"), (0, -0.01, 0.01))
names = ("accuracy", "accuracy_fitted", "auc", "eer", "fmr", "fnmr")
ja = {f"{name}{end}": round(alpha + by, 6) for end, by in ends for name in names}
for folder in ("metrics", "plots"):
    pathlib.Path(folder).mkdir(exist_ok=True)
json.dump({"ja": ja, "ensemble": dict.fromkeys(ja, 0.5)}, open("metrics/summary.json", "w"))
for name, y in (("roc", alpha), ("scores", 0.5)):
    pathlib.Path(f"plots/{name}.csv").write_text(f"x,y\\n0,{y}\\n1,1\\n")
"""
PIPELINE = {
    "stages": {
        "evaluate": {
            "cmd": "python src/evaluate.py",
            "deps": ["data", "src/evaluate.py"],
            "params": ["alpha"],
            "metrics": [{"metrics/summary.json": {"cache": False}}],
            "outs": [
                "models/members/ja",
                {"plots/roc.csv": {"cache": False}},
                {"plots/scores.csv": {"cache": False}},
            ],
        }
    },
    "plots": [
        {"ROC": {"x": "x", "y": {"plots/roc.csv": "y"}}},
        {"Scores": {"x": "x", "y": {"plots/scores.csv": "y"}}},
    ],
}


def review(clone: Clone, base: str = "main") -> subprocess.CompletedProcess:
    """Run the report of this repository's script in another repository."""
    return clone.run(sys.executable, str(ROOT / "src/review.py"), "--base", base, check=False)


def report(clone: Clone, base: str = "main") -> str:
    result = review(clone, base)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def set_alpha(clone: Clone, value: float) -> None:
    (clone.folder / "params.yaml").write_text(f"alpha: {value}\n")


@pytest.fixture(scope="module")
def merged(tmp_path_factory) -> Clone:
    """A repository of one quick stage, as it is on main; the bucket is one that never answers."""
    folder = tmp_path_factory.mktemp("merged")
    made = Clone(folder)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.name_author()
    made.dvc("init", "--quiet")
    made.dvc("remote", "add", "--default", "gcs", "gs://handsome-dracula/machine-learning")
    made.dvc("remote", "modify", "gcs", "endpointurl", "http://127.0.0.1:9")
    for name in ("data", "src"):
        (folder / name).mkdir()
    (folder / "data/photo").write_text("1")
    (folder / "src/evaluate.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    set_alpha(made, 0.5)
    made.dvc("add", "--quiet", "data")
    made.dvc("repro", "--quiet")
    with (folder / ".gitignore").open("a") as ignored:
        ignored.write("/.cache/\n")
    made.commit("A change")
    return made


@pytest.fixture
def branch(merged, tmp_path) -> Clone:
    """A copy of that repository on a branch of its own."""
    made = merged.copy(tmp_path / "branch")
    made.git("switch", "--quiet", "--create", "change")
    return made


def test_a_report_tells_of_parameters_metrics_data_plots_and_of_the_lock_file(branch):
    set_alpha(branch, 0.7)
    (branch.folder / "data/photo").write_text("22")
    (branch.folder / "data/more").write_text("3")
    branch.dvc("add", "--quiet", "data")
    branch.dvc("repro", "--quiet")
    branch.commit("A change")
    text = report(branch)
    head = branch.git("rev-parse", "--short", "HEAD").strip()
    assert text.startswith(f"# Review: {head} against main\n")
    assert text.split("\n\n")[1] == (
        "**The ensemble is the same in all figures that both sides have; beyond noise also "
        "better ja and worse ja.**"
    )
    found = sections(text)
    assert list(found) == ["Metrics", "Parameters", "Data and models", "Plots", "Up to date"]
    assert re.search(r"\| params.yaml \| alpha +\| 0.5 +\| 0.7 +\|", found["Parameters"])
    assert "| ja | auc | 0.500 [0.490, 0.510] | 0.700 [0.690, 0.710] | +0.200 " in found["Metrics"]
    assert found["Metrics"].count("▲ better") == found["Metrics"].count("▼ worse") == 3
    assert "6 figures are unchanged." in found["Metrics"]
    assert "| `data/` | modified | 1 files, 1 B | 2 files, 3 B |" in found["Data and models"]
    assert "| `data/` | 1 | 0 | 1 | 0 |" in found["Data and models"]
    assert "| `models/members/ja/` | 0 | 0 | 1 | 0 |" in found["Data and models"]
    assert "summary.json" not in found["Data and models"]
    assert found["Plots"].endswith("Plots that differ:\n- ROC")
    assert found["Up to date"].startswith("`dvc.lock` belongs to")
    page = (branch.folder / ".cache/review/index.html").read_text()
    assert page.count("vegaEmbed(") == 2
    assert '"rev": "main"' in page
    assert '"rev": "HEAD"' in page
    assert branch.git("status", "--porcelain") == ""


def test_nothing_differs(branch):
    assert report(branch).endswith("against main\n\nNothing differs.\n")


def test_a_change_of_text_leaves_every_section_without_a_difference(branch):
    (branch.folder / "README.md").write_text("Read me")
    branch.commit("A change")
    set_alpha(branch, 0.9)
    text = report(branch)
    assert "not committed are no part of this report" in text
    assert sections(text)["Parameters"] == "No parameter differs."
    assert sections(text)["Up to date"] == "Commit all changes to have this checked."
    branch.git("restore", "params.yaml")
    assert sections(report(branch)) == {
        "Parameters": "No parameter differs.",
        "Metrics": "No figure differs in `metrics/summary.json`.",
        "Data and models": "No data and no model differs.",
        "Plots": "Both sides are drawn in `.cache/review/index.html`. Plots that differ: none.",
        "Up to date": "`dvc.lock` belongs to this code, these parameters and this data.",
    }


def test_results_of_other_parameters_are_said_to_be_so(branch):
    set_alpha(branch, 0.7)
    branch.commit("A change")
    text = report(branch)
    found = sections(text)
    assert "not made with what is committed" in found["Up to date"]
    assert found["Up to date"].endswith("evaluate.")
    _, said, below, *_ = text.split("\n\n")
    assert said.startswith("**The ensemble is the same ")
    assert below == found["Up to date"]


def test_the_base_is_where_the_branch_left_it(branch):
    start = branch.git("rev-parse", "--short", "main").strip()
    branch.git("switch", "--quiet", "main")
    set_alpha(branch, 0.1)
    branch.dvc("repro", "--quiet")
    branch.commit("A change")
    branch.git("switch", "--quiet", "change")
    (branch.folder / "README.md").write_text("Read me")
    branch.commit("A change")
    text = report(branch)
    assert f"against {start}\n" in text
    assert sections(text)["Parameters"] == "No parameter differs."


def test_a_clone_without_cache_says_what_it_cannot_tell_and_asks_no_remote(branch, tmp_path):
    set_alpha(branch, 0.7)
    branch.dvc("repro", "--quiet")
    branch.commit("A change")
    clone = branch.clone(tmp_path / "clone")
    with socket.create_server(("127.0.0.1", 0)) as bucket:
        address = f"http://127.0.0.1:{bucket.getsockname()[1]}"
        clone.dvc("remote", "modify", "--local", "gcs", "endpointurl", address)
        found = sections(report(clone, "origin/main"))
        bucket.setblocking(False)
        with pytest.raises(BlockingIOError):
            bucket.accept()
    assert (
        "| `models/members/ja/` | modified | 2 files, 7 B | 2 files, 7 B |"
        in found["Data and models"]
    )
    assert "cache lacks `models/members/ja/` of one side or both" in found["Data and models"]
    assert "dvc fetch --all-commits" in found["Data and models"]
    assert "▲ better" in found["Metrics"]
    assert found["Up to date"].startswith("`dvc.lock` belongs to")


def test_a_shallow_clone_says_what_to_fetch(branch, tmp_path):
    (branch.folder / "README.md").write_text("Read me")
    branch.commit("A change")
    source = branch.folder.as_uri()
    branch.git(
        "clone", "--quiet", "--depth", "1", "--no-single-branch", source, str(tmp_path / "clone")
    )
    line = error_line(review(Clone(tmp_path / "clone"), "origin/main"))
    assert line.startswith("review.py: error: this clone is shallow")
    assert line.endswith("run `git fetch --unshallow`")


@pytest.mark.parametrize("base", ["nowhere", "--help", "HEAD:params.yaml", ""])
def test_a_base_that_is_no_revision_is_named(branch, base):
    result = branch.run(sys.executable, str(ROOT / "src/review.py"), f"--base={base}", check=False)
    assert error_line(result) == (
        f"review.py: error: there is no revision {base}; fetch it, or name another: BASE=..."
    ).replace("  ", " ")


def test_histories_without_a_common_commit_are_refused(branch):
    branch.git("switch", "--quiet", "--orphan", "other")
    branch.git("commit", "--quiet", "--allow-empty", "--message", "Another beginning")
    line = error_line(review(branch))
    assert line == "review.py: error: HEAD and main have no commit in common"


def test_outside_of_a_repository_git_says_so(tmp_path):
    assert "not a git repository" in error_line(review(Clone(tmp_path)))


def test_in_a_folder_of_the_repository_it_asks_for_the_root(branch):
    line = error_line(review(Clone(branch.folder / "src")))
    assert line == "review.py: error: run this from the repository's root"


@pytest.mark.parametrize("name", ["metrics/summary.json", "dvc.lock"])
def test_a_damaged_file_is_named_with_its_revision(branch, name):
    path = branch.folder / name
    path.write_text("<<<<<<< HEAD\n" + path.read_text())
    branch.commit("A change")
    line = error_line(review(branch))
    assert line.startswith("review.py: error: ")
    assert name in line


def test_a_damaged_figure_is_named_with_its_revision(branch):
    branch.git("switch", "--quiet", "main")
    spoil_json(branch.folder / "metrics/summary.json", ["ja", "auc"])
    branch.commit("A damage")
    branch.git("switch", "--quiet", "--create", "repaired")
    spoil_json(branch.folder / "metrics/summary.json", ["ja", "auc"], 0.9)
    branch.commit("A repair")
    said = "review.py: error: metrics/summary.json of main is damaged: ja.auc: Input should be"
    assert error_line(review(branch)).startswith(said)


def test_metrics_that_came_with_the_branch_are_new(branch):
    branch.git("rm", "--quiet", "--cached", "metrics/summary.json")
    branch.git("commit", "--quiet", "--message", "No metrics yet")
    branch.git("switch", "--quiet", "--create", "later")
    branch.git("add", "--force", "metrics/summary.json")
    branch.commit("A change")
    found = sections(report(branch, "change"))
    assert found["Metrics"] == "New: ja, ensemble."


def test_the_report_of_the_whole_pipeline_shows_no_face(clone, tmp_path):
    changed = clone.copy(tmp_path / "clone")
    changed.git("switch", "--quiet", "--create", "change")
    path = changed.folder / "params.yaml"
    weights = path.read_text().replace("ja: 0.7", "ja: 0.4").replace("rai: 0.1", "rai: 0.4")
    path.write_text(weights)
    changed.dvc("repro", "evaluate")
    changed.commit("Other weights")
    text = report(changed)
    found = sections(text)
    assert re.search(r"\| ensemble.ja +\| 0.7 +\| 0.4 +\|", found["Parameters"])
    assert set(re.findall(r"^\| (\w+) \| (?!figure)", found["Metrics"], re.MULTILINE)) == {
        "ensemble"
    }
    assert "`plots/gallery/`" in found["Data and models"]
    assert "models/" not in found["Data and models"]
    assert "- ROC on the validation pairs" in found["Plots"]
    assert "while training" not in found["Plots"]
    assert found["Up to date"].endswith("what is out of date: export.")
    page = (changed.folder / ".cache/review/index.html").read_text()
    _, body = page.split("<body>\n")  # above it are Vega's own scripts
    assert body.count("vegaEmbed(") > 4
    assert not re.search(r"\.(png|jpg)|data:image|<img", text + body)


# The workflow on GitHub


@pytest.fixture(scope="module")
def workflow() -> dict:
    return yaml.safe_load((ROOT / ".github/workflows/review.yml").read_text())


def test_the_workflow_fits_the_schema_of_github():
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    file = ROOT / ".github/workflows/review.yml"
    done = subprocess.run([*check, "vendor.github-workflows", str(file)], capture_output=True)
    assert done.returncode == 0, done.stdout


def test_no_job_that_runs_code_of_a_pull_request_may_write(workflow):
    assert workflow[True] == "pull_request"  # YAML reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        checks_out = any("checkout" in step.get("uses", "") for step in job["steps"])
        assert checks_out == (name != "comment")
        assert ("permissions" in job) == (name == "comment")
    comment = workflow["jobs"]["comment"]
    assert comment["permissions"] == {"pull-requests": "write"}
    assert comment["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


def test_every_action_is_pinned_and_no_script_is_built_from_what_others_write(workflow):
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            assert "${{" not in step.get("run", "")
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_the_workflow_writes_the_report_with_make(workflow, clone, tmp_path):
    changed = clone.copy(tmp_path / "clone")
    changed.git("switch", "--quiet", "--create", "change")
    (changed.folder / "NOTES.md").write_text("A text")
    changed.commit("A text")
    own = changed.folder / ".venv"  # this environment, as the set-up leaves it
    own.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "installed":
            (own / entry.name).symlink_to(entry)
    (own / "installed").touch()
    (step,) = (s for s in workflow["jobs"]["report"]["steps"] if s.get("name"))
    environment = {
        "BASE": changed.git("rev-parse", "main").strip(),
        "PAGE": "https://github.com/some/repository/actions/runs/1",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=changed.folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    text = (changed.folder / "report.md").read_text()
    assert text == (tmp_path / "summary.md").read_text()
    assert text.startswith("# Review: ")
    assert sections(text)["Metrics"] == "No figure differs in `metrics/summary.json`."
    assert text.endswith(
        "an artifact of [this run](https://github.com/some/repository/actions/runs/1).\n"
    )


def write_cards(clone: Clone, fnmr: float) -> None:
    figures = {
        f"{name}{end}": fnmr + by
        for name in ("no_answer", "fmr", "fnmr", "auc", "tar_at_fmr_1pct", "tar_at_fmr_0.1pct")
        for end, by in (("", 0), ("_low", -0.01), ("_high", 0.01))
    }
    (clone.folder / "metrics/cards.json").write_text(json.dumps({"ja": {"card": figures}}))
    clone.commit("Figures on cards")


def test_figures_on_cards_have_a_section_of_their_own(branch):
    assert "Metrics on cards" not in sections(report(branch))
    write_cards(branch, 0.3)
    assert sections(report(branch))["Metrics on cards"] == "New: ja."
    branch.git("switch", "--quiet", "--create", "next")
    write_cards(branch, 0.2)
    text = report(branch, "change")
    assert "; beyond noise also better ja and worse ja.**" in text
    found = sections(text)["Metrics on cards"]
    assert "| ja | fnmr | 0.300 [0.290, 0.310] | 0.200 [0.190, 0.210] | -0.100 " in found
    # Less is better for no_answer, fmr and fnmr, more for auc and both TARs.
    assert found.count("▲ better") == found.count("▼ worse") == 3
    (branch.folder / "note").write_text("text")
    branch.commit("A note")
    branch.git("branch", "--force", "base", "HEAD~1")
    found = sections(report(branch, "base"))["Metrics on cards"]
    assert found == "No figure differs in `metrics/cards.json`."


def test_damaged_figures_on_cards_are_named_with_their_revision(branch):
    (branch.folder / "metrics/cards.json").write_text('{"ja": {"auc": 0.5}}')
    branch.commit("A damage")
    line = error_line(review(branch))
    assert line.startswith("review.py: error: metrics/cards.json of HEAD is damaged: ja.card: ")


def write_details(clone: Clone, details: object) -> None:
    (clone.folder / "metrics/details.json").write_text(json.dumps(details))
    clone.commit("Groups")


def test_a_warning_about_a_group_of_people_is_part_of_the_report(branch):
    rates = {"fmr": 0.1, "fmr_low": 0.08, "fmr_high": 0.12, "people": 90}
    groups = {
        "Male on both": rates,
        "Male on none": rates | {"fmr": 0.02, "fmr_low": 0.01, "fmr_high": 0.03},
    }
    contrast = {"higher": "Male on both", "lower": "Male on none", "verdict": "exceeds"}
    contrast |= {"fmr_ratio": 5.0, "fmr_ratio_low": 3.0, "fmr_ratio_high": 9.0}
    found = {"factor": 2.0, "attributes": {"Male": contrast}}
    write_details(branch, {"ensemble": {"groups": groups, "fairness": found}})
    warning, before = sections(report(branch))["Groups"].split("\n\n")
    assert warning == (
        "**Warning: the FMR with Male on both is 5.00 [3.00, 9.00] times that with Male on none, "
        "more than the factor of 2 (`evaluate.fmr_factor`) that is allowed: 0.100 [0.080, 0.120] "
        "with Male on both and 0.020 [0.010, 0.030] with Male on none.**"
    )
    assert before == "Before: not compared."

    branch.git("switch", "--quiet", "--create", "next")
    (branch.folder / "note").write_text("text")
    branch.commit("A note")
    assert sections(report(branch, "change"))["Groups"] == warning

    for damaged in ({"ensemble": {"fairness": found}}, {"ensemble": 7}, []):
        write_details(branch, damaged)
        assert re.fullmatch(
            r"review.py: error: metrics/details.json of HEAD is damaged.*; run `dvc repro`.*",
            error_line(review(branch, "change")),
        )
