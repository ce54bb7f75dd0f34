"""SHA-256 digests: of inputs, of whole files, and checksums that tell whether a file is whole."""

import hashlib
from pathlib import Path

from faceverify.base.errors import InputError


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


def digest(path: Path) -> str:
    """SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path) -> None:
    """Append a file's SHA-256 to the file, for `is_whole`; NumPy still reads .npy and .npz."""
    with path.open("r+b") as file:
        total = hashlib.file_digest(file, "sha256")  # reads up to the end
        file.write(total.digest())


def is_whole(path: Path) -> bool:
    """Whether a file exists and ends with the SHA-256 of everything before it, as `seal` leaves."""
    if not path.is_file():
        return False
    total = hashlib.sha256()
    left = path.stat().st_size - total.digest_size
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 2**20))):
            total.update(part)
            left -= len(part)
        return file.read() == total.digest()


def check_digest(path: Path, expected: str, meaning: str, error: type[InputError]) -> None:
    """Raise `error` unless a file exists and has the SHA-256 `expected`, that of `meaning`."""
    if not path.is_file():
        raise error(f"{path} is missing")
    if digest(path) != expected:
        raise error(f"{path} is not {meaning}")


def check_checksum(path: Path) -> None:
    """Compare a file with the `<path>.sha256` beside it, as `sha256sum` writes it.

    Raises InputError when one of the two is missing or when they differ.
    """
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        raise InputError(f"{beside} is missing; `sha256sum` in that folder writes it")
    if not path.is_file():
        raise InputError(f"{path} is missing")
    if beside.read_bytes().split()[:1] != [digest(path).encode()]:
        raise InputError(
            f"{path} is not what {beside.name} says; bring both again from where they came"
        )
