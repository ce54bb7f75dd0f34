"""Files replaced whole or not at all, bounded reads, and names that stay in their folder."""

import json
import os
import platform
import re
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faceverify.base.errors import InputError, MadeFileError

# A spreadsheet reads a cell that starts with one of these as a formula.
FORMULA_STARTS = tuple("=+-@\t\r\n")
NAME_BYTES = 255  # longest file name on the usual file systems
JSON_BYTES = 256 * 2**20  # twice the size of the landmarks of all CelebA faces


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends.

    For a file or a folder. If the block raises, `path` is unchanged and the temporary is deleted.
    Leftovers of a killed run are cleared by the next call for the same `path`: see `_clear`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The machine's name, because several machines may share the folder.
    name = f".{path.stem}.tmp-{platform.node()}-"
    # The suffix stays last: Keras, OpenCV and pandas choose the format by it.
    temporary, old = (
        path.with_name(f"{name}{os.getpid()}{end}{path.suffix}") for end in ("", "-old")
    )
    own = re.compile(rf"{re.escape(name)}(\d+)(-old)?{re.escape(path.suffix)}")
    for left in path.parent.iterdir():
        if (found := own.fullmatch(left.name)) and not _running(int(found[1])):
            _clear(left, path)
    try:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            path.rename(old)  # a folder is replaced by name only when it is empty
        temporary.replace(path)
    finally:
        _clear(old, path)
        _clear(temporary, path)


def _running(pid: int) -> bool:
    """Whether another process than this one runs under a process id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return pid != os.getpid()


def _clear(left: Path, path: Path) -> None:
    """Delete a leftover of `replacing`; restore the old folder if nothing replaced it."""
    is_old = left.name.removesuffix(path.suffix).endswith("-old")
    if is_old and left.is_dir() and not path.exists():
        left.rename(path)
    elif left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder: the temporary path is an empty folder."""
    with replacing(path) as temporary:
        temporary.mkdir()
        yield temporary


def write_json(path: Path, value: object, indent: int | None = None) -> None:
    """Write `value` as UTF-8 JSON and a newline; keys keep their order, NaN is a ValueError."""
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def content(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises InputError for a larger file and for a pipe, a device or a folder, which could make
    the read wait forever or never end, and OSError (FileNotFoundError) as `open` does.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is no regular file")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} is larger than {limit / 2**20:g} MB")
    return data


def read_json(path: Path) -> object:
    """Parse a JSON file; raises InputError, naming it, when it is missing or not valid."""
    try:
        return parse_json(content(path, JSON_BYTES))
    except FileNotFoundError:
        raise MadeFileError(f"{path} is missing") from None
    except ValueError as error:
        raise MadeFileError(f"{path} is not valid JSON ({error})") from None


def parse_json(data: bytes) -> object:
    """Parse UTF-8 JSON; ValueError also for a repeated key, NaN, infinity and deep nesting."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = Counter(key for key, _ in pairs)
        if len(keys) < len(pairs):
            raise ValueError(f"the key {keys.most_common(1)[0][0]!r} comes twice")
        return dict(pairs)

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_plain(name: str) -> bool:
    """Whether a name from data is a plain file name: safe in paths, tables and command lines.

    False for an absolute path, `.` and `..`, more than NAME_BYTES, a separator, NUL, a newline or
    another unprintable character, and for a first character that a spreadsheet reads as a
    formula or a command as an option.
    """
    return (
        name not in ("", ".", "..")
        and not name.startswith(FORMULA_STARTS)
        and not any(c in "/\\" or not c.isprintable() for c in name)
        and len(name.encode()) <= NAME_BYTES
    )


def path_inside(folder: Path, name: str) -> Path:
    """Return `folder/name` for a file name from data.

    Raises InputError for a name that is not plain (`is_plain`) and for a link out of `folder`.
    """
    if not is_plain(name):
        raise InputError(f"{name!r} is not a plain file name; it must name a file in {folder}")
    path = folder / name
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder.resolve()):
        raise InputError(f"{path} is a link that leads out of {folder}; put the file itself there")
    return path


def folder_files(folder: Path) -> Iterable[Path]:
    """The files of a folder, sorted by name, without hidden files and folders."""
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
