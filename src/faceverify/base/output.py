"""Where a result may be written: never over what it is made of."""

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from faceverify.base.errors import InputError


def target(path: Path, sources: Mapping[str, Iterable[str | Path]]) -> Path:
    """The file to write for `path`: itself, or what it leads to as a link, which then stays.

    Raises InputError for what is there and is no regular file (one in place of a device would
    harm the whole machine), for the file that stdout or stderr goes to, and for one of
    `sources`, by what to call them, whatever its name.
    """
    try:
        there = path.stat()
    except FileNotFoundError:
        there = None
    if there:
        if not stat.S_ISREG(there.st_mode):
            raise InputError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}")
        for stream in (1, 2):
            with suppress(OSError):  # it is closed
                if os.path.samestat(there, os.fstat(stream)):
                    raise InputError(f"{path} is where messages go; name another file")
        for what, files in sources.items():
            if any(_is(there, file) for file in files):
                raise InputError(f"{path} is {what}")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is(there: os.stat_result, file: str | Path) -> bool:
    try:
        return os.path.samestat(there, Path(file).stat())
    except (OSError, ValueError):  # there is none; the latter for a null character
        return False
