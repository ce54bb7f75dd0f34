"""Tests of pretrain/ as DVC sees it."""

import ast
import subprocess
import sys

import pytest
import yaml

import recipe
from pretraining import PRETRAIN, ROOT, SCRIPTS, SHIPPED


def stage(name):
    found = yaml.safe_load((PRETRAIN / "dvc.yaml").read_text())["stages"][name]
    return found.get("do", found)


def modules_of(script):
    """The script and every module of pretrain/ that it uses, also through others."""
    found, left = {script}, [script]
    while left:
        tree = ast.parse((PRETRAIN / left.pop()).read_text())
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        new = {f"{name}.py" for name in names if (PRETRAIN / f"{name}.py").is_file()} - found
        found |= new
        left += new
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stage_depends_on_its_script_and_the_modules_beside_it(name):
    deps = stage(name)["deps"]
    own = {dep for dep in deps if dep.endswith(".py") and not dep.startswith("../src/")}
    assert own == modules_of(f"{name}.py")
    assert deps == sorted(deps)
    *params, packages = stage(name)["params"]
    own = [key for key in params if isinstance(key, str)]  # not those of the pipeline's file
    assert own == sorted(own)
    assert packages["../packages.yaml"] == sorted(packages["../packages.yaml"])
    key = " ${key}" if name in ("train_tower", "fit_tower") else ""
    assert stage(name)["cmd"] == f"PYTHONPATH=../src python {name}.py{key}"


def test_every_parameter_belongs_to_a_stage():
    keys = [key for name in SCRIPTS for key in stage(name)["params"] if isinstance(key, str)]
    used = {key.split(".")[0] for key in keys}
    assert used == set(SHIPPED) == set(recipe.Recipe.model_fields)


def test_pretrain_is_a_dvc_project_of_its_own():
    tracked = ["git", "ls-files", "--error-unmatch", "pretrain/.dvc/config"]
    assert subprocess.run(tracked, cwd=ROOT, capture_output=True).returncode == 0
    assert (PRETRAIN / ".dvc/config").is_file()
    for arguments in (["stage", "list", "--all"], ["status"]):
        result = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "pretrain/" not in result.stdout
        assert not set(SCRIPTS) & set(result.stdout.split())
