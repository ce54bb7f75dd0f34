"""Tests of faceverify.model.training, and of the stage `train` as people run it."""

import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from faceverify.base.errors import InputError
from faceverify.data.landmark_range import LandmarkRange
from faceverify.data.records import PairRecord, PairRecords, write_records
from faceverify.faces.aligned_photos import decode_aligned
from faceverify.faces.landmarks import find_landmarks, flatten
from faceverify.model import network, store, training, weight_files

ROOT = Path(__file__).resolve().parents[1]
FEATURES = (6, 6, 8)
LIMITS = LandmarkRange(np.full(136, 50.0), np.linspace(60, 200, 136))


def made_records(count, seed):
    """Pairs whose photos are only names; half of them show one person."""
    generator = np.random.default_rng(seed)
    targets = generator.random((count, 2, 136), np.float32)
    return [
        PairRecord(b"", b"", *targets[i], float(i % 2), f"{seed}-{i}-0", f"{seed}-{i}-1")
        for i in range(count)
    ]


def made_inputs(records, seed=9):
    """Random features for each photo of some records."""
    names = [name for record in records for name in (record.source0, record.source1)]
    generator = np.random.default_rng(seed)
    features = {name: generator.normal(size=FEATURES).astype(np.float32) for name in names}
    return lambda batch, slot: np.stack([features[getattr(r, f"source{slot}")] for r in batch])


def made_siamese(dropout=0.0, l2=0.0, lr=1e-2, seed=5, gamma=1.5):
    """A small Siamese model, seeded and compiled as the stage does it."""
    sizes = network.Tower(4, [8, 6], [7, 5], dropout, l2)
    siamese = network.build_siamese(network.build_tower(FEATURES, sizes, seed))
    weights = training.LossWeights(alpha=0.3, beta=0.7, gamma=gamma, delta=2.0)
    training.compile_siamese(siamese, weights, lr, 1.2, LIMITS)
    return siamese


TRAIN, VAL = made_records(10, seed=1), made_records(8, seed=2)
INPUTS = made_inputs(TRAIN + VAL)


class StoppedError(InputError):
    pass


class Run:
    """A training run as the stage does it: from where the file at `path` stands."""

    def __init__(self, path, siamese, epochs, stop_at_epoch=None, stop_at_step=None):
        self.siamese, self.reports, self.weights, self.orders = siamese, [], [], []
        self.progress = training.Progress(path, siamese)
        self._stop_at_epoch, self._stop_at_step, self._steps = stop_at_epoch, stop_at_step, 0
        batches = [
            training.PairBatches(TRAIN, self._inputs, 4, seed=7, epoch=len(self.progress.history)),
            training.PairBatches(VAL, INPUTS, 4),
        ]
        training.fit(siamese, *batches, epochs, self.progress, self._report)

    def _inputs(self, batch, slot):
        if slot == 0:
            self.orders.append([record.source0 for record in batch])
            self._steps += 1
            if self._steps == self._stop_at_step:
                raise StoppedError("stopped")
        return INPUTS(batch, slot)

    def _report(self, logs):
        self.reports.append(dict(logs))
        self.weights.append(self.siamese.get_weights())
        # Everything that the next step depends on.
        variables = self.siamese.variables + self.siamese.optimizer.variables
        self.state = [variable.numpy().copy() for variable in variables]
        if len(self.reports) == self._stop_at_epoch:
            raise StoppedError("stopped")


def assert_equal_arrays(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# One step


def test_the_losses_of_a_step_are_the_equations():
    siamese = made_siamese(l2=0.02)
    features, targets = training.PairBatches(TRAIN, made_inputs(TRAIN), 10)[0]
    outputs = {k: v.astype(np.float64) for k, v in siamese.predict_on_batch(features).items()}
    tower = siamese.get_layer("tower")
    kernels = [tower.get_layer(name).get_weights()[0] for name in ("neck0", "neck1")]
    logs = siamese.train_on_batch(features, targets, return_dict=True)

    landmark = [
        np.sqrt(((outputs[name] - targets[name]) ** 2).sum(axis=1)).mean()
        for name in ("target0", "target1")
    ]
    same, theta = targets["targetD"], outputs["targetD"]
    assert 0 < np.sum((same == 0) & (theta < 2.0)) < len(theta)
    contrastive = np.mean(same * theta**2 + (1 - same) * np.maximum(0, 2.0 - theta) ** 2)
    penalty = 0.02 * sum((kernel.astype(np.float64) ** 2).sum() for kernel in kernels)
    assert logs["target0_loss"] == pytest.approx(landmark[0], rel=1e-5)
    assert logs["target1_loss"] == pytest.approx(landmark[1], rel=1e-5)
    assert logs["targetD_loss"] == pytest.approx(contrastive, rel=1e-5)
    total = 0.3 * landmark[0] + 0.7 * landmark[1] + 1.5 * contrastive + penalty
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
    assert logs["targetD_accuracy"] == pytest.approx(np.mean((theta < 1.2) == (same == 1)))


def test_a_step_goes_down_the_gradient_of_the_whole_loss_by_rmsprop():
    siamese = made_siamese(l2=0.02, lr=1e-3)
    features, targets = training.PairBatches(TRAIN, made_inputs(TRAIN), 10)[0]
    tower = siamese.get_layer("tower")
    kernel = tower.get_layer("neck0").kernel
    place = (3, 2)
    before = kernel.numpy().copy()

    def loss_at(value):
        changed = before.copy()
        changed[place] = value
        kernel.assign(changed)
        return siamese.test_on_batch(features, targets, return_dict=True)["loss"]

    gradient = (loss_at(before[place] + 1e-2) - loss_at(before[place] - 1e-2)) / 2e-2
    kernel.assign(before)
    siamese.reset_metrics()
    siamese.train_on_batch(features, targets)
    # The first step of RMSprop: the gradient over the root of a tenth of its square.
    step = 1e-3 * gradient / np.sqrt(0.1 * gradient**2 + 1e-7)
    assert kernel.numpy()[place] - before[place] == pytest.approx(-step, rel=1e-2)
    assert abs(step) > 1e-4


# Batches


def orders(batches):
    """The names of each batch's pairs in the order of an epoch."""
    of_target = {record.target0.tobytes(): record.source0 for record in TRAIN}
    return [[of_target[t.tobytes()] for t in batches[i][1]["target0"]] for i in range(len(batches))]


def epochs_of(batches, count):
    found = []
    for _ in range(count):
        found.append(orders(batches))
        batches.on_epoch_end()
    return found


def made_batches(**options):
    return training.PairBatches(TRAIN, made_inputs(TRAIN), 4, **options)


def test_every_pair_comes_once_an_epoch_in_a_new_order():
    found = epochs_of(made_batches(seed=7), 3)
    names = sorted(record.source0 for record in TRAIN)
    for epoch in found:
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(itertools.chain(*epoch)) == names
    assert len({str(epoch) for epoch in found}) == 3


def test_the_order_depends_on_seed_and_epoch_alone():
    expected = epochs_of(made_batches(seed=7), 3)
    np.random.seed(0)
    keras.utils.set_random_seed(1)
    assert epochs_of(made_batches(seed=7), 3) == expected
    assert epochs_of(made_batches(seed=7, epoch=2), 1) == expected[2:]
    assert epochs_of(made_batches(seed=8), 3) != expected


def test_without_a_seed_the_order_is_that_of_the_records():
    names = [record.source0 for record in TRAIN]
    assert epochs_of(made_batches(), 2) == [[names[:4], names[4:8], names[8:]]] * 2


def test_features_targets_and_labels_of_a_batch_belong_to_one_another():
    inputs = made_inputs(TRAIN)
    batches = training.PairBatches(TRAIN, inputs, 4, seed=7)
    record_of = {record.target0.tobytes(): record for record in TRAIN}
    for i in range(len(batches)):
        features, targets = batches[i]
        records = [record_of[target.tobytes()] for target in targets["target0"]]
        for slot in (0, 1):
            np.testing.assert_array_equal(features[f"feature{slot}"], inputs(records, slot))
        np.testing.assert_array_equal(targets["target1"], [r.target1 for r in records])
        np.testing.assert_array_equal(targets["targetD"], [r.same for r in records])
        assert targets["targetD"].dtype == np.float32


@pytest.mark.parametrize(
    ("pairs", "size", "replicas", "sizes"),
    [
        (10, 4, 1, [4, 4, 2]),
        (9, 4, 1, [4, 4, 1]),
        (9, 4, 2, [4, 5]),
        (10, 4, 2, [4, 4, 2]),
        (11, 4, 2, [4, 4, 3]),
        (8, 4, 4, [4, 4]),
        (4, 8, 4, [4]),
    ],
)
def test_every_device_has_a_part_of_every_batch(pairs, size, replicas, sizes):
    records = made_records(pairs, seed=1)
    batches = training.PairBatches(records, made_inputs(records), size, replicas=replicas)
    targets = [batches[i][1]["target0"] for i in range(len(batches))]
    assert [len(target) for target in targets] == sizes
    np.testing.assert_array_equal(np.concatenate(targets), [r.target0 for r in records])


@pytest.mark.parametrize(
    ("pairs", "size", "replicas"), [(8, 3, 2), (3, 8, 2), (5, 4, 2), (2, 2, 4)]
)
def test_a_batch_that_devices_cannot_share_evenly_is_refused(pairs, size, replicas):
    with pytest.raises(InputError, match=rf"spread evenly over {replicas} devices; change batch_s"):
        training.PairBatches(made_records(pairs, 1), INPUTS, size, replicas=replicas)


# The best epoch


def contrastive_loss(siamese, records):
    """L_C of all pairs at once, for made_siamese's delta."""
    features, targets = training.PairBatches(records, INPUTS, len(records))[0]
    theta, same = siamese.predict_on_batch(features)["targetD"], targets["targetD"]
    return np.mean(same * theta**2 + (1 - same) * np.maximum(0, 2.0 - theta) ** 2)


def test_fit_leaves_the_weights_of_the_epoch_with_the_least_contrastive_loss(tmp_path):
    run = Run(tmp_path / "progress.npz", made_siamese(), 6)
    losses = [logs[training.SELECTED_BY] for logs in run.reports]
    best = losses.index(min(losses))
    # Another choice would be another epoch.
    totals = [logs["val_loss"] for logs in run.reports]
    assert best not in (0, 5, totals.index(min(totals)))
    assert run.progress.best_epoch == best
    assert_equal_arrays(run.siamese.get_weights(), run.weights[best])
    assert run.progress.history == run.reports
    assert len(run.reports) == 6
    assert contrastive_loss(run.siamese, VAL) == pytest.approx(losses[best], rel=1e-5)


def test_the_loss_that_selects_is_the_mean_over_all_pairs_in_batches_of_any_size():
    siamese = made_siamese()
    batches = training.PairBatches(VAL, INPUTS, 5)  # and one of 3
    logs = siamese.evaluate(batches, return_dict=True, verbose=0)
    found = logs[training.SELECTED_BY.removeprefix("val_")]
    assert found == pytest.approx(contrastive_loss(siamese, VAL), rel=1e-5)


def test_of_equal_epochs_the_first_is_kept(tmp_path):
    siamese = made_siamese()
    progress = training.Progress(tmp_path / "progress.npz", siamese)
    first = siamese.get_weights()
    for loss in (0.5, 0.5, 0.7):
        progress.finish_epoch({training.SELECTED_BY: loss})
        siamese.set_weights([weight + 1 for weight in siamese.get_weights()])
    progress.restore_best()
    assert progress.best_epoch == 0
    assert_equal_arrays(siamese.get_weights(), first)


def test_a_loss_that_is_no_number_stops_the_run_and_names_lr(tmp_path):
    with pytest.raises(InputError, match=r"lower lr \(now 1e\+30\)"):
        Run(tmp_path / "progress.npz", made_siamese(lr=1e30), 3)


def test_weights_that_the_last_step_spoils_are_not_kept(tmp_path):
    # The loss of a step is that before it: only validation sees what an epoch's last step did.
    siamese = made_siamese(lr=1e30)
    progress = training.Progress(tmp_path / "progress.npz", siamese)
    one_step, val = (training.PairBatches(records, INPUTS, 10) for records in (TRAIN, VAL))
    with pytest.raises(InputError, match="lr"):
        training.fit(siamese, one_step, val, 1, progress, lambda logs: None)


def test_a_damaged_record_that_is_first_read_in_training_is_named(tmp_path):
    records = [record._replace(feature0=b"photo", feature1=b"photo") for record in TRAIN]
    write_records(tmp_path / "train.tfrecord", records, [10] * len(TRAIN))
    (path,) = (tmp_path / "train.tfrecord").iterdir()
    data = path.read_bytes()
    position = data.index(b"1-9-0")
    path.write_bytes(data[:position] + b"X" + data[position + 1 :])
    siamese = made_siamese()
    progress = training.Progress(tmp_path / "progress.npz", siamese)
    # In the order of the records: the damaged one is in the last batch.
    train = training.PairBatches(PairRecords(tmp_path / "train.tfrecord"), INPUTS, 4)
    val = training.PairBatches(VAL, INPUTS, 4)
    with pytest.raises(InputError, match="the record is damaged"):
        training.fit(siamese, train, val, 1, progress, lambda logs: None)


# A run that was stopped


@pytest.fixture(scope="module")
def undisturbed_path(tmp_path_factory):
    return tmp_path_factory.mktemp("undisturbed") / "progress.npz"


@pytest.fixture(scope="module")
def undisturbed(undisturbed_path):
    return Run(undisturbed_path, made_siamese(dropout=0.3), 5)


def test_fit_passes_each_pair_once_an_epoch_in_an_order_of_its_own(undisturbed):
    names = sorted(record.source0 for record in TRAIN)
    batches = undisturbed.orders[-5 * 3 :]  # Keras looks at some before the first epoch
    epochs = [batches[i : i + 3] for i in range(0, 15, 3)]
    assert all(sorted(itertools.chain(*epoch)) == names for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) == 5


@pytest.mark.parametrize(
    ("stop", "done"),
    # Two batches are looked at beforehand; the tenth read is the second of the third epoch.
    [({"stop_at_step": 10}, 2), ({"stop_at_epoch": 5}, 5)],
    ids=["within an epoch", "after the last epoch"],
)
def test_a_stopped_run_goes_on_to_the_same_bits(undisturbed, tmp_path, stop, done):
    path = tmp_path / "progress.npz"
    # TensorFlow passes on what a batch raises under a name of its own.
    with pytest.raises((StoppedError, tf.errors.OpError)):
        Run(path, made_siamese(dropout=0.3), 5, **stop)
    keras.utils.set_random_seed(123)
    siamese = made_siamese(dropout=0.3)
    assert len(training.Progress(path, siamese).history) == done

    keras.utils.set_random_seed(123)
    run = Run(path, made_siamese(dropout=0.3), 5)
    assert run.reports == undisturbed.reports
    assert run.progress.history == undisturbed.progress.history
    assert run.progress.best_epoch == undisturbed.progress.best_epoch
    steps = 3 * (5 - done)
    assert run.orders[len(run.orders) - steps :] == undisturbed.orders[15 + 2 - steps :]
    assert_equal_arrays(run.state, undisturbed.state)
    assert_equal_arrays(run.siamese.get_weights(), undisturbed.siamese.get_weights())


def arrays_of(path):
    with np.load(path) as stored:
        return dict(stored)


def without(path, name):
    arrays = arrays_of(path)
    del arrays[name]
    np.savez(path, **arrays)


def spoiled(path, name, array):
    np.savez(path, **(arrays_of(path) | {name: array}))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("nothing of the kind\n"),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-500]),
    "flipped bits": lambda path: path.write_bytes(
        path.read_bytes()[:600] + b"\xff" * 64 + path.read_bytes()[664:]
    ),
    "no history": lambda path: without(path, "history"),
    "no state": lambda path: without(path, "state3"),
    "no best": lambda path: without(path, "best0"),
    "history is no JSON": lambda path: spoiled(path, "history", np.zeros(9, np.uint8)),
    "state of another shape": lambda path: spoiled(path, "state0", np.zeros((2, 3), np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_progress_file_is_named_and_not_a_traceback(
    undisturbed, undisturbed_path, tmp_path, damage
):
    path = Path(shutil.copy(undisturbed_path, tmp_path))
    DAMAGES[damage](path)
    with pytest.raises(InputError, match="progress.npz"):
        training.Progress(path, made_siamese(dropout=0.3))


# In another precision


@pytest.fixture
def precision(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


# Of the losses, in steps so small that they do not amplify what is rounded away: 0.0015 was
# measured with bfloat16, and 0.05 with float16, which leaves out one of nine steps until its loss
# scale fits.
TOLERANCE = {"mixed_bfloat16": 5e-3, "mixed_float16": 1e-1}


@pytest.mark.slow
@pytest.mark.parametrize("precision", TOLERANCE, indirect=True)
def test_training_in_half_precision_follows_float32_and_repeats_to_the_bit(tmp_path, precision):
    runs = [Run(tmp_path / f"{i}.npz", made_siamese(lr=1e-4), 3) for i in range(2)]
    keras.config.set_dtype_policy("float32")
    plain = Run(tmp_path / "plain.npz", made_siamese(lr=1e-4), 3)
    assert runs[0].reports == runs[1].reports != plain.reports
    assert_equal_arrays(runs[0].state, runs[1].state)
    for found, expected in zip(runs[0].reports, plain.reports, strict=True):
        for name in ("loss", "val_loss", training.SELECTED_BY):
            assert found[name] == pytest.approx(expected[name], rel=TOLERANCE[precision])
    assert all(weight.dtype == np.float32 for weight in runs[0].siamese.get_weights())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
def test_a_stopped_run_in_float16_goes_on_with_its_loss_scale(tmp_path, precision):
    # A scale that makes gradients infinite is halved, and the step is left out: no reason to stop.
    undisturbed = Run(tmp_path / "whole.npz", made_siamese(dropout=0.3, gamma=500), 4)
    assert undisturbed.siamese.optimizer.dynamic_scale.numpy() < 2**15
    path = tmp_path / "progress.npz"
    with pytest.raises(StoppedError):
        Run(path, made_siamese(dropout=0.3, gamma=500), 4, stop_at_epoch=2)
    run = Run(path, made_siamese(dropout=0.3, gamma=500), 4)
    assert run.reports == undisturbed.reports
    assert_equal_arrays(run.state, undisturbed.state)


# The stage


# (first photo, second photo, same person), photos as (person, number).
PAIRS = {
    "train": [
        ((0, 0), (0, 1), 1),
        ((1, 0), (1, 1), 1),
        ((0, 2), (1, 2), 0),
        ((0, 3), (1, 3), 0),
    ],
    "val": [
        ((2, 0), (2, 1), 1),
        ((2, 1), (2, 2), 1),
        ((2, 2), (0, 3), 0),
        ((2, 3), (1, 3), 0),
    ],
}
SMALLER = {"epochs": 8, "batch_size": 3, "dropout": 0.2}
SMALLER_MODEL = {
    "brain": "MobileNetV2",
    "brain_layer": "block_1_expand_relu",
    "brain_view": 218,
    "brain_weights": None,
    "head_filters": 4,
    "neck_units": [8, 6],
    "tail_reads": "landmarks",
    "tail_units": [7, 5],
    "tower_weights": None,
}


def three_people(sample):
    """The first four photos of each of the first three people: encoded bytes and landmarks."""
    photos = {}
    for line in (sample / "identity_CelebA.txt").read_text().splitlines():
        name, identity = line.split()
        photos.setdefault(identity, []).append(sample / "img_align_celeba" / name)
    predictor = sample / "shape_predictor_68_face_landmarks.dat"
    return {
        (person, number): (
            path.read_bytes(),
            flatten(find_landmarks(decode_aligned(path.read_bytes()), predictor)),
        )
        for person, paths in enumerate(list(photos.values())[:3])
        for number, path in enumerate(paths[:4])
    }


@pytest.fixture(scope="module")
def prepare(sample, tmp_path_factory):
    """Makes folders that the stage can run in: parameters and prepared pairs."""
    people = three_people(sample)
    limits = LandmarkRange.fit([landmarks for _, landmarks in people.values()])

    def record(first, second, same):
        (photo0, landmarks0), (photo1, landmarks1) = people[first], people[second]
        targets = [limits.normalize(landmarks) for landmarks in (landmarks0, landmarks1)]
        return PairRecord(photo0, photo1, *targets, same, str(first), str(second))

    def make(members, **changes):
        folder = tmp_path_factory.mktemp("stage")
        values = yaml.safe_load((ROOT / "params.yaml").read_text()) | SMALLER | changes
        values["model"] |= SMALLER_MODEL
        values["members"] = members
        values["ensemble"] = dict.fromkeys(members, 1 / len(members))
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
        for split, pairs in PAIRS.items():
            records = [record(*pair) for pair in pairs]
            sizes = [len(r.feature0) + len(r.feature1) for r in records]
            write_records(folder / "prepared" / f"{split}.tfrecord", records, sizes)
        limits.save(folder / "prepared" / "landmark_range.json")
        return folder

    return make


def stage(folder, member):
    """The command of the stage, and where and how it runs."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, ROOT / "src" / "train.py", member]
    return {"args": command, "cwd": folder, "env": environment, "text": True}


def train(folder, member):
    result = subprocess.run(**stage(folder, member), capture_output=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def outs(folder, member):
    """The bytes of everything that the stage promises."""
    roots = [folder / "models/members" / member, folder / "plots" / "training" / member]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def trained(prepare):
    """A folder in which `ja` has been trained, what was printed, and its outs."""
    folder = prepare({"ja": {}})
    printed = train(folder, "ja")
    return folder, printed, outs(folder, "ja")


def test_the_stage_writes_a_model_and_its_curves_and_says_what_it_did(trained):
    folder, printed, made = trained
    assert {name for name in made if name.startswith("models")} == {
        f"models/members/ja/{name}"
        for name in ("model.json", "brain.weights.h5", "tower.weights.h5")
    }
    curves = {name for name in made if name.endswith(".tsv")}
    assert any(name.endswith("val/targetD_loss.tsv") for name in curves)
    assert all(len(made[name].splitlines()) == 1 + 8 for name in curves)
    assert len(re.findall(r"^epoch \d/8 ", printed, re.MULTILINE)) == 8
    kept = int(re.search(r"ja: epoch (\d) of 8 is kept", printed)[1])
    name = next(name for name in curves if name.endswith("val/targetD_contrastive.tsv"))
    losses = [float(line.split(b"\t")[1]) for line in made[name].splitlines()[1:]]
    assert losses[kept - 1] == min(losses)
    assert json.loads(made["models/members/ja/model.json"])["brain_trainable"] is False
    # Only what later runs can use is left in the cache.
    assert [path.name for path in (folder / ".cache").glob("*/*")] == ["rows.npy"]


@pytest.mark.slow
def test_the_stage_from_scratch_gives_the_same_bytes_wherever_it_runs(trained, prepare):
    folder = prepare({"ja": {}})
    train(folder, "ja")
    assert outs(folder, "ja") == trained[2]


def stop(folder, after_epoch, pause, kind):
    """Start the stage and send it a signal some seconds after an epoch; give what it printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(**stage(folder, "ja"), **pipes) as process:
        for line in process.stdout:
            if line.startswith(f"epoch {after_epoch}/8 "):
                time.sleep(pause)
                process.send_signal(kind)
                break
        return process.communicate()[1], process.returncode


@pytest.mark.slow
def test_a_stage_killed_at_random_steps_goes_on_and_gives_the_same_bytes(trained, prepare):
    chance = random.Random(1)
    folder = prepare({"ja": {}})
    for earliest in (1, 4):
        epoch, pause = chance.randint(earliest, earliest + 1), chance.uniform(0, 0.02)
        assert stop(folder, epoch, pause, signal.SIGKILL)[1] == -signal.SIGKILL
        assert not (folder / "models").exists()

    printed = train(folder, "ja")
    assert 4 <= int(re.search(r"ja: going on after epoch (\d) of 8", printed)[1]) < 8
    assert outs(folder, "ja") == trained[2]


@pytest.mark.slow
def test_an_interrupted_stage_says_how_to_go_on(trained, prepare):
    folder = prepare({"ja": {}})
    errors, code = stop(folder, 2, 0, signal.SIGINT)
    assert code == 130
    (done,) = re.findall(
        r"^train\.py: error: stopped after epoch (\d) of 8; run the same command again to go on "
        r"from there$",
        errors,
        re.MULTILINE,
    )
    assert "Traceback" not in errors
    assert f"ja: going on after epoch {done} of 8" in train(folder, "ja")
    assert outs(folder, "ja") == trained[2]


@pytest.mark.parametrize("cached", [False, True], ids=["brain features", "progress"])
def test_a_full_disk_is_one_line_and_leaves_the_previous_model(trained, prepare, cached):
    folder = prepare({"ja": {}}, dropout=0.3)
    shutil.copytree(trained[0] / "models", folder / "models")
    if cached:
        shutil.copytree(trained[0] / ".cache", folder / ".cache")
    room = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))}
    result = subprocess.run(**stage(folder, "ja"), **room, capture_output=True)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "train.py: error: File too large; make room and run the same command again"
    )
    assert "Traceback" not in result.stderr
    kept = {name: made for name, made in trained[2].items() if name.startswith("models/")}
    assert {n: made for n, made in outs(folder, "ja").items() if n in kept} == kept
    assert not list(folder.rglob("*.tmp-*"))


def test_a_model_that_finds_no_room_leaves_the_previous_one(trained, tmp_path):
    shutil.copytree(trained[0] / "models/members/ja", tmp_path / "ja")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ja").iterdir()}
    loaded = store.load(tmp_path / "ja")
    loaded.tower.set_weights([weight + 1 for weight in loaded.tower.get_weights()])
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*tower\.weights\.h5'"):
            store.save(tmp_path / "ja", loaded)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ja").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["ja"]


def test_an_unknown_member_is_refused_in_one_line(trained):
    folder, _, made = trained
    result = subprocess.run(**stage(folder, "jaa"), capture_output=True)
    assert result.returncode == 2
    assert result.stdout == ""
    # Beside what TensorFlow logs when it is imported.
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    assert errors == ["train.py: error: params.yaml has no member 'jaa' in `members`"]
    assert "Traceback" not in result.stderr
    assert outs(folder, "ja") == made


def test_a_trainable_brain_is_trained_and_a_frozen_one_is_not(trained, prepare):
    folder = prepare({"own": {"brain_trainable": True}}, epochs=1)
    train(folder, "own")
    made = outs(folder, "own")
    assert json.loads(made["models/members/own/model.json"])["brain_trainable"] is True

    # Both began with the weights that the shared seed gives.
    shape = yaml.safe_load((folder / "params.yaml").read_text())
    cut = [SMALLER_MODEL[key] for key in ("brain", "brain_layer", "brain_view")]
    drawn = [*cut, None, shape["seed"]]
    beginning = network.build_brain(*drawn)
    brain = network.build_brain(*drawn)
    weight_files.load_weights(brain, trained[0] / "models/members/ja" / "brain.weights.h5")
    assert_equal_arrays(brain.get_weights(), beginning.get_weights())
    weight_files.load_weights(brain, folder / "models/members/own" / "brain.weights.h5")
    for weight, before in zip(brain.trainable_weights, beginning.trainable_weights, strict=True):
        assert not np.array_equal(weight, before), weight.path


def test_features_of_a_frozen_brain_are_float32_whatever_the_precision(trained, prepare):
    folder = prepare({"ja": {}}, precision="mixed_bfloat16")
    train(folder, "ja")
    # Computed with other instructions, perhaps, so kept apart; rounding is all that differs.
    stores = [list((where / ".cache").glob("*/rows.npy")) for where in (folder, trained[0])]
    (half,), (single,) = stores
    assert half.parent.name != single.parent.name
    np.testing.assert_allclose(np.load(half), np.load(single), rtol=1e-4, atol=1e-5)
    made, before = outs(folder, "ja"), trained[2]
    same = [
        name
        for name in made
        if name.startswith("models/")
        and name != "models/members/ja/model.json"
        and made[name] == before[name]
    ]
    assert same == ["models/members/ja/brain.weights.h5"]
    half, single = (json.loads(found["models/members/ja/model.json"]) for found in (made, before))
    assert half.pop("sha256") != single.pop("sha256")
    assert half == single


ON_TWO_DEVICES = """
import runpy, sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_two_devices_follow_the_losses_of_one(prepare):
    # No batch statistics are trained along: each device would have those of its part of a batch.
    members = {
        "frozen": {},
        "whole": {
            "brain": "VGG16",
            "brain_layer": "block1_pool",
            "brain_view": 32,
            "brain_trainable": True,
            "lr": 1e-4,
        },
    }
    folder = prepare(members, epochs=3, batch_size=2, dropout=0.0)
    for member in members:
        found = []
        for command in ([sys.executable], [sys.executable, "-c", ON_TWO_DEVICES]):
            options = stage(folder, member) | {
                "args": [*command, *stage(folder, member)["args"][1:]]
            }
            result = subprocess.run(**options, capture_output=True)
            assert result.returncode == 0, result.stderr
            made = outs(folder, member)
            found.append({name: made[name] for name in made if name.endswith(".tsv")})
        one, two = (
            {name: np.loadtxt(text.decode().splitlines(), skiprows=1) for name, text in run.items()}
            for run in found
        )
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_allclose(two[name], one[name], rtol=2e-4, atol=2e-6, err_msg=name)
