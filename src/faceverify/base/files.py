"""Files written whole or not at all, and names that stay inside their folder."""

import hashlib
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

# A spreadsheet takes a cell that begins so for a formula.
FORMULA_STARTS = tuple("=+-@\t\r\n")
NAME_BYTES = 255  # of a file name, on every usual file system
JSON_BYTES = 256 * 2**20  # twice what the landmarks of all faces of CelebA take


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there takes its place at the end.

    For a file or a folder. If the block raises, `path` stays as it was and the rest is removed.
    What a killed run leaves beside it, the next one removes or, if it is all there is, puts back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The machine's name, for folders that several share.
    name = f".{path.stem}.tmp-{platform.node()}-"
    # The suffix stays last: Keras, OpenCV and pandas read the format from it.
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
    """Whether a process other than this one has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return pid != os.getpid()


def _clear(left: Path, path: Path) -> None:
    """Remove what `replacing` left; the old folder takes its place again if nothing has."""
    is_old = left.name.removesuffix(path.suffix).endswith("-old")
    if is_old and left.is_dir() and not path.exists():
        left.rename(path)
    elif left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, with an empty folder to fill."""
    with replacing(path) as temporary:
        temporary.mkdir()
        yield temporary


def write_json(path: Path, value: object, indent: int | None = None) -> None:
    """Write `value` as JSON with a final newline; NaN is refused, keys keep their order."""
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def content(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit`.

    Raises InputError for a larger one and for a pipe, a device or a folder: reading those could
    wait forever or never end. OSError passes, FileNotFoundError too.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is no regular file")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} is larger than {limit / 2**20:g} MB")
    return data


def read_json(path: Path) -> object:
    """Parse a JSON file; one that is missing or broken is an `InputError` that names it."""
    try:
        return parse_json(content(path, JSON_BYTES))
    except FileNotFoundError:
        raise MadeFileError(f"{path} is missing") from None
    except ValueError as error:
        raise MadeFileError(f"{path} is not valid JSON ({error})") from None


def parse_json(data: bytes) -> object:
    """Parse JSON in UTF-8; ValueError also for a key that comes twice, NaN and endless nesting."""

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
    """Whether a file name from data names a file in a folder, and nothing else to any program.

    Not so one that is absolute, climbs, is too long, holds a separator, NUL, newline or anything
    that cannot be printed, and one that a spreadsheet takes for a formula or a command for an
    option.
    """
    return (
        name not in ("", ".", "..")
        and not name.startswith(FORMULA_STARTS)
        and not any(c in "/\\" or not c.isprintable() for c in name)
        and len(name.encode()) <= NAME_BYTES
    )


def inside(folder: Path, name: str) -> Path:
    """Return `folder/name` for a plain file name from data.

    Raises InputError for a name that is not plain, and for a link that leads out of `folder`.
    """
    if not is_plain(name):
        raise InputError(f"{name!r} is not a plain file name; it must name a file in {folder}")
    path = folder / name
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder.resolve()):
        raise InputError(f"{path} is a link that leads out of {folder}; put the file itself there")
    return path


def sha256(*parts: bytes | str | Path) -> str:
    """Hash bytes, texts (UTF-8) and the contents of files (paths) as one digest."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                own = hashlib.file_digest(file, "sha256").digest()
        else:
            own = hashlib.sha256(part.encode() if isinstance(part, str) else part).digest()
        total.update(own)
    return total.hexdigest()


def row_sum(row: tuple) -> str:
    """SHA-256 of a row of a database, for a last column that tells whether the rest is whole."""
    return sha256(repr(row))


def digest(path: Path) -> str:
    """SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path) -> None:
    """Append the SHA-256 of a file to it, for `is_whole`; NumPy reads its formats as before."""
    with path.open("r+b") as file:
        total = hashlib.file_digest(file, "sha256")  # reads up to the end
        file.write(total.digest())


def is_whole(path: Path) -> bool:
    """Whether a file is there and ends with the SHA-256 of all before it."""
    if not path.is_file():
        return False
    total = hashlib.sha256()
    left = path.stat().st_size - total.digest_size
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 2**20))):
            total.update(part)
            left -= len(part)
        return file.read() == total.digest()


def check_checksum(path: Path) -> None:
    """Compare a file with the `<path>.sha256` beside it; InputError when they do not agree."""
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        raise InputError(f"{beside} is missing; `sha256sum` in that folder writes it")
    if not path.is_file():
        raise InputError(f"{path} is missing")
    if beside.read_bytes().split()[:1] != [digest(path).encode()]:
        raise InputError(
            f"{path} is not what {beside.name} says; bring both again from where they came"
        )


def folder_files(folder: Path) -> Iterable[Path]:
    """The plain files of a folder in the order of their names, hidden ones left out."""
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
