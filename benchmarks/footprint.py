"""What a program costs before it answers: the size of its packages, and the bytes that it reads."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

# Runs a script and tells, when it ends, what it has read and how large the files are that it has
# mapped: a library is not read, but its pages are fetched as they are used.
_TOLD = """
import runpy, sys
from pathlib import Path
sys.path[0], sys.argv = str(Path(sys.argv[1]).parent), sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    mapped = {Path(line[5]) for line in maps if len(line) > 5 and line[5].startswith("/")}
    read = Path("/proc/self/io").read_text().split()[1]
    print(int(read) + sum(path.stat().st_size for path in mapped if path.is_file()))
"""


def installed_mb(needed: list[str]) -> float:
    """Megabytes of packages as they are installed here, with all that they need."""
    waiting, seen, total = list(needed), set(), 0
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate()):
            continue
        seen.add(requirement.name)
        package = metadata.distribution(requirement.name)
        paths = [Path(file.locate()) for file in package.files or []]
        total += sum(path.stat().st_size for path in paths if path.is_file())
        waiting += package.requires or []
    return total / 1e6


def dependencies(project: Path) -> list[str]:
    """What a project's pyproject.toml says that it needs, without its extras."""
    return tomllib.loads(project.read_text())["project"]["dependencies"]


def bytes_read_mb(command: list[str], folder: Path) -> float:
    """Megabytes that a script reads from its start to its end, mapped files as a whole.

    `command`: the script and its arguments, run in `folder` by this Python.
    """
    result = subprocess.run(
        [sys.executable, "-c", _TOLD, *command], cwd=folder, capture_output=True, text=True
    )
    return int(result.stdout.split()[-1]) / 1e6
