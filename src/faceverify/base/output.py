"""Files that a user names as output, and the cells of CSV files that people open."""

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from faceverify.base.errors import InputError
from faceverify.base.files import FORMULA_STARTS


def path_to_write(path: Path, sources: Mapping[str, Iterable[str | Path]]) -> Path:
    """The path to write an output to: `path`, or, where it is a link, the file it points to.

    `sources` are the input files, by what a message calls them. Raises InputError when `path`
    is one of them under any name, is stdout's or stderr's file, or exists and is no regular file
    (replacing a device would harm the whole machine).
    """
    try:
        existing = path.stat()
    except FileNotFoundError:
        existing = None
    if existing:
        if not stat.S_ISREG(existing.st_mode):
            raise InputError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}")
        for stream in (1, 2):
            with suppress(OSError):  # the stream is closed
                if os.path.samestat(existing, os.fstat(stream)):
                    raise InputError(f"{path} is where messages go; name another file")
        for what, inputs in sources.items():
            if any(_is_same(existing, file) for file in inputs):
                raise InputError(f"{path} is {what}")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_same(existing: os.stat_result, file: str | Path) -> bool:
    try:
        return os.path.samestat(existing, Path(file).stat())
    except (OSError, ValueError):  # no such file; ValueError for a null character
        return False


def spreadsheet_cell(text: str) -> str:
    r"""A CSV cell that a spreadsheet shows as the text itself, in one cell.

    A text that would be read as a formula gets a leading `'`. A carriage return becomes `\r`:
    Python's csv module does not quote it, and a spreadsheet would begin a new row there.
    """
    text = f"'{text}" if text.startswith(FORMULA_STARTS) else text
    return text.replace("\r", "\\r")
