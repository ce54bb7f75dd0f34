"""Stages depend on the code that they import and on the versions of the packages that it uses."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from faceverify.base.packages import RESULTS
from faceverify.runs import imports
from helpers import ROOT, error_line, run_script

SRC = ROOT / "src"


@pytest.fixture
def project(tmp_path) -> Path:
    """The repository's code and pipelines, in a folder to change."""
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / "pretrain").mkdir()
    for path in (*(ROOT / "pretrain").glob("*.py"), ROOT / "pretrain/dvc.yaml"):
        shutil.copy(path, tmp_path / "pretrain")
    for name in ("dvc.yaml", "packages.yaml", "requirements.txt", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def stage_deps(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run_script(str(folder / "src/stage_deps.py"), folder, *arguments)


def code(folder: Path, pipeline: str, stage: str) -> list[str]:
    definition = yaml.safe_load((folder / pipeline).read_text())["stages"][stage]
    return [dep for dep in definition.get("do", definition)["deps"] if dep.endswith(".py")]


def test_the_committed_pipelines_are_up_to_date():
    result = run_script("stage_deps.py", ROOT, "--check")
    assert (result.returncode, result.stdout) == (0, "up to date\n"), result.stderr


def test_a_new_import_makes_them_stale_and_is_written(project):
    script = project / "src/pair_faces.py"
    script.write_text(f"{script.read_text()}\nfrom faceverify.base import output\n")
    checked = stage_deps(project, "--check")
    assert checked.returncode == 1
    assert checked.stderr == "out of date: dvc.yaml; `make deps` writes them\n"
    before = (project / "dvc.yaml").read_text()
    assert stage_deps(project).stdout == "written: dvc.yaml\n"
    added = {
        line.strip()
        for line in (project / "dvc.yaml").read_text().splitlines()
        if line not in before.splitlines()
    }
    assert added == {"- src/faceverify/base/output.py"}
    assert "src/faceverify/base/output.py" in code(project, "dvc.yaml", "pair_faces")
    assert stage_deps(project, "--check").returncode == 0


def test_the_stages_of_pretrain_depend_on_the_library_and_on_each_other(project):
    found = code(project, "pretrain/dvc.yaml", "train_tower")
    assert {"../src/faceverify/model/network.py", "recipe.py", "views.py"} <= set(found)
    path = project / "src/faceverify/model/losses.py"
    path.write_text(f"import json\n{path.read_text()}")
    assert stage_deps(project, "--check").returncode == 0  # the same modules


def test_a_pinned_package_that_changes_results_goes_into_the_table_and_others_do_not(project):
    pins = project / "requirements.txt"
    text = pins.read_text()
    tool = text.replace("\ndvc==", "\ndvc==99.")
    assert tool != text
    pins.write_text(tool)
    assert stage_deps(project, "--check").returncode == 0
    pins.write_text(text.replace("\nnumpy==", "\nnumpy==99."))
    assert stage_deps(project, "--check").returncode == 1
    assert stage_deps(project).stdout == "written: packages.yaml\n"
    versions = yaml.safe_load((project / "packages.yaml").read_text())
    assert versions["numpy"].startswith("99.")
    assert set(versions) == set(RESULTS.values())


@pytest.mark.slow
def test_an_upgrade_makes_the_stages_stale_that_use_the_package(clone, tmp_path):
    made = clone.copy(tmp_path / "clone")

    def stale(package: str) -> set[str]:
        path = made.folder / "packages.yaml"
        before = path.read_text()
        version = yaml.safe_load(before)[package]
        path.write_text(before.replace(f'{package}: "{version}"', f'{package}: "99.0"'))
        found = set(made.json("status", "--json"))
        path.write_text(before)
        return found

    assert stale("scipy") == {"evaluate"}
    assert stale("ai-edge-litert") == {"evaluate", "export"}  # which finds faces on cards
    members = {f"train@{name}" for name in ("ja", "mar", "alip", "rai")}
    assert stale("keras") == members | {"evaluate", "export"}
    assert set(made.json("status", "--json")) == set()


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("requirements.txt", lambda text: text.replace("\nnumpy==", "\n# "), "not pin numpy"),
        ("dvc.yaml", lambda text: text.replace("python src/evaluate.py", "true"), "evaluate runs"),
        ("requirements.txt", None, "requirements.txt is missing"),
        (
            "src/faceverify/data/pairing.py",
            lambda text: f"{text}\n<<<\n",
            "invalid syntax; correct",
        ),
    ],
)
def test_what_cannot_be_written_is_one_line(project, name, spoil, said):
    path = project / name
    if spoil:
        path.write_text(spoil(path.read_text()))
    else:
        path.unlink()
    assert said in error_line(stage_deps(project))


def test_code_is_followed_through_modules_and_functions_but_not_through_packages(tmp_path):
    (tmp_path / "own.py").write_text("import other\n")
    (tmp_path / "other.py").write_text(
        "def f():\n    from faceverify.model.losses import theta\n    import missing.module\n"
    )
    found = imports.code_of(tmp_path / "own.py")
    assert tmp_path / "other.py" in found
    assert SRC / "faceverify/model/losses.py" in found
    assert not [path for path in found if path.name == "__init__.py"]
    assert "missing" in imports.modules_of(found)


def test_a_training_is_of_the_code_that_it_runs():
    code = set(imports.code_of(SRC / "train.py"))
    library = SRC / "faceverify"
    assert library / "model/losses.py" in code
    assert not code & {*(library / "verify").glob("*.py"), *(library / "audit").glob("*.py")}
