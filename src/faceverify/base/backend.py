"""TensorFlow started quietly and deterministically, and its errors of the operating system."""

import errno
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from faceverify.base.quiet import held_stderr

# TensorFlow takes oneDNN where the processor has AVX-512, and oneDNN the widest instructions there
# are: each kind of processor adds in an order of its own. With these, two kinds by one maker gave
# the same bytes; docs/drift.md says what was measured. What a user sets is kept.
ALIKE = {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def start() -> ModuleType:
    """Import TensorFlow, make its operations deterministic, list its devices; give the module.

    Call it before Keras is imported. The dozen lines that its libraries print about their build,
    whatever the log level, appear only when the start fails.
    """
    # Its errors are raised too. What it logs as one is that oneDNN lacks a type without AVX-512.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _set("TF_ENABLE_ONEDNN_OPTS")
    with held_stderr():
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
        tensorflow.config.list_physical_devices()
    return tensorflow


def compute_alike() -> None:
    """Hold float32 operations to AVX2's instructions, whatever the processor has beside them.

    Call it before the first operation, and not where some are in bfloat16: TensorFlow asks the
    processor whether it has those, and fails where oneDNN may not use the instructions for them.
    """
    _set("ONEDNN_MAX_CPU_ISA")


def _set(name: str) -> None:
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault(name, ALIKE[name])


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
