"""The import graph, read from the code itself: what a script runs when it is run."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from faceverify.base.errors import InputError

SOURCE = Path(__file__).parents[2]


def code_of(script: Path) -> list[Path]:
    """The script and all modules of the project that it imports, also through others, sorted.

    The modules are those of the library and those beside the script. An `__init__.py` is none:
    it holds a docstring. Raises InputError, with the line, for what is not Python.
    """
    folders = (script.parent, SOURCE)
    found, left = {script}, [script]
    while left:
        new = imported(left.pop(), folders) - found
        found |= new
        left += new
    return sorted(found)


def imported(file: Path, folders: Sequence[Path]) -> set[Path]:
    """The modules in `folders` that a file imports by itself, wherever in its text it does so."""
    places = {_place(name, folders) for name in _names(file)}
    return {place for place in places if place is not None}


def modules_of(files: Sequence[Path]) -> set[str]:
    """The first part of the name of every module that some files import: `keras`, `faceverify`."""
    return {name.partition(".")[0] for file in files for name in _names(file)}


def _names(file: Path) -> Iterator[str]:
    """Each name that may be a module: `a.b` and `a.b.c` for `from a.b import c`."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise InputError(f"{file}, line {error.lineno}: {error.msg}; correct it") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _place(name: str, folders: Sequence[Path]) -> Path | None:
    files = (folder.joinpath(*name.split(".")).with_suffix(".py") for folder in folders)
    return next((file for file in files if file.is_file()), None)
