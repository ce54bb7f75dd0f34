"""What goes wrong by a user's mistake, and how a script reports it."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

# What the system says when a disk, a quota or the largest size of a file is reached.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        # A terminal would obey some characters.
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


class UnusableError(InputError):
    """A photo that cannot be used; the message says why, in a few words without its name."""


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a user's mistake ends it with one line on stderr and exit code 2."""
    script = Path(sys.argv[0]).name
    try:
        main()
    except InputError as error:
        sys.exit(_report(script, str(error), 2))
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise  # raised by a library for its own reasons, not by the operating system
        place = f"{error.filename}: " if error.filename else ""
        remedy = "; make room and run the same command again" if error.errno in _FULL else ""
        sys.exit(_report(script, f"{place}{error.strerror}{remedy}", 2))
    except KeyboardInterrupt as stop:
        sys.exit(_report(script, str(stop) or "stopped; run the same command again", 130))


def _report(script: str, message: str, code: int) -> int:
    print(f"{script}: error: {message}", file=sys.stderr)
    return code
