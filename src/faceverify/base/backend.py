"""TensorFlow, started without the dozen lines that it prints about its own build."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from faceverify.base.quiet import held_stderr


def start() -> ModuleType:
    """Import TensorFlow, make its operations deterministic, find its devices; give the module.

    What its libraries print meanwhile, past Python and past its own log level, is kept back,
    and shown only when the start fails. Call it before Keras is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with held_stderr():
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
        tensorflow.config.list_physical_devices()
    return tensorflow


@contextmanager
def os_errors() -> Iterator[None]:
    """Raise what TensorFlow says of a full disk or a closed folder as the OSError that it was."""
    from tensorflow import errors

    try:
        yield
    except errors.OpError as error:
        said = re.fullmatch(r"(?:{{.*?}} )?(.+); (.+?)(?: \[Op:\w+\])?", error.message)
        numbers = {os.strerror(number): number for number in errno.errorcode}
        if not said or said[2] not in numbers:
            raise
        raise OSError(numbers[said[2]], said[2], said[1]) from None
