"""One run of a step at a time, even when DVC is gone and a stage that it started is not."""

import os
from pathlib import Path

import filelock

from faceverify.base.errors import InputError

LOCKS = Path(".cache")
_held: list[filelock.FileLock] = []


def claim(step: str) -> None:
    """Be the only process that does `step` in this folder, from here to the end of the process.

    DVC keeps two of its own apart, but a stage outlives a `dvc repro` that is killed by itself,
    and would mix what it writes into what the next one does. The system lets go of the file lock
    when its process ends in whatever way. Raises InputError while another process holds it.
    """
    LOCKS.mkdir(exist_ok=True)
    path = LOCKS / f"{step}.lock"
    # One object for a file: a process that does a step twice does not keep itself out.
    lock = filelock.FileLock(path.absolute(), blocking=False, is_singleton=True)
    try:
        lock.acquire()
    except filelock.Timeout:
        other = path.read_text(encoding="utf-8", errors="replace").strip() or "of unknown number"
        raise InputError(
            f"process {other} still does this here (it holds {path}): let it end, or end it with "
            "`kill`, then run the same command again"
        ) from None
    path.write_text(f"{os.getpid()}\n", encoding="utf-8")
    _held.append(lock)
