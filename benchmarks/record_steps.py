"""Stage 2 and the input of stage 3: encoded photos in records, beside float32 tensors."""

import contextlib
import io
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from faceverify.base import backend

backend.start()

import keras

import original
import train
import write_records
from faceverify.data.records import PairRecords
from faceverify.model.training import PairBatches
from material import SEED, Photos, prepare
from measuring import Comparison, Rate, apart, rate

BATCH = 32
FEW = 1_000
# A buffer of 10,000 pairs of float32 photos takes 11 GB; what each 1,000 add shows earlier.
MANY, ORIGINAL_MANY = 10_000, 3_000
WAYS = ("ours", "original")
PEER = "keras.utils.image_dataset_from_directory"


def compare(photos: Photos) -> list[Comparison]:
    """Rates and bytes at 1,000 pairs, and the most memory there and at many more."""
    rates, few, many = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(photos, Path(folder), FEW)
        for work, way in itertools.product((write, read), WAYS):
            rates[work, way] = apart(work, folder, way).result
            few[work, way] = apart(work, folder, way, 1).peak
        sizes = [bytes_each(folder, way) for way in WAYS]
        peer = apart(read_by_keras, folder).result
    for way, count in zip(WAYS, (MANY, ORIGINAL_MANY), strict=True):
        with tempfile.TemporaryDirectory() as folder:
            prepare(photos, Path(folder), count)
            for work in (write, read):
                many[work, way] = apart(work, folder, way, 1).peak
    written, read_ = ([rates[work, way] for way in WAYS] for work in (write, read))
    by_photo = Rate(2 * read_[0].median, read_[0].spread)
    return [
        Comparison("record bytes", "bytes/pair", *sizes, "original", 30),
        Comparison("writing records", "pairs/s", *written, "original", 5),
        *_memory("writing records", write, few, many),
        Comparison("reading records", "pairs/s", *read_, "original", 1),
        *_memory("reading records", read, few, many),
        Comparison("reading photos", "photos/s", by_photo, peer, PEER),
    ]


def _memory(name: str, work: Callable, few: dict, many: dict) -> list[Comparison]:
    """The most memory at 1,000 pairs, and how much more each 1,000 pairs take."""
    more = [
        (many[work, way] - few[work, way]) * 1_000 / (count - FEW)
        for way, count in zip(WAYS, (MANY, ORIGINAL_MANY), strict=True)
    ]
    flat = many[work, "ours"] <= 1.1 * few[work, "ours"]
    return [
        Comparison(f"{name}, memory", "MB", *(Rate(few[work, w], 0) for w in WAYS), "original"),
        Comparison(
            f"{name}, memory for 1,000 more",
            "MB",
            *(Rate(m, 0) for m in more),
            "original",
            met=flat,
        ),
    ]


def write(folder: str, way: str, repeats: int = 3) -> Rate:
    """Write the pairs of `folder`, by the stage itself or in the original's way."""
    os.chdir(folder)

    def work() -> int:
        if way == "original":
            return original.write_records(Path("prepared"), SEED)
        sys.argv = ["write_records.py"]
        with contextlib.redirect_stdout(io.StringIO()):
            write_records.main()
        return sum(len(PairRecords(Path(f"prepared/{s}.tfrecord"))) for s in ("train", "val"))

    return rate(work, repeats)


def read(folder: str, way: str, repeats: int = 3) -> Rate:
    """Read the training pairs as batches for a brain that is trained along."""
    os.chdir(folder)

    def work() -> int:
        if way == "original":
            batches = original.read_records(Path("prepared/original-train.tfrecord"), BATCH)
        else:
            pairs = PairRecords(Path("prepared/train.tfrecord"))
            dataset = PairBatches(pairs, train.photo_inputs, BATCH, SEED)
            batches = (dataset[i] for i in range(len(dataset)))
        return sum(len(targets["targetD"]) for _, targets in batches)

    return rate(work, repeats)


def read_by_keras(folder: str) -> Rate:
    """Read the distinct photos by Keras's own loader, which knows no pairs and no landmarks."""
    photos = keras.utils.image_dataset_from_directory(
        Path(folder) / "photos",
        labels=None,
        image_size=original.CANVAS,
        batch_size=BATCH,
        verbose=False,
    )
    return rate(lambda: sum(len(batch) for batch in photos))


def bytes_each(folder: str, way: str) -> Rate:
    """Bytes of the written files for each pair."""
    pattern = {"ours": "*.tfrecord/*", "original": "original-*.tfrecord"}[way]
    total = sum(path.stat().st_size for path in Path(folder, "prepared").glob(pattern))
    return Rate(total / FEW, 0)
