"""Stage 1.5: pair the selected faces: genuine pairs and anti-pairs, train and validation."""

import argparse
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import numpy as np
import pandas as pd

from faceverify.base import files
from faceverify.data import pairing, tables
from faceverify.faces import aligned_photos
from faceverify.runs import lock, parameters, script

PREPARED = Path("prepared")


def main() -> None:
    """Pair the selected faces, copy the photos of each pair, write the tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    settings = parameters.load(Path("params.yaml"))
    lock.claim("pair_faces")
    selected = tables.read(PREPARED / "selected.csv", tables.SELECTED)
    faces = {name: list(rows.itertuples()) for name, rows in selected.groupby("identity")}
    counts = {len(rows) for rows in faces.values()}
    if len(counts) != 1:
        raise errors.MadeFileError("prepared/selected.csv: people differ in faces")
    landmarks = tables.read_landmarks(PREPARED / "selected.json", selected.name)

    wanted = pairing.Pairing(faces_per_identity=counts.pop(), **settings.pair.model_dump())
    made = pairing.make_pairs(list(faces), wanted, np.random.default_rng(settings.seed))
    rows, points = [], {}
    with files.replacing_folder(PREPARED / "paired") as folder:
        for n, pair in numbered(made):
            kind = "pair" if pair.same else "antipair"
            row = {"pair": f"{kind}-{n}", "label": int(pair.same), "split": pair.split}
            for i, (slot, (identity, k)) in enumerate(
                [("first", pair.first), ("second", pair.second)]
            ):
                face = faces[identity][k]
                name = f"{kind}-{n}-{i}{Path(face.name).suffix}"
                with aligned_photos.name_in_errors(face.name):
                    (folder / name).write_bytes(
                        aligned_photos.read(PREPARED / "selected", face.name)
                    )
                points[name] = [*landmarks[face.name], int(pair.same)]
                row |= {slot: name, f"{slot}_identity": identity, f"{slot}_source": face.source}
            rows.append(row)
    files.write_json(PREPARED / "paired.json", points)
    table = pd.DataFrame(rows)[list(tables.PAIRS)]
    tables.write(PREPARED / "pairs.csv", table)
    for split, part in table.groupby("split", sort=False):
        people = pd.unique(part[["first_identity", "second_identity"]].to_numpy().ravel())
        genuine = int(part.label.sum())
        print(
            f"{split}: {genuine:,} genuine pairs and {len(part) - genuine:,} anti-pairs "
            f"of {len(people):,} people"
        )


def numbered(made: list[pairing.Pair]) -> list[tuple[int, pairing.Pair]]:
    """Number the genuine pairs from 0, and the anti-pairs from 0."""
    genuine = [pair for pair in made if pair.same]
    anti = [pair for pair in made if not pair.same]
    return [*enumerate(genuine), *enumerate(anti)]


if __name__ == "__main__":
    script.run(main)
