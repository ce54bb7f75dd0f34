"""The repository as DVC and a reader see it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers import write_parameters

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
STAGES = ("select_faces", "pair_faces", "write_records", "train", "evaluate", "export")
OTHERS = (
    "audit_data",
    "bucket_access",
    "draw_cards",
    "drift",
    "make_sample",
    "model_card",
    "plots_page",
    "review",
    "stage_deps",
    "verify",
)
SCRIPTS = (*STAGES, *OTHERS)


def stage(name: str) -> dict:
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]
    return definition.get("do", definition)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_the_script_of_its_name_and_lists_in_order_what_it_depends_on(name):
    assert stage(name)["deps"] == sorted(stage(name)["deps"])
    *own, packages = stage(name)["params"]
    assert own == sorted(own)
    assert packages["packages.yaml"] == sorted(packages["packages.yaml"])
    assert stage(name)["cmd"].startswith(f"python src/{name}.py")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_imports_another_script(name):
    tree = ast.parse((SRC / f"{name}.py").read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not names & set(SCRIPTS)


def test_no_member_is_named_in_the_pipelines_definition():
    members = yaml.safe_load((ROOT / "params.yaml").read_text())["members"]
    text = (ROOT / "dvc.yaml").read_text()
    assert not [name for name in members if re.search(rf"\b{name}\b", text)]


def test_the_verifier_is_an_artifact_that_the_pipeline_makes():
    values = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    paths = {name: artifact["path"] for name, artifact in values["artifacts"].items()}
    assert paths == {
        "verifier": "models/verifier.tflite",
        "verifier-description": "models/verifier.json",
    }
    assert {"models/verifier.tflite", "models/verifier.json"} < set(
        map(str, stage("export")["outs"])
    )
    assert stage("train")["outs"][0] == "models/members/${key}"
    for artifact in values["artifacts"].values():
        assert artifact.keys() == {"path", "type", "desc", "labels"}


def test_the_default_remote_is_the_teams_bucket():
    config = (ROOT / ".dvc/config").read_text()
    assert "remote = gcs" in config
    assert "url = gs://handsome-dracula/machine-learning" in config
    assert "verify = true" in config  # else DVC takes over what was damaged in the bucket


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself(name):
    result = run(ROOT, name, "--help")
    assert result.returncode == 0
    assert f"usage: {name}.py" in result.stdout


@pytest.mark.parametrize("name", STAGES)
def test_outside_the_repository_a_script_says_what_is_missing(name, tmp_path):
    arguments = ["ja"] if name == "train" else []
    result = run(tmp_path, name, *arguments)
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last == f"{name}.py: error: params.yaml is missing; run this from the repository's root"
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ("pair_faces", "write_records", "train", "evaluate", "export"))
def test_a_stage_without_its_inputs_says_what_to_run(name, tmp_path):
    write_parameters(tmp_path)
    result = run(tmp_path, name, *(["ja"] if name == "train" else []))
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"{name}.py: error: prepared/")
    assert "dvc repro" in last
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "models").exists()


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, str(SRC / f"{script}.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
