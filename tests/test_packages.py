"""The packages: what is pinned, what the package `faceverify` asks for, and their audit."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = ("requirements.txt", "requirements-dev.txt")
AUDIT = (
    "make", "--silent", "audit-packages",
    "--assume-old=.venv/installed", "--assume-old=.venv/installed-dev",
)  # fmt: skip
NOWHERE = "http://127.0.0.1:9"


def run(*command: str) -> subprocess.CompletedProcess:
    """Run a command in the repository, with the packages' database out of reach."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, **proxies, "NO_PROXY": "", "no_proxy": "", "PATH": path}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def pinned(name: str) -> dict[str, str]:
    """Package -> version of a compiled file."""
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^ ]+) \\$", text, re.MULTILINE))


def asked_for(name: str) -> dict[str, Requirement]:
    """Package -> what a file for people says of it."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return by_name(line for line in lines if line and not line.startswith("-"))


def by_name(lines) -> dict[str, Requirement]:
    return {canonicalize_name(found.name): found for found in map(Requirement, lines)}


# What is pinned


def test_each_file_for_people_is_compiled():
    for name in FILES:
        wanted, versions = asked_for(name.replace(".txt", ".in")), pinned(name)
        for package, requirement in wanted.items():
            assert requirement.specifier.contains(versions[package]), package
        text = (ROOT / name).read_text()
        assert text.count("==") == len(versions)
        blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)


def test_both_files_pin_the_same_versions():
    pipeline, added = map(pinned, FILES)
    both = pipeline.keys() & added.keys()
    assert both
    assert {name: pipeline[name] for name in both} == {name: added[name] for name in both}
    assert not {"pytest", "ruff", "scikit-learn", "vl-convert-python"} & pipeline.keys()
    assert not asked_for("requirements.in").keys() & asked_for("requirements-dev.in").keys()


def test_no_file_names_where_packages_come_from():
    for name in (*FILES, "requirements.in", "requirements-dev.in", "pyproject.toml"):
        assert not re.search(
            r"https?:|--(extra-)?index-url|--find-links", (ROOT / name).read_text()
        )


# What the package asks for


def test_the_package_asks_for_what_the_pipeline_needs():
    runtime = by_name(PROJECT["dependencies"])
    pipeline = by_name(PROJECT["optional-dependencies"]["pipeline"])
    assert not runtime.keys() & pipeline.keys()
    wanted = asked_for("requirements.in")
    assert runtime.keys() | pipeline.keys() == wanted.keys()
    versions = pinned("requirements.txt")
    for name, requirement in (runtime | pipeline).items():
        assert requirement.specifier.contains(versions[name]), name
        assert any(part.operator.startswith((">", "<")) for part in requirement.specifier), name
        assert requirement.extras == wanted[name].extras, name


def test_verifying_imports_what_the_package_asks_for_and_nothing_else():
    modules = imported_by(ROOT / "src/faceverify/verify/command.py")
    packages = metadata.packages_distributions()
    outside = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    found = {canonicalize_name(packages[name][0]) for name in outside - {"faceverify"}}
    # Not imported: ai-edge-litert asks for it without a limit.
    assert found | {"backports-strenum"} == by_name(PROJECT["dependencies"]).keys()


def imported_by(start: Path) -> set[str]:
    """The modules that a file of the library imports, also through others of it."""
    names, seen, left = set(), set(), [start]
    while left:
        file = left.pop()
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                new = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                new = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            names.update(new)
            places = [(ROOT / "src").joinpath(*name.split(".")).with_suffix(".py") for name in new]
            left += [place for place in places if place.is_file() and place not in seen]
    return names


# Their audit


def test_every_pinned_package_is_audited():
    script = run(*AUDIT, "--dry-run").stdout
    command = script.replace("\\\n", " ").partition("||")[0].split()
    assert command[0] == "pip-audit"
    result = run(*command, "--dry-run")
    assert result.returncode == 0, result.stderr
    packages = set().union(*map(pinned, FILES))
    assert f"would have audited {len(packages)} packages" in result.stderr


def test_a_database_that_does_not_answer_is_no_pass():
    result = run(*AUDIT)
    assert result.returncode == 2  # make's own code for a command that failed
    assert "no pass: update what is named above, or run this where the" in result.stderr
    assert "No known vulnerabilities found" not in result.stdout + result.stderr
