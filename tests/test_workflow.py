"""The team's daily commands, against real DVC in a small clone of the repository."""

import csv
import io
import json
import os
import platform
import re
import signal

import numpy as np
import pytest
import yaml

from faceverify.base.packages import RESULTS
from faceverify.evaluation import fairness
from faceverify.runs import parameters
from faceverify.verify import verifier_file
from tiny import MEMBERS, ROOT, STAGES, TRAINING, Clone


@pytest.fixture
def workspace(clone, tmp_path) -> Clone:
    """The clone once more, for a test that changes it."""
    return clone.copy(tmp_path / "clone")


def summary(clone: Clone) -> dict:
    return json.loads((clone.folder / "metrics/summary.json").read_text())


def test_a_second_repro_does_nothing(clone):
    result = clone.dvc("repro")
    assert clone.stages_run(result.stdout) == set()
    assert clone.json("status", "--json") == {}
    assert clone.git("status", "--porcelain") == ""


def test_a_forced_repro_gives_the_same_bytes(workspace):
    before = workspace.lock()
    result = workspace.dvc("repro", "--force")
    assert workspace.stages_run(result.stdout) == STAGES
    assert workspace.lock() == before
    assert workspace.git("status", "--porcelain") == ""


def test_alpha_reruns_training_and_what_depends_on_it(workspace):
    before = summary(workspace)
    result = workspace.dvc("exp", "run", "--name", "alpha03", "-S", "alpha=0.3")
    assert workspace.stages_run(result.stdout) == TRAINING | {"evaluate", "export"}
    assert summary(workspace) != before

    difference = workspace.json("metrics", "diff", "--json")["metrics/summary.json"]
    assert {name.split(".")[0] for name in difference} == MEMBERS | {"ensemble"}
    changed = workspace.json("params", "diff", "--json")["params.yaml"]
    assert list(changed) == ["alpha"]
    assert (changed["alpha"]["old"], changed["alpha"]["new"]) == (0.5, 0.3)
    table = csv.DictReader(io.StringIO(workspace.dvc("exp", "show", "--csv").stdout))
    column = next(name for name in table.fieldnames if name.endswith("ensemble.auc"))
    rows = list(table)
    run = next(row for row in rows if row["Experiment"] == "alpha03")
    base = next(row for row in rows if row["rev"] == "main")
    assert (run["alpha"], base["alpha"]) == ("0.3", "0.5")
    assert run[column] != base[column]


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_repro_that_is_stopped_in_training_goes_on_to_the_same_bytes(workspace, kind):
    before = workspace.lock()
    again = ("repro", "--single-item", "--force", "train@ja")
    process = workspace.start("dvc", *again)
    for line in process.stdout:
        if line.startswith("epoch 1/2 "):
            os.killpg(process.pid, kind)
            break
    _, errors = process.communicate()
    assert process.returncode != 0
    if kind == signal.SIGINT:
        assert "stopped after epoch 1 of 2; run the same command again to go on from" in errors
        assert "Traceback" not in errors
    assert "ja: going on after epoch 1 of 2" in workspace.dvc(*again).stdout
    assert workspace.lock() == before
    assert workspace.git("status", "--porcelain") == ""
    assert workspace.json("status", "--json") == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["accept_threshold=0.5"], {"evaluate", "export"}),
        (["ensemble.ja=0.4", "ensemble.mar=0.4"], {"evaluate", "export"}),
        (["capture.min_sharpness=0.3"], {"evaluate", "export"}),
        (["lr=1e-5"], TRAINING | {"evaluate", "export"}),
        (["members.mar.dropout=0.2"], {"train@mar", "evaluate", "export"}),
        (["select.faces_per_identity=5"], {"select_faces"}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else value[0],
)
def test_a_parameter_reruns_only_what_reads_it(workspace, change, expected):
    options = [word for setting in change for word in ("-S", setting)]
    # Nobody has five photos here: the stage that reads that number runs, and says so.
    possible = "faces_per_identity" not in change[0]
    result = workspace.dvc("exp", "run", *options, check=possible)
    assert workspace.stages_run(result.stdout) == expected
    if not possible:
        assert "no person has enough usable faces" in result.stderr


def test_the_changed_lr_is_the_number_that_was_meant(workspace):
    workspace.dvc("exp", "run", "-S", "lr=1e-5", "pair_faces")
    path = workspace.folder / "params.yaml"
    # DVC writes 1e-05, which YAML 1.1 would read as a text.
    assert re.search(r"^lr: 1e-0?5\s", path.read_text(), re.MULTILINE)
    assert parameters.load(path).lr == 1e-5


def test_a_wrong_parameter_stops_before_any_work_and_loses_nothing(workspace):
    before = workspace.lock()
    result = workspace.dvc("exp", "run", "-S", "pair.val_share=1.5", check=False)
    assert result.returncode != 0
    assert "params.yaml: pair.val_share: Input should be less than 1 (got 1.5)" in result.stderr
    assert "Traceback" not in result.stderr
    assert workspace.lock() == before


def test_git_holds_small_metrics_and_plots_but_no_faces(clone):
    tracked = clone.git("ls-files").splitlines()
    assert "metrics/summary.json" in tracked
    assert "plots/roc.csv" in tracked
    assert any(name.startswith("plots/training/ja/") for name in tracked)
    assert not [
        name for name in tracked if name.startswith(("data/", "models/members/ja", "prepared/s"))
    ]
    # But for the page of examples and the test vectors, whose people are of the sample.
    pictures = [name for name in tracked if name.endswith((".png", ".jpg"))]
    vectors = [f"src/sample/vectors/vector-{number}.png" for number in (1, 2, 3)]
    assert pictures == ["docs/cards.jpg", *vectors]
    assert (clone.folder / "plots/gallery/false_accepts.png").is_file()


def test_the_summary_has_six_figures_a_model_with_intervals(clone):
    figures = {"accuracy", "accuracy_fitted", "auc", "eer", "fmr", "fnmr"}
    expected = {f"{name}{end}" for name in figures for end in ("", "_low", "_high")}
    assert set(summary(clone)) == MEMBERS | {"ensemble", "dlib"}
    assert all(set(report) == expected for report in summary(clone).values())
    text = (clone.folder / "metrics/summary.md").read_text()
    models, _, _, _, _, weightings, _ = text.split("\n\n")
    rows = models.splitlines()[2:]
    assert {row.split(" | ")[0].removeprefix("| ") for row in rows} == set(summary(clone))
    best = summary(clone)["dlib"]
    assert f"{best['auc']:.3f} [{best['auc_low']:.3f}, {best['auc_high']:.3f}]" in rows[-1]
    names = [row.split(" | ")[0].removeprefix("| ") for row in weightings.splitlines()[2:]]
    assert names == ["shipped", "best single", "uniform", "fitted"]


def test_groups_are_compared_and_it_is_said_where_they_are_too_small(clone):
    ensemble = json.loads((clone.folder / "metrics/details.json").read_text())["ensemble"]
    found = ensemble["fairness"]
    assert found["factor"] == 2.0
    assert set(found["attributes"]) == {"Male", "Young", "Eyeglasses"}
    said = fairness.sentences(found, ensemble["groups"])
    assert (clone.folder / "metrics/summary.md").read_text().endswith(f"\n\n{said}\n")
    assert said.startswith("Too few people to tell ")


def test_a_run_tells_where_it_was_made_and_what_it_scored(clone):
    records = [clone.folder / "metrics/environment.json"]
    records += [clone.folder / f"plots/training/{member}/environment.json" for member in MEMBERS]
    here, *others = (json.loads(record.read_text()) for record in records)
    assert here["python"] == platform.python_version()
    pinned = (ROOT / "requirements.txt").read_text()
    for package in RESULTS.values():
        assert f"\n{package}=={here[package]} " in pinned, package
    assert here["instruction_sets"]
    assert all(other == here for other in others)

    with (clone.folder / "metrics/thetas.csv").open() as file:
        rows = list(csv.DictReader(file))
    details = json.loads((clone.folder / "metrics/details.json").read_text())
    for name, report in details.items():
        wrong = [
            (float(row[name]) < report["accept_threshold"]) != int(row["same"]) for row in rows
        ]
        share = report["val"]["fmr"] * report["val"]["impostor"]
        share += report["val"]["fnmr"] * report["val"]["genuine"]
        assert sum(wrong) == pytest.approx(share, abs=1e-3), name


def test_other_weights_are_scored_like_the_shipped_ones(clone):
    details = json.loads((clone.folder / "metrics/details.json").read_text())
    weightings = details["ensemble"]["weightings"]
    shipped = weightings["shipped"]
    ensemble = yaml.safe_load((clone.folder / "params.yaml").read_text())["ensemble"]
    assert shipped["weights"] == ensemble
    assert {key: shipped[key] for key in summary(clone)["ensemble"]} == summary(clone)["ensemble"]
    assert shipped["auc_difference"] == 0
    best = max(MEMBERS, key=lambda name: details[name]["train"]["auc"])
    alone = weightings["best single"]
    assert (
        details[max(alone["weights"], key=alone["weights"].get)]["train"]["auc"]
        == (details[best]["train"]["auc"])
    )
    for name, report in weightings.items():
        assert sum(report["weights"].values()) == pytest.approx(1, abs=1e-5), name
        assert report["auc"] - shipped["auc"] == pytest.approx(report["auc_difference"], abs=2e-6)


def test_members_share_the_frozen_brain_and_nobody_is_in_both_splits(clone):
    brains = {(clone.folder / f"models/members/{m}/brain.weights.h5").read_bytes() for m in MEMBERS}
    assert len(brains) == 1
    rows = (clone.folder / "prepared/pairs.csv").read_text().splitlines()[1:]
    people = {"train": set(), "val": set()}
    for row in rows:
        fields = row.split(",")
        people[fields[2]] |= {fields[5], fields[6]}
    assert people["train"]
    assert people["val"]
    assert not people["train"] & people["val"]


def test_the_export_runs_beside_its_models_and_is_cached_not_in_git(clone):
    loaded = verifier_file.load(clone.folder / "models/verifier.json")
    assert {member.name for member in loaded.description.members} == MEMBERS
    assert loaded.description.metrics == summary(clone)["ensemble"]
    embedding, _ = loaded.network.embed(np.zeros((1, 218, 218, 3), np.uint8))
    theta, by_member = loaded.network.compare(embedding, embedding)
    assert (theta, by_member.shape) == ([0], (1, len(MEMBERS)))
    tracked = clone.git("ls-files").splitlines()
    assert "metrics/export.json" in tracked
    assert not [name for name in tracked if name.startswith("models/verifier")]


def test_every_plot_has_its_data(clone):
    shown = json.loads(clone.dvc("plots", "show", "--json").stdout)
    assert not shown.get("errors")
    declared = yaml.safe_load((clone.folder / "dvc.yaml").read_text())["plots"]
    titles = {title for plot in declared for title in plot}
    assert {name.removeprefix("dvc.yaml::") for name in shown["data"]} == titles
    for title, (plot, *_) in shown["data"].items():
        assert len(json.dumps(plot)) > 1000, title
