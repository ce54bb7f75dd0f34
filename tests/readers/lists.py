"""Readers of CelebA's lists, of parameters and of the tables that stages hand on."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

from hostile import json_bombs, yaml_bombs
from readers.reader import ROOT, SAMPLE, Reader, as_json, changed, head_of, plain, reader, rows_of


@reader
def identities(folder: Path) -> Reader:
    from faceverify.data.annotations import read_identities

    def read(path: Path) -> None:
        found = read_identities(path)
        lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        assert len(found) in (len(lines), len(lines) - 1)
        assert all(map(plain, found))
        assert all(type(person) is int and 0 <= person < 10**9 for person in found.values())

    official = head_of(SAMPLE / "identity_CelebA.txt", 30)
    csv_form = b"image_id,identity\n" + official.replace(b" ", b",")
    names = st.integers(0, 99).map("{:06d}.jpg".format)
    drawn = rows_of([names, st.integers(0, 50).map(str)], ["image_id", "identity"])
    bombs = [b"000001.jpg" + b" " * 10**6 + b"x", b"a.jpg," + b" " * 10**6 + b"x,1", b"1" * 10**6]
    return Reader(
        "identity_CelebA.txt", [official, csv_form, b"name person\n" + official], read, drawn, bombs
    )


@reader
def attributes(folder: Path) -> Reader:
    from faceverify.data.annotations import read_attributes

    def read(path: Path) -> None:
        found = read_attributes(path)
        assert found.values.shape == (len(found.photos), len(found.names))
        assert found.values.dtype == bool
        assert len(set(found.photos)) == len(found.photos) > 0
        assert len(set(found.names)) == len(found.names) > 0
        assert all(map(plain, found.photos))

    rows = head_of(SAMPLE / "list_attr_celeba.txt", 20).splitlines(keepends=True)
    uncounted = b"".join(rows[1:])
    csv_form = b"\n".join(
        b",".join(line.split()) if i else b"image_id," + b",".join(line.split())
        for i, line in enumerate(rows[1:])
    )
    official = b"%d\n%b" % (len(rows) - 2, uncounted)
    names = st.integers(0, 99).map("{:06d}.jpg".format)
    mark = st.sampled_from(["1", "-1"])
    wide = b" ".join(b"n%d" % i for i in range(200_000)) + b"\n" + b"a.jpg 1\n" * 200_000
    bombs = [wide, b"9" * 5000 + b"\nA B\na.jpg 1 1\n", b"A,B\na.jpg,1," + b" " * 10**6 + b"x"]
    return Reader(
        "list_attr_celeba.txt",
        [official, uncounted, csv_form],
        read,
        rows_of([names, mark, mark], ["Male", "Young"]),
        bombs,
    )


@reader
def parameter_file(folder: Path) -> Reader:
    import yaml

    from faceverify.runs import parameters

    (folder / "pretrained").mkdir()
    shipped = [(ROOT / name).read_bytes() for name in ("params.yaml", "params.celeba.yaml")]
    for file in (ROOT / "pretrained").glob("*.h5"):
        (folder / "pretrained" / file.name).touch()

    def read(path: Path) -> None:
        found = parameters.load(path)
        assert abs(sum(found.ensemble.values()) - 1) < 1e-5
        assert all(found.member(name).lr > 0 for name in found.members)

    drawn = changed(yaml.safe_load(shipped[0])).map(
        lambda value: yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    )
    return Reader("params.yaml", shipped, read, drawn, yaml_bombs())


# What stages hand on


SELECTED = [("1-0.png", "1", "000001.png"), ("1-1.png", "1", "000002.png"),
            ("2-0.png", "2", "000011.png"), ("2-1.png", "2", "000012.png")]  # fmt: skip
PAIRED = [("pair-0", "1", "train", "pair-0-0.png", "pair-0-1.png", "1", "1", "a.png", "b.png"),
          ("antipair-0", "0", "val", "antipair-0-0.png", "antipair-0-1.png", "1", "2", "c.png",
           "d.png")]  # fmt: skip


def table_reader(file: str, columns: dict, rows: list[tuple[str, ...]], read: Callable) -> Reader:
    def checked(path: Path) -> None:
        table = read(path)
        assert list(table.columns) == list(columns)
        assert len(table) > 0
        assert not table.isna().any(axis=None)
        assert not table.iloc[:, 0].duplicated().any()
        for name in columns:
            if "identity" in name or name == "label":
                assert table[name].dtype == "int64"
                assert (table[name] >= 0).all()
            elif name != "split":
                assert table[name].map(plain).all()

    seed = "\n".join(",".join(cells) for cells in [list(columns), *rows]) + "\n"
    cells = [st.sampled_from([row[i] for row in rows]) for i in range(len(columns))]
    odd = ['"', f'{seed}"', f"{seed}{rows[0][0]}" + ",1" * len(columns), f"{','.join(columns)}\n"]
    bombs = [text.encode() for text in odd] + [seed.encode() + b'"' + b"a" * 10**6]
    return Reader(file, [seed.encode()], checked, rows_of(cells, list(columns)), bombs)


@reader
def selected_table(folder: Path) -> Reader:
    from faceverify.data import tables

    def read(path: Path) -> Any:
        return tables.read(path, tables.SELECTED)

    return table_reader("selected.csv", tables.SELECTED, SELECTED, read)


@reader
def pairs_table(folder: Path) -> Reader:
    from faceverify.data import tables

    return table_reader("pairs.csv", tables.PAIRS, PAIRED, tables.read_pairs)


def landmark_reader(file: str, label: bool) -> Reader:
    from faceverify.data import tables

    rng = Random(1)
    names = ["1-0.png", "1-1.png"]
    faces = {name: [rng.randint(-5, 220) for _ in range(136)] + [1] * label for name in names}

    def read(path: Path) -> None:
        found = tables.read_landmarks(path, names, label)
        assert list(found) == names
        for numbers in found.values():
            assert len(numbers) == 136 + label
            assert all(type(number) is int and -20_000 < number < 20_000 for number in numbers)

    return Reader(file, [as_json(faces)], read, changed(faces).map(as_json), json_bombs(names[0]))


@reader
def selected_landmarks(folder: Path) -> Reader:
    return landmark_reader("selected.json", label=False)


@reader
def paired_landmarks(folder: Path) -> Reader:
    return landmark_reader("paired.json", label=True)


@reader
def landmark_range(folder: Path) -> Reader:
    import numpy as np

    from faceverify.data.landmark_range import LandmarkRange

    limits = {"minimum": list(range(136)), "maximum": [i + 30.5 for i in range(136)]}

    def read(path: Path) -> None:
        found = LandmarkRange.load(path)
        targets = found.normalize(np.zeros(136))
        assert targets.shape == (136,)
        assert ((targets >= 0) & (targets <= 1)).all()
        assert np.isfinite(found.denormalize(targets)).all()

    drawn = changed(limits).map(as_json)
    return Reader("landmark_range.json", [as_json(limits)], read, drawn, json_bombs("minimum"))
