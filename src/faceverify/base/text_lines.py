"""Text files that people write, read line by line: what is wrong is said with its line."""

import codecs
import stat
from collections.abc import Iterator
from pathlib import Path

from faceverify.base.errors import InputError

# Most characters of a line: two paths of the greatest length fit.
LONGEST_LINE = 2**14
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers, from 1, blank ones left out.

    Raises InputError for a file that is no regular one, and, naming the line, for text that is not
    UTF-8 or a line that is too long.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is no regular file")
    number = 0
    with path.open("rb") as file:
        if _is_utf_16(file.read(8)):
            raise InputError(f"{path} is UTF-16 text; save it as UTF-8")
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise InputError(f"{path}, line {number}: over {LONGEST_LINE:,} characters")
                if line.strip():
                    yield number, line
        except UnicodeDecodeError:
            raise InputError(
                f"{path} is not UTF-8 text, somewhere below line {number}; save it as UTF-8"
            ) from None


def _is_utf_16(start: bytes) -> bool:
    """Whether text begins with UTF-16's mark or, without one, as Latin letters do in it."""
    every_second = (start[0::2], start[1::2])
    return start.startswith(_UTF_16) or (len(start) == 8 and not all(map(any, every_second)))
