"""Tests of faceverify.base.errors: how a script tells what is wrong, and its exit codes."""

import signal
import subprocess
import sys

import pytest

from faceverify.base import errors
from helpers import ROOT

SCRIPT = """
import sys
from faceverify.base import errors
errors.begin()
def main():
    print("an answer")
    exec(sys.argv[1])
errors.run(main, {})
"""
MISTAKE = "raise errors.InputError('params.yaml: lr: too large')"
CRASH = "1 / 0"


def run(code: str, redirected: str = "") -> subprocess.CompletedProcess:
    """Run a script whose `main` does this, with what a shell redirects."""
    command = ["sh", "-c", f'exec "$0" -c "$1" "$2" {redirected}', sys.executable, SCRIPT, code]
    environment = {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_mistake_is_one_line_and_2():
    result = run(MISTAKE)
    assert (result.returncode, result.stdout) == (2, "an answer\n")
    assert result.stderr == "-c: error: params.yaml: lr: too large\n"


@pytest.mark.parametrize("code", [CRASH, "raise OSError('a library gives no number')"])
def test_a_crash_is_no_answer(code):
    result = run(code)
    assert result.returncode == 70
    assert result.stderr.startswith("Traceback")


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("code", "expected"), [("pass", 0), (MISTAKE, 2), (CRASH, 70)])
def test_an_exit_code_does_not_depend_on_stderr(code, expected, redirected):
    result = run(code, redirected)
    assert (result.returncode, result.stdout, result.stderr) == (expected, "an answer\n", "")


def test_a_file_does_not_take_the_place_of_a_closed_stderr(tmp_path):
    file = tmp_path / "result"
    code = f"file = open({str(file)!r}, 'w'); import os; os.system('ls /nowhere'); {MISTAKE}"
    assert run(code, "2>&-").returncode == 2
    assert file.read_text() == ""


def test_a_name_of_the_system_is_shown_on_one_printable_line():
    result = run(r"open('no\nsuch\x1b[31m file')")
    assert result.returncode == 2
    assert result.stderr == r"-c: error: no\nsuch\x1b[31m file: No such file or directory" + "\n"


def test_an_interrupt_is_held_until_the_block_is_done():
    done = []
    with pytest.raises(KeyboardInterrupt), errors.interrupts_held():
        signal.raise_signal(signal.SIGINT)
        done.append(True)
    assert done == [True]
    with errors.interrupts_held():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
