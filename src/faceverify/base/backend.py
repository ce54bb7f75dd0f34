"""TensorFlow started quietly and deterministically, and its errors of the operating system."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from faceverify.base.quiet import held_stderr


def start() -> ModuleType:
    """Import TensorFlow, make its operations deterministic, list its devices; give the module.

    Call it before Keras is imported. The dozen lines that its libraries print about their build,
    whatever the log level, appear only when the start fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with held_stderr():
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
        tensorflow.config.list_physical_devices()
    return tensorflow


@contextmanager
def os_errors() -> Iterator[None]:
    """Turn a TensorFlow error about a full disk or a missing permission back into an OSError."""
    from tensorflow import errors

    try:
        yield
    except errors.OpError as error:
        said = re.fullmatch(r"(?:{{.*?}} )?(.+); (.+?)(?: \[Op:\w+\])?", error.message)
        numbers = {os.strerror(number): number for number in errno.errorcode}
        if not said or said[2] not in numbers:
            raise
        raise OSError(numbers[said[2]], said[2], said[1]) from None
