"""Messages that native libraries write to stderr, captured."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_stderr() -> Iterator[None]:
    """Capture file descriptor 2, native code included; replay it if the block raises.

    The descriptor belongs to the whole process: what other threads write is captured as well.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            with os.fdopen(os.dup(terminal), "wb") as shown:
                shutil.copyfileobj(held, shown)
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
