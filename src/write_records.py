"""Stage 2: pairs -> TFRecord files for training and validation, targets in [0, 1]."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from faceverify import backend, errors

PARSER = argparse.ArgumentParser(description=__doc__)

if __name__ == "__main__":
    errors.begin()
    PARSER.parse_args()  # --help and a wrong argument need no TensorFlow, which takes seconds

backend.start()

import numpy as np
import pandas as pd
from tqdm import tqdm

from faceverify import files, parameters, tables
from faceverify.records import PairRecord, write_records
from faceverify.targets import LandmarkRange

PREPARED = Path("prepared")


def main() -> None:
    """Fit the landmark range on train, then write both splits, each in a seeded order."""
    rng = np.random.default_rng(parameters.load(Path("params.yaml")).seed)
    table = tables.read(PREPARED / "pairs.csv", tables.PAIRS)
    numbers = files.read_json(PREPARED / "paired.json")

    train = table[table.split == "train"]
    names = [*train["first"], *train["second"]]
    limits = LandmarkRange.fit(np.array([numbers[name][:-1] for name in names]))
    for split in ("train", "val"):
        part = table[table.split == split]
        part = part.iloc[rng.permutation(len(part))]
        sizes = [
            sum((PREPARED / "paired" / name).stat().st_size for name in names)
            for names in zip(part["first"], part["second"], strict=True)
        ]
        progress = tqdm(records(part, numbers, limits), split, len(part), unit="pair", disable=None)
        write_records(PREPARED / f"{split}.tfrecord", progress, sizes)
        print(f"{split}: {len(part):,} pairs, {sum(sizes) / 1e6:,.1f} MB of photos")
    limits.save(PREPARED / "landmark_range.json")


def records(
    part: pd.DataFrame, numbers: dict[str, list[int]], limits: LandmarkRange
) -> Iterator[PairRecord]:
    """The records of some pairs, photos as the encoded bytes that they are."""
    for row in part.itertuples():
        yield PairRecord(
            feature0=files.inside(PREPARED / "paired", row.first).read_bytes(),
            feature1=files.inside(PREPARED / "paired", row.second).read_bytes(),
            target0=limits.normalize(numbers[row.first][:-1]),
            target1=limits.normalize(numbers[row.second][:-1]),
            same=numbers[row.first][-1],
            source0=row.first_source,
            source1=row.second_source,
        )


if __name__ == "__main__":
    errors.run(main)
