"""What `make` does before all else: a Python found, and packages installed wholly or anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT

ADVICE = "install Python 3.11 and its venv module, or name it with: make PYTHON=/path/to/python3.11"
MAKE = shutil.which("make")


@pytest.fixture
def project(tmp_path):
    """A folder with the Makefile, and nothing that it would install."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (folder / name).touch()
    return folder


def make(project: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    # What a make that runs the tests hands down would change what this one says.
    handed = ("PYTHON", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    environment = {k: v for k, v in os.environ.items() if k not in handed}
    if path:
        environment["PATH"] = str(path)
    return subprocess.run(
        [MAKE, *arguments], cwd=project, env=environment, capture_output=True, text=True
    )


def refusal(result: subprocess.CompletedProcess) -> str:
    """The one line that make ends with, without its own beginning and end."""
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.partition(" *** ")[2].removesuffix(".  Stop.")


@pytest.fixture
def tools(tmp_path):
    """A PATH with what the Makefile calls but for Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "mkdir", "rm", "mv", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "audit-packages"])
def test_no_python_is_one_line_that_says_what_to_do(project, tools, target):
    before = sorted(project.iterdir())
    assert refusal(make(project, target, path=tools)) == f"no Python is found; {ADVICE}"
    assert sorted(project.iterdir()) == before


def test_another_python_is_named_with_its_version(project, tools):
    other = program(tools / "python3", 'echo "3.12 /usr"')
    before = sorted(project.iterdir())
    assert refusal(make(project, "demo", path=tools)) == f"{other} is Python 3.12; {ADVICE}"
    named = program(tools / "mine", 'echo "3.10 /opt"')
    line = refusal(make(project, "demo", f"PYTHON={named}", path=tools))
    assert line == f"{named} is Python 3.10; {ADVICE}"
    assert sorted(project.iterdir()) == before


@pytest.mark.parametrize("text", ["exit 127", 'echo "no module named ensurepip" >&2; exit 1'])
def test_a_python_that_cannot_be_used_is_named(project, tools, text):
    broken = program(tools / "python3.11", text)
    said = f"{broken} does not run or has no venv module; {ADVICE}"
    assert refusal(make(project, "demo", path=tools)) == said
    none = refusal(make(project, "demo", "PYTHON=/none/python3.11", path=tools))
    assert none == f"/none/python3.11 does not run or has no venv module; {ADVICE}"


def stopped(project: Path) -> Path:
    """A `.venv` as an installation leaves it that was killed; gives a file of it."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    half = project / ".venv/lib/half-a-package"
    half.parent.mkdir(parents=True, exist_ok=True)
    half.touch()
    (project / ".venv/installing").write_text(f"{ended.pid}\n")
    return half


def test_a_stopped_installation_is_made_anew(project):
    half = stopped(project)
    (project / ".venv/bin").mkdir()
    program(project / ".venv/bin/python", "exit 1")
    result = make(project, ".venv/installed", f"PYTHON={sys.executable}")
    assert result.returncode == 0, result.stderr
    assert not half.exists()
    assert sorted(p.name for p in (project / ".venv").glob("install*")) == ["installed"]
    subprocess.run([project / ".venv/bin/python", "-m", "pip", "--version"], check=True)
    assert "up to date" in make(project, ".venv/installed").stdout

    # One of the packages for tests was stopped: the others are made anew as well.
    half = stopped(project)
    result = make(project, ".venv/installed-dev", f"PYTHON={project}/.venv/bin/python")
    assert result.returncode == 0, result.stderr
    assert not half.exists()
    found = sorted(p.name for p in (project / ".venv").glob("install*"))
    assert found == ["installed", "installed-dev"]


def test_an_installation_that_fails_is_not_taken_for_whole(project):
    (project / "requirements.txt").write_text("none-such @ file:///none/such.whl\n")
    result = make(project, ".venv/installed", f"PYTHON={sys.executable}")
    assert result.returncode == 2
    assert not (project / ".venv/installed").exists()
    assert (project / ".venv/installing").exists()


@pytest.mark.parametrize("target", ["installed", "installed-dev"])
def test_an_installation_at_work_is_left_alone(project, target):
    half = stopped(project)
    (project / ".venv/installed").touch()
    os.utime(project / ".venv/installed", (10**9, 10**9) if target == "installed" else None)
    (project / ".venv/installing").write_text(f"{os.getpid()}\n")
    result = make(project, f".venv/{target}", f"PYTHON={sys.executable}")
    assert (result.returncode, result.stdout) == (2, "")
    said = f"make: process {os.getpid()} installs into .venv; wait for it"
    assert result.stderr.splitlines()[0] == said
    assert half.exists()


def test_only_tests_and_checks_install_what_they_add(project):
    python = f"PYTHON={sys.executable}"
    for target in ("demo", "sample", "review", "drift", "card"):
        assert "requirements-dev" not in make(project, "--dry-run", target, python).stdout, target
    for target in ("test", "test-slow", "lint", "fuzz", "faults", "bench", "audit-packages"):
        planned = make(project, "--dry-run", target, python).stdout
        assert planned.index("--requirement requirements.txt") < planned.index(
            "--requirement requirements-dev.txt"
        ), target


def test_what_python_compiles_is_kept_whatever_the_environment_says(project, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (project / ".venv/bin").mkdir(parents=True)
    program(project / ".venv/bin/python", 'echo "${PYTHONDONTWRITEBYTECODE-unset}"')
    result = make(project, "runs", f"PYTHON={sys.executable}")
    assert (result.stdout, result.stderr) == ("unset\n", "")
