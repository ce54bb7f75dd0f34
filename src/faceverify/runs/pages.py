"""Pages of text whose figures are written by a command, each between two marks.

`<!-- figures: NAME -->` and `<!-- end of figures -->` stand in the middle of a line, or on lines of
their own: Markdown takes a line that begins with such a mark for HTML.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from faceverify.base import files
from faceverify.base.errors import InputError

TEXT_BYTES = 2**20
_MARK = re.compile(r"<!-- (?:figures: [^>]*|end of figures) -->")
_BLOCK = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[^>]*) -->)(?P<space>\s*)(?P<shown>.*?)\s*"
    r"(?P<end><!-- end of figures -->)",
    re.DOTALL,
)


def read(path: Path) -> str:
    """A text file of the repository; InputError where it is missing or no text."""
    try:
        return files.content(path, TEXT_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing; bring it from git, or `dvc repro` makes it") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; bring it from git") from None


def shown(page: Path) -> dict[str, str]:
    """What stands between the marks of a page, by name."""
    return {block["name"]: block["shown"] for block in _BLOCK.finditer(read(page))}


def renewed(page: Path, figures: Mapping[str, Callable[[], str | None]]) -> str:
    """The text of a page with today's figures between its marks.

    `figures` gives them by the name of their marks; None leaves what is there. Raises InputError
    where the page is missing, or has not just the marks of these names, each once.
    """
    text = read(page)
    if sorted(shown(page)) != sorted(figures) or len(_MARK.findall(text)) != 2 * len(figures):
        marks = ", ".join(f"`<!-- figures: {name} -->`" for name in figures)
        raise InputError(
            f"{page} must have {marks}, each once and `<!-- end of figures -->` below it; "
            "bring the page from git"
        )

    def replaced(block: re.Match) -> str:
        today = figures[block["name"]]()
        if today is None:
            return block[0]
        return f"{block['begin']}{block['space']}{today}{block['space']}{block['end']}"

    return _BLOCK.sub(replaced, text)
