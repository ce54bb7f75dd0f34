"""One member's training: batches of pairs, the fit, and the progress that a stopped run keeps."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from tqdm import tqdm

from faceverify.base.digests import is_whole, seal
from faceverify.base.errors import InputError
from faceverify.base.files import replacing
from faceverify.data.landmark_range import LandmarkRange
from faceverify.data.records import PairRecord
from faceverify.model.losses import (
    ContrastiveLoss,
    contrastive,
    landmark_error,
    landmark_loss,
    pairwise_accuracy,
)

# The weights of the epoch with the least of this are kept: the verifier is for pairs, not for
# landmarks.
SELECTED_BY = "val_targetD_contrastive"

# From records and a slot, 0 or 1, to the model's inputs (B, ...) for the photo of that slot.
Inputs = Callable[[Sequence[PairRecord], int], np.ndarray]


class PairBatches(keras.utils.PyDataset):
    """Batches of pairs for `fit`, in a new order each epoch.

    The order depends on `seed` and the epoch alone, so that a resumed run goes on as the stopped
    one would have; without a seed it is that of the records. A batch is spread over `replicas`
    devices: the first batch can be divided evenly, and every batch has a pair for each device.
    """

    def __init__(
        self,
        records: Sequence[PairRecord],
        inputs: Inputs,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        replicas: int = 1,
    ) -> None:
        """Begin at epoch `epoch`, from 0; InputError where no batch can be divided evenly."""
        super().__init__()
        self._records, self._inputs = records, inputs
        self._ends = [*range(batch_size, len(records), batch_size), len(records)]
        if len(records) % batch_size in range(1, replicas):
            del self._ends[-2:-1]  # what is left over goes into the last whole batch
        if self._ends[0] % replicas:
            raise InputError(
                f"a batch of {self._ends[0]} pairs cannot be spread evenly over {replicas} "
                "devices; change batch_size, or name fewer in CUDA_VISIBLE_DEVICES"
            )
        self._seed, self._epoch = seed, epoch
        self.error: InputError | None = None  # of the last batch that could not be made
        self._arrange()

    def __len__(self) -> int:
        """The number of batches in an epoch; the last one may be of another size."""
        return len(self._ends)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs and targets of a batch: {feature0, feature1}, {target0, target1, targetD}."""
        try:
            return self._batch(index)
        except InputError as error:
            self.error = error
            raise

    def _batch(self, index: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        start = self._ends[index - 1] if index else 0
        batch = [self._records[i] for i in self._order[start : self._ends[index]]]
        features = {f"feature{slot}": self._inputs(batch, slot) for slot in (0, 1)}
        targets = {
            "target0": np.stack([record.target0 for record in batch]),
            "target1": np.stack([record.target1 for record in batch]),
            "targetD": np.array([record.same for record in batch], np.float32),
        }
        return features, targets

    def on_epoch_end(self) -> None:
        """Go on to the next epoch and its order."""
        self._epoch += 1
        self._arrange()

    def _arrange(self) -> None:
        count = len(self._records)
        if self._seed is None:
            self._order = list(range(count))
        else:
            generator = np.random.default_rng((self._seed, self._epoch))
            self._order = generator.permutation(count).tolist()


class LossWeights(NamedTuple):
    """L = alpha L_E(target0) + beta L_E(target1) + gamma L_C, and delta, the margin of L_C."""

    alpha: float
    beta: float
    gamma: float
    delta: float


def compile_siamese(
    siamese: keras.Model, weights: LossWeights, lr: float, threshold: float, limits: LandmarkRange
) -> None:
    """Give a Siamese model its losses, its metrics, and RMSprop with the learning rate `lr`.

    `threshold`, in radians, is that of the accuracy; `limits` are those of the landmark targets.
    """
    siamese.compile(
        optimizer=keras.optimizers.RMSprop(learning_rate=lr),
        loss={
            "target0": landmark_loss,
            "target1": landmark_loss,
            "targetD": ContrastiveLoss(weights.delta),
        },
        loss_weights={
            "target0": weights.alpha,
            "target1": weights.beta,
            "targetD": weights.gamma,
        },
        metrics={
            "target0": [landmark_error(limits)],
            "target1": [landmark_error(limits)],
            "targetD": [contrastive(weights.delta), pairwise_accuracy(threshold)],
        },
    )
    siamese.optimizer.build(siamese.trainable_variables)


class Progress:
    """A training run's progress: the figures of its epochs, its state, and its best weights.

    After every epoch it is one file of arrays and JSON (no pickle), written whole or not at all.
    """

    def __init__(self, path: Path, siamese: keras.Model) -> None:
        """Set the model to where the run in the file `path` stopped, if there is such a file.

        Raises InputError for a damaged one.
        """
        self._path, self._siamese = path, siamese
        self.history: list[dict[str, float]] = []
        self._best: list[np.ndarray] = siamese.get_weights()
        if path.is_file():
            if not is_whole(path):
                raise InputError(f"{path} is damaged; delete it to train from the first epoch")
            self._take_up()

    @property
    def best_epoch(self) -> int:
        """The epoch with the least SELECTED_BY so far, from 0."""
        return int(np.argmin([logs[SELECTED_BY] for logs in self.history]))

    def finish_epoch(self, logs: dict[str, float]) -> None:
        """Add an epoch's figures, and write the file anew."""
        self.history.append({name: float(value) for name, value in logs.items()})
        if self.best_epoch == len(self.history) - 1:
            self._best = self._siamese.get_weights()
        arrays = {f"state{i}": np.asarray(v) for i, v in enumerate(self._state())}
        arrays |= {f"best{i}": array for i, array in enumerate(self._best)}
        arrays["history"] = np.frombuffer(json.dumps(self.history).encode(), np.uint8)
        with replacing(self._path) as temporary:
            np.savez(temporary, **arrays)
            seal(temporary)

    def restore_best(self) -> None:
        """Set the model to its weights after the best epoch."""
        self._siamese.set_weights(self._best)

    def _take_up(self) -> None:
        with np.load(self._path, allow_pickle=False) as stored:
            self.history = json.loads(stored["history"].tobytes())
            for i, variable in enumerate(self._state()):
                variable.assign(stored[f"state{i}"])
            self._best = [stored[f"best{i}"] for i in range(len(self._best))]

    def _state(self) -> list[keras.Variable]:
        """Weights, batch statistics, dropout's random state, and RMSprop's moving averages."""
        return self._siamese.variables + self._siamese.optimizer.variables


def fit(
    siamese: keras.Model,
    train: PairBatches,
    val: PairBatches,
    epochs: int,
    progress: Progress,
    report: Callable[[dict[str, float]], None],
) -> None:
    """Train from where `progress` stands to `epochs`, then restore the best epoch's weights.

    `report` is called with every epoch's figures, first with those of a run that is taken up.
    Raises InputError when the loss is not finite or a batch cannot be made, and KeyboardInterrupt,
    with a message, on Ctrl-C.
    """
    for logs in progress.history:
        report(logs)
    try:
        siamese.fit(
            train,
            validation_data=val,
            initial_epoch=len(progress.history),
            epochs=epochs,
            callbacks=[_EveryEpoch(progress, report)],
            verbose=0,
            shuffle=False,  # PairBatches has its own order
        )
    except Exception:
        # TensorFlow raises an error of its own in place of what a batch has raised.
        cause = train.error or val.error
        if cause:
            raise cause from None
        raise
    except KeyboardInterrupt:
        done = f"stopped after epoch {len(progress.history)} of {epochs}"
        raise KeyboardInterrupt(f"{done}; run the same command again to go on from there") from None
    progress.restore_best()


class _EveryEpoch(keras.callbacks.Callback):
    """Shows a progress bar, stops at a loss that is not finite, stores and reports each epoch."""

    def __init__(self, progress: Progress, report: Callable[[dict[str, float]], None]) -> None:
        super().__init__()
        self._progress, self._report = progress, report

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        title = f"epoch {epoch + 1}/{self.params['epochs']}"
        self._bar = tqdm(
            total=self.params["steps"], desc=title, unit="batch", leave=False, disable=None
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._refuse_non_finite(logs["loss"], f"step {batch + 1}")
        self._bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.close()
        # A step's loss is computed before its update: only validation sees the last update.
        self._refuse_non_finite(sum(logs.values()), "validation")
        self._progress.finish_epoch(logs)
        self._report(self._progress.history[-1])

    def _refuse_non_finite(self, loss: float, moment: str) -> None:
        if not np.isfinite(loss):
            self._bar.close()
            raise InputError(
                f"the loss is {loss} in epoch {len(self._progress.history) + 1}, {moment}; "
                f"lower lr (now {float(self.model.optimizer.learning_rate):g})"
            )
