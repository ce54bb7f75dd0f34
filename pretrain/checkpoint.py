"""A checkpoint of a training: written after every epoch, taken up by a run of the same hash."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

import recipe
from faceverify.base import digests, errors, files
from faceverify.runs import imports


def run_hash(script: Path, *parts: str | Path) -> str:
    """The hash of a run: of these texts and files, the labels, the held-out people, the code.

    The code is the script's and that of all modules that it imports.
    """
    code = imports.code_of(script.absolute())
    return digests.sha256(*parts, recipe.HELD_OUT, *files.folder_files(recipe.LABELS), *code)


class Checkpoint:
    """The figures of the finished epochs, and the state of model and optimizer after the last.

    One file of arrays and JSON (no pickle), written whole or not at all.
    """

    def __init__(self, path: Path, run: str, model: keras.Model) -> None:
        """Set a compiled model to where the run with the hash `run` stopped.

        A file `path` of another run is not used. Raises InputError for a damaged one.
        """
        self._path, self._run, self._model = path, run, model
        self.history: list[dict[str, float]] = []
        if path.is_file():
            try:
                self._take_up()
            except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
                raise errors.InputError(
                    f"{path} is damaged ({error}); delete it to train from the first epoch"
                ) from None

    def finish_epoch(self, logs: dict[str, float]) -> None:
        """Add an epoch's figures, and write the file anew."""
        self.history.append({name: float(value) for name, value in logs.items()})
        arrays = {f"state{i}": np.asarray(v) for i, v in enumerate(self._state())}
        arrays["history"] = np.frombuffer(json.dumps(self.history).encode(), np.uint8)
        arrays["hash"] = np.array(self._run)
        with files.replacing(self._path) as temporary:
            np.savez(temporary, **arrays)

    def remove(self) -> None:
        """Delete the file; for a run whose results are written."""
        self._path.unlink(missing_ok=True)

    def _take_up(self) -> None:
        with np.load(self._path, allow_pickle=False) as stored:
            if str(stored["hash"]) != self._run:
                return
            self.history = json.loads(stored["history"].tobytes())
            for i, variable in enumerate(self._state()):
                variable.assign(stored[f"state{i}"])
        print(f"going on after epoch {len(self.history)}", flush=True)

    def _state(self) -> list[keras.Variable]:
        """Weights, batch statistics, and the optimizer's moving averages."""
        return self._model.variables + self._model.optimizer.variables
