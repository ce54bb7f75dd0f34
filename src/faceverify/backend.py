"""TensorFlow, started without the dozen lines that it prints about its own build."""

import os
from types import ModuleType

from faceverify.quiet import held_stderr


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
