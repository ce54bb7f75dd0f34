"""Stage 2: write the pairs as TFRecord files for training and validation."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from faceverify.base import backend, errors

PARSER = argparse.ArgumentParser(description=__doc__)

if __name__ == "__main__":
    errors.begin()
    PARSER.parse_args()  # --help and a wrong argument need no TensorFlow, which takes seconds

backend.start()

import numpy as np
import pandas as pd
from tqdm import tqdm

from faceverify.base import files
from faceverify.data import tables
from faceverify.data.landmark_range import LandmarkRange
from faceverify.data.records import PairRecord, write_records
from faceverify.faces import aligned_photos
from faceverify.runs import lock, parameters, script

PREPARED = Path("prepared")


def main() -> None:
    """Fit the landmark range on train, then write both splits, each in a seeded random order."""
    rng = np.random.default_rng(parameters.load(Path("params.yaml")).seed)
    lock.claim("write_records")
    table = tables.read_pairs(PREPARED / "pairs.csv")
    numbers = tables.read_landmarks(
        PREPARED / "paired.json", [*table["first"], *table["second"]], label=True
    )

    train = table[table.split == "train"]
    names = [*train["first"], *train["second"]]
    limits = LandmarkRange.fit(np.array([numbers[name][:-1] for name in names]))
    with ExitStack() as outs:  # all replaced at the end: outputs of two runs must not mix
        for split in ("train", "val"):
            part = table[table.split == split]
            part = part.iloc[rng.permutation(len(part))]
            sizes = [
                sum(files.path_inside(PREPARED / "paired", name).stat().st_size for name in names)
                for names in zip(part["first"], part["second"], strict=True)
            ]
            made = records(part, numbers, limits)
            progress = tqdm(made, split, len(part), unit="pair", disable=None)
            folder = outs.enter_context(files.replacing(PREPARED / f"{split}.tfrecord"))
            write_records(folder, progress, sizes)
            print(f"{split}: {len(part):,} pairs, {sum(sizes) / 1e6:,.1f} MB of photos")
        limits.save(PREPARED / "landmark_range.json")


def records(
    part: pd.DataFrame, numbers: dict[str, list[int]], limits: LandmarkRange
) -> Iterator[PairRecord]:
    """The records of some pairs, in the order of the table; photos keep their encoded bytes."""
    for row in part.itertuples():
        for name in (row.first, row.second):
            if numbers[name][-1] != row.label:
                raise errors.InputError(f"paired.json has another label for {name} than pairs.csv")
        yield PairRecord(
            feature0=photo(row.first),
            feature1=photo(row.second),
            target0=limits.normalize(numbers[row.first][:-1]),
            target1=limits.normalize(numbers[row.second][:-1]),
            same=numbers[row.first][-1],
            source0=row.first_source,
            source1=row.second_source,
        )


def photo(name: str) -> bytes:
    """The encoded bytes of a photo of a pair."""
    with aligned_photos.name_in_errors(name):
        return aligned_photos.read(PREPARED / "paired", name)


if __name__ == "__main__":
    script.run(main)
