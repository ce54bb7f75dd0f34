"""Tests of faceverify.runs.lock: one process at a time does a step in a folder."""

import subprocess
import sys

import pytest

from helpers import ROOT

STEP = """
import sys
from faceverify.base import errors
from faceverify.runs import lock
def main():
    lock.claim(sys.argv[1])
    lock.claim(sys.argv[1])  # nobody keeps himself out
    print("begun", flush=True)
    sys.stdin.read()
errors.run(main, {})
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that does a step in a folder until it is told to end."""
    started = []

    def begin(step: str, folder=tmp_path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", STEP, step],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def begun(process: subprocess.Popen) -> bool:
    return process.stdout.readline() == "begun\n"


def test_a_second_process_is_told_which_one_is_at_work(start):
    first = start("train-ja")
    assert begun(first)
    for _ in range(2):  # being refused changes nothing
        second = start("train-ja")
        printed, errors = second.communicate()
        assert (second.returncode, printed) == (2, "")
        assert errors == (
            f"-c: error: process {first.pid} still does this here (it holds .cache/train-ja.lock): "
            "let it end, or end it with `kill`, then run the same command again\n"
        )


@pytest.mark.parametrize("how", ["end", "kill"])
def test_the_step_is_free_when_the_first_has_ended_in_whatever_way(start, how):
    first = start("train-ja")
    assert begun(first)
    if how == "kill":
        first.kill()
    first.communicate()
    assert begun(start("train-ja"))


def test_other_steps_and_other_folders_are_not_kept_waiting(start, tmp_path):
    (tmp_path / "other").mkdir()
    assert begun(start("train-ja"))
    assert begun(start("train-mar"))
    assert begun(start("train-ja", tmp_path / "other"))


def test_what_is_left_in_a_lock_file_does_no_harm(start, tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/train-ja.lock").write_bytes(b"\xff\0\x1b[2J" * 1000)
    first = start("train-ja")
    assert begun(first)
    assert (tmp_path / ".cache/train-ja.lock").read_text() == f"{first.pid}\n"


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_lock_file_that_is_none_is_one_line(start, tmp_path, kind):
    (tmp_path / ".cache").mkdir()
    if kind == "folder":
        (tmp_path / ".cache/train-ja.lock").mkdir()
    else:
        (tmp_path / "precious").write_text("precious")
        (tmp_path / ".cache/train-ja.lock").symlink_to(tmp_path / "precious")
    process = start("train-ja")
    printed, errors = process.communicate()
    assert (process.returncode, printed) == (2, "")
    assert errors.startswith("-c: error: ")
    assert "train-ja.lock: " in errors
    assert errors.count("\n") == 1
    if kind == "link":
        assert (tmp_path / "precious").read_text() == "precious"
