"""What git, and DVC through its commands, say of the repository's revisions."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from faceverify.base.errors import InputError
from faceverify.base.schema import check as check_values


def check(rev: str) -> None:
    """Raise InputError outside of the repository's root, and for a revision that is not there."""
    if Path(run("git", "rev-parse", "--show-toplevel")) != Path.cwd():
        raise InputError("run this from the repository's root")
    if rev.startswith("-") or not succeeds("git", "rev-parse", "--verify", f"{rev}^{{commit}}"):
        raise InputError(f"there is no revision {rev}; fetch it, or name another: BASE=...")


def committed(rev: str, name: str) -> str | None:
    """A text file as it was committed; None where it was not there."""
    if not succeeds("git", "cat-file", "-e", f"{rev}:{name}"):
        return None
    return run("git", "show", f"{rev}:{name}")


def parsed(
    rev: str, name: str, parse: Callable[[str], object], kind: object = dict[str, object]
) -> Mapping:
    """A JSON or YAML file of some kind as it was committed; empty where it was not there."""
    text = committed(rev, name)
    if text is None:
        return {}
    try:
        value = parse(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        raise InputError(f"{name} of {rev} is damaged; run `dvc repro` and commit it") from None
    check_values(kind, value, f"{name} of {rev}")
    return value


def succeeds(*command: str) -> bool:
    """Whether a command ends well."""
    return subprocess.run(command, capture_output=True).returncode == 0


def run(*command: str) -> str:
    """What a command prints; InputError, with what it says last, when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError(f"{command[0]} is not installed; run `make sample`") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it does not say why"]
        said = next((line for line in lines if line.startswith(("ERROR:", "fatal:"))), lines[-1])
        raise InputError(f"`{' '.join(command)}` failed: {said}")
    return done.stdout.strip()
