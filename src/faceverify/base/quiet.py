"""Native libraries kept from writing about themselves to stderr."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_stderr() -> Iterator[None]:
    """Keep back what is written to stderr in the block, past Python too.

    It is shown only when the block raises. Other threads of the process are kept back as well.
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
