"""What goes wrong by a user's mistake, and how a script reports it."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# What to do when a disk, a quota or the largest size of a file is reached, or writing is forbidden.
_REMEDIES = dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "; make room and run the same command again"
) | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    "; see that you may read and write there, then run the same command again",
)
CRASHED = os.EX_SOFTWARE  # 70
_STOPPED = "stopped; run the same command again"


# What a message shows of a text that goes on and on: as much of its beginning as of its end.
_LONGEST = 2000


class InputError(Exception):
    """Bad data, parameters or surroundings; the message is one line that says what to do.

    It may quote hostile data: what cannot be printed is escaped, and a very long text is cut.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(_printable(line))


class MadeFileError(InputError):
    """A file that an earlier step makes is missing, damaged, or does not fit the others."""


class GivenFileError(InputError):
    """A file that the work begins with, a published model or the photos, is missing or another."""


class UnusableError(InputError):
    """A photo that cannot be used; the message says why, in a few words without its name."""


def begin() -> None:
    """Let Ctrl-C end a script with one line already while it imports, which takes seconds.

    For the first lines of a script that is run; `run` takes over. An exception would not do:
    compiled modules turn one that comes while they are imported into errors of their own.
    """
    if sys.stderr is None:  # closed by who called; another file would take its number
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w")
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # a background job, which ignores Ctrl-C
    terminal = os.dup(2)  # what native libraries write to stderr may be held back meanwhile

    def stop(*_: object) -> None:
        os.write(terminal, f"{_line(_STOPPED)}\n".encode())
        os._exit(130)

    signal.signal(signal.SIGINT, stop)


def message(error: InputError, remedies: Mapping[type[InputError], str]) -> str:
    """The line that an error ends a script with: what is wrong, and what the script advises."""
    remedy = remedies.get(type(error))
    return f"{error}; {remedy}" if remedy else str(error)


def run(main: Callable[[], None], remedies: Mapping[type[InputError], str]) -> None:
    """Run a script's `main`; a user's mistake ends it with one line on stderr and exit code 2.

    `remedies` says what to do about a kind of error where only the script can know it.

    A fault of the program's own ends it with a traceback and CRASHED: 1 is an answer of some
    scripts, such as a rejection.
    """
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except InputError as error:
        sys.exit(_report(message(error, remedies), 2))
    except OSError as error:
        if error.filename is None and error.errno is None:
            sys.exit(_crash())  # raised by a library for its own reasons, not by the system
        place = f"{error.filename2 or error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno, "")
        sys.exit(_report(f"{place}{error.strerror}{remedy}", 2))
    except KeyboardInterrupt as stop:
        sys.exit(_report(str(stop) or _STOPPED, 130))
    except Exception:
        sys.exit(_crash())


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Let the processes that start in the block ignore Ctrl-C, which reaches all of a terminal's.

    The one that starts them ends them, and says so in one line; each would print a traceback.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C take effect at the end of the block, for code that it would leave half done.

    Only in the main thread, where Python handles signals.
    """
    before, held = signal.getsignal(signal.SIGINT), []
    if not callable(before):  # a background job, which ignores Ctrl-C
        yield
        return
    signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        before(*held[0])


def _report(message: str, code: int) -> int:
    with _if_stderr_takes_it():
        print(_line(_printable(message)), file=sys.stderr, flush=True)
    return code


def _crash() -> int:
    with _if_stderr_takes_it():
        traceback.print_exc()
    return CRASHED


@contextmanager
def _if_stderr_takes_it() -> Iterator[None]:
    """Let the exit code speak where stderr is full or gone."""
    try:
        yield
    except OSError:
        sys.stderr = None  # else Python tries once more at its end, and that gives another code


def _printable(text: str) -> str:
    """The text on one line; a terminal would obey some characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _line(message: str) -> str:
    return f"{Path(sys.argv[0]).name}: error: {message}"
