"""Errors that a user can mend, and how a script reports them: one line and an exit code."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# What to do about a full disk, a quota, the limit of a file's size, and missing permissions.
_REMEDIES = dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "; make room and run the same command again"
) | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    "; see that you may read and write there, then run the same command again",
)
CRASHED = os.EX_SOFTWARE  # 70
_STOPPED = "stopped; run the same command again"

_LONGEST = 2000  # characters of a message; of a longer one, its beginning and its end are shown


class InputError(Exception):
    """Bad data, parameters or environment; the message is one line that says what to do.

    The message may quote hostile data: unprintable characters are escaped, a long text is cut.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(_printable(line))


class MadeFileError(InputError):
    """A file that an earlier step makes is missing, damaged, or does not fit the others."""


class GivenFileError(InputError):
    """A file that no step makes, a published model or the photos, is missing or a wrong one."""


class UnusableError(InputError):
    """A photo that cannot be used; the message says why, in a few words, without its name."""


def begin() -> None:
    """Let Ctrl-C end a script with one line while it is still importing, which takes seconds.

    Call it in a script's first lines; `run` takes over later. The handler exits by itself,
    because compiled modules turn an exception during their import into an error of their own.
    """
    if sys.stderr is None:  # closed by the caller; the next file opened would become number 2
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w")
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # a background job, which ignores Ctrl-C
    terminal = os.dup(2)  # `held_stderr` may redirect descriptor 2 meanwhile

    def stop(*_: object) -> None:
        os.write(terminal, f"{_line(_STOPPED)}\n".encode())
        os._exit(130)

    signal.signal(signal.SIGINT, stop)


def message(error: InputError, remedies: Mapping[type[InputError], str]) -> str:
    """The line that reports an error: what is wrong, and the remedy for its class, if any."""
    remedy = remedies.get(type(error))
    return f"{error}; {remedy}" if remedy else str(error)


def run(main: Callable[[], None], remedies: Mapping[type[InputError], str]) -> None:
    """Run a script's `main`; report an InputError or OSError in one line on stderr, exit code 2.

    `remedies` maps classes of errors to what to do about them, which only the script knows.
    Ctrl-C gives exit code 130. A bug gives a traceback and CRASHED, not Python's 1, which some
    scripts use as an answer, such as a rejection.
    """
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except InputError as error:
        sys.exit(_report(message(error, remedies), 2))
    except OSError as error:
        if error.filename is None and error.errno is None:
            sys.exit(_crash())  # raised by a library, not by the system: a bug
        place = f"{error.filename2 or error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno, "")
        sys.exit(_report(f"{place}{error.strerror}{remedy}", 2))
    except KeyboardInterrupt as stop:
        sys.exit(_report(str(stop) or _STOPPED, 130))
    except Exception:
        sys.exit(_crash())


@contextmanager
def children_ignore_interrupts() -> Iterator[None]:
    """Let processes that start in the block ignore Ctrl-C, which a terminal sends to all of them.

    Their parent ends them and reports it in one line; otherwise each prints a traceback.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, for code that must not stop half-way.

    For the main thread only, where Python handles signals.
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


def _report(text: str, code: int) -> int:
    with _ignoring_stderr_faults():
        print(_line(_printable(text)), file=sys.stderr, flush=True)
    return code


def _crash() -> int:
    with _ignoring_stderr_faults():
        traceback.print_exc()
    return CRASHED


@contextmanager
def _ignoring_stderr_faults() -> Iterator[None]:
    """Keep the exit code where stderr cannot be written to."""
    try:
        yield
    except OSError:
        sys.stderr = None  # else Python flushes it at exit, fails, and exits with another code


def _printable(text: str) -> str:
    """The text with unprintable characters escaped: a terminal would obey some of them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _line(text: str) -> str:
    return f"{Path(sys.argv[0]).name}: error: {text}"
