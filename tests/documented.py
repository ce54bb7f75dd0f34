"""The blocks of a page of README and docs that are run as they stand, and what they must print.

What stands for what is told to writers in docs/development.md, "Commands in README and docs".
"""

import os
import re
import shlex
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from tiny import Clone

COMMANDS, TRANSCRIPT, PYTHON, VALUES = "sh", "console", "python", "yaml"
RUN = (COMMANDS, TRANSCRIPT, PYTHON, VALUES)
NOT_RUN, UNTIL, INTO = "not run: ", "until", "into "
# What a reader does with an editor.
MERGE = """\
import sys, yaml
from dvc.utils.collections import merge_dicts
from dvc.utils.serialize import modify_yaml
with modify_yaml(sys.argv[1]) as values:
    merge_dicts(values, yaml.safe_load(sys.stdin))
"""
LONGEST = 600  # seconds that a command may take, and a command that is repeated until it prints
_NUMBER = re.compile(r"(?<![\w.\-/])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w/]|[.-]\w)")


class Block(NamedTuple):
    """A fenced block: its language, what else stands beside the fence, and its lines."""

    page: Path
    line: int  # of the first line inside, from 1
    language: str
    mark: str
    lines: list[str]

    @property
    def is_run(self) -> bool:
        """Whether the block has commands, and no reason not to run them."""
        return self.language in RUN and not self.mark.startswith(NOT_RUN)


class Step(NamedTuple):
    """A command of a block; `shown` is what it must print, None where it must just succeed."""

    place: str  # page and line
    command: str
    shown: list[str] | None
    repeated: bool  # until it prints that


def blocks(root: Path, page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = []
    for token in MarkdownIt().parse((root / page).read_text()):
        if token.type == "fence":
            language, _, mark = token.info.partition(" ")
            lines = token.content.splitlines()
            found.append(Block(page, token.map[0] + 2, language, mark, lines))
    return found


def steps(page_blocks: list[Block]) -> Iterator[Step]:
    """The commands of the blocks that are run; Python's blocks of a page go on from each other."""
    python: list[str] = []
    for block in page_blocks:
        if not block.is_run:
            continue
        place = f"{block.page}, line {block.line}"
        if block.language == PYTHON:
            python += block.lines
            yield Step(place, _with_input("python -", python), None, False)
        elif block.language == VALUES:
            merge = shlex.join(["python", "-c", MERGE, block.mark.removeprefix(INTO)])
            yield Step(place, _with_input(merge, block.lines), None, False)
        else:
            yield from _commands(block)


def _with_input(command: str, lines: list[str]) -> str:
    return "\n".join([f"{command} <<'END OF INPUT'", *lines, "END OF INPUT"])


def _commands(block: Block) -> Iterator[Step]:
    """The commands of a shell's block; one whose line ends with a backslash goes on."""
    places: list[tuple[int, str, list[str]]] = []
    goes_on = False
    for number, line in enumerate(block.lines, block.line):
        begins = block.language == COMMANDS or line.startswith("$ ")
        if goes_on:
            first, command, shown = places[-1]
            places[-1] = first, f"{command}\n{line}", shown
        elif begins:
            places.append((number, line.removeprefix("$ "), []))
        else:
            places[-1][2].append(line)
        goes_on = (begins or goes_on) and line.endswith("\\")
    for number, command, shown in places:
        wanted = shown if block.language == TRANSCRIPT else None
        yield Step(f"{block.page}, line {number}", command, wanted, block.mark == UNTIL)


class Shell:
    """One /bin/sh in a clone: what a command exports or enters holds for the next."""

    def __init__(self, clone: Clone, environment: Mapping[str, str]) -> None:
        self._script = clone.folder / ".git/command"  # git and DVC do not see it there
        self._shell = subprocess.Popen(
            ["/bin/sh"],
            cwd=clone.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; give its exit code and all that it printed."""
        self._script.write_text(f"{command}\n")
        end = uuid.uuid4().hex
        # The command reads nothing of what comes after it.
        line = f". {self._script} </dev/null; printf '\\n%s %s\\n' {end} $?\n"
        watch = threading.Timer(LONGEST, self.close)
        watch.start()
        try:
            self._shell.stdin.write(line)
            self._shell.stdin.flush()
            printed: list[str] = []
            for line in self._shell.stdout:
                if line.startswith(end):
                    return int(line.split()[1]), "".join(printed)[:-1]
                printed.append(line)
        finally:
            watch.cancel()
        said = "".join(printed)
        raise AssertionError(f"{command}\nended its shell, or took {LONGEST} s:\n{said}")

    def close(self) -> None:
        """End the shell and what it has left in the background."""
        if self._shell.poll() is None:
            os.killpg(self._shell.pid, signal.SIGTERM)
            self._shell.wait()


def follow(shell: Shell, step: Step) -> None:
    """Run a step; AssertionError, which names its page and line, unless all is as the page says."""
    begun = time.monotonic()
    while True:
        code, printed = shell.run(step.command)
        said = f"{step.place}: {step.command}\nexit code {code}, printed:\n{printed}"
        if step.shown is None:
            assert code == 0, said
            return
        if is_shown(step.shown, printed):
            return
        if not step.repeated or time.monotonic() - begun > LONGEST:
            raise AssertionError(f"{said}\nthe page shows:\n" + "\n".join(step.shown))
        time.sleep(2)


def is_shown(shown: list[str], printed: str) -> bool:
    """Whether a command printed what a page shows.

    A line `...` stands for any lines, `...` in a line for any text; a number stands for any
    number, and the width of spaces and rules does not count.
    """
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "..." else f"{_pattern(line)}\n"
        for line in shown
        if line.strip()
    )
    lines = [f"{_evened(line)}\n" for line in printed.splitlines() if line.strip()]
    return re.fullmatch(pattern, "".join(lines)) is not None


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in _evened(line).split("..."))


def _evened(line: str) -> str:
    line = re.sub(r"-{2,}", "--", " ".join(line.split()))
    return _NUMBER.sub("0", line)
