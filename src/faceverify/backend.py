"""TensorFlow, started without the dozen lines that it prints about its own build."""

import os
import shutil
import sys
import tempfile
from types import ModuleType


def start() -> ModuleType:
    """Import TensorFlow, make its operations deterministic, find its devices; give the module.

    What its libraries print meanwhile, past Python and past its own log level, is kept back,
    and shown only when the start fails. Call it before Keras is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow

            tensorflow.config.experimental.enable_op_determinism()
            tensorflow.config.list_physical_devices()
        except BaseException:
            held.seek(0)
            with os.fdopen(os.dup(terminal), "wb") as shown:
                shutil.copyfileobj(held, shown)
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    return tensorflow
