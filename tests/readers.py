"""Every reader under fire: `python tests/readers.py FOLDER APP CASES READER...`, one process.

APP is a folder with an exported verifier. The process may use 2 GB more than it does when all is
loaded, and 10 s of a processor a case, or it dies. What it has done is printed as JSON; a case
that failed stays in FOLDER.
"""

import faulthandler
import itertools
import json
import re
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from faceverify.base import digests
from faceverify.base.errors import InputError
from hostile import NAMES, NUMBERS, damaged, json_bombs, yaml_bombs

ROOT = Path(__file__).resolve().parents[1]
SECONDS, BYTES = 10, 2 * 2**30
SAMPLE = ROOT / "data"


class Reader(NamedTuple):
    """A file that is read, and how to damage it.

    `seeds` are whole files of this kind; `read` reads one and checks what it gives; `drawn`
    makes up others; `bombs` are those to try once. `share`: of the number of cases.
    """

    file: str
    seeds: list[bytes]
    read: Callable[[Path], None]
    drawn: st.SearchStrategy[bytes] | None = None
    bombs: Sequence[bytes] = ()
    share: float = 1.0


READERS: dict[str, Callable[[Path], Reader]] = {}


def reader(make: Callable[[Path], Reader]) -> Callable[[Path], Reader]:
    """Add a function that makes a reader, given a folder to work in."""
    READERS[make.__name__] = make
    return make


# What values are made up of.

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 2**63, 1e308])
    | st.floats()
    | st.sampled_from(NAMES)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A parsed file with one to three of its values replaced, taken out or added to."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        place, places = value, []
        while isinstance(place, dict | list) and place:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            places.append((place, draw(st.sampled_from(keys))))
            place = place[places[-1][1]]
        if not places:
            break
        group, key = draw(st.sampled_from(places))
        match draw(st.integers(0, 3)):
            case 0:
                del group[key]
            case 1 if isinstance(group, dict):
                group[draw(st.text(max_size=5))] = draw(JSON_VALUES)
            case _:
                group[key] = draw(JSON_VALUES)
    return value


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@st.composite
def rows_of(draw: st.DrawFn, cells: list[st.SearchStrategy[str]], head: list[str]) -> bytes:
    """A table of cells that mostly fit, between separators that mostly do."""
    odd = st.sampled_from(NAMES) | st.sampled_from(NUMBERS) | st.text(max_size=8)
    separator = draw(st.sampled_from([" ", ",", ", ", "\t", "  ", ";"]))
    lines = [draw(st.sampled_from([separator.join(head), "", "3", *head]))]
    for _ in range(draw(st.integers(0, 6))):
        row = [draw(odd if draw(st.integers(0, 19)) == 0 else cell) for cell in cells]
        lines.append(separator.join(row[: draw(st.sampled_from([len(row)] * 9 + [1]))]))
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    return end.join(lines).encode("utf-8", "surrogatepass")


def plain(name: str) -> bool:
    """What every name from data must be, in other words than the library's."""
    bare = Path(name).name == name and "\\" not in name
    return bare and name.isprintable() and re.match("[=+@-]", name) is None


def head_of(path: Path, lines: int) -> bytes:
    return b"".join(path.read_bytes().splitlines(keepends=True)[:lines])


# The lists


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


# Photos


def encoded_photos(kinds: dict[str, list[dict]], mode: str = "RGB") -> list[bytes]:
    """A small real photo in some of Pillow's formats."""
    from PIL import Image

    from phone import encoded

    photo = Image.open(SAMPLE / "img_align_celeba/000001.png").convert(mode)
    return [encoded(photo, kind, **each) for kind, options in kinds.items() for each in options]


def png(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """A PNG that claims a size, with some more chunks, and `data` for its pixels."""
    import struct
    import zlib

    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def photo_bombs(jpegs: list[bytes]) -> list[bytes]:
    """Photos whose headers claim enormous sizes, and whose parts unpack or repeat enormously."""
    import struct
    import zlib

    packed = zlib.compress(bytes(200 * 2**20), 9)
    text = (b"zTXt", b"a\0\0" + packed)
    profile = (b"iCCP", b"a\0\0" + packed)
    frames = (b"acTL", struct.pack(">II", 2**31 - 1, 0))
    frame = (b"fcTL", struct.pack(">IIIIIHHBB", 0, 30_000, 30_000, 0, 0, 1, 1, 0, 0))
    sides = (30_000, 46_340, 65_500, 2**31 - 1)
    found = [png(side, side, data=bytes(1000)) for side in sides]
    found += [png(178, 218, *extra, data=bytes(100)) for extra in ([text], [profile])]
    found += [png(178, 218, frames, frame), png(30_000, 1), png(0, 218), png(178, 218, text, text)]
    found += [png(178, 218, (b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)))]
    for jpeg in jpegs:
        frame_at = next(jpeg.find(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in jpeg)
        for side in (65_500, 30_000, 0):
            size = struct.pack(">HH", side, side)
            found.append(jpeg[: frame_at + 5] + size + jpeg[frame_at + 9 :])
        segment = jpeg[frame_at : frame_at + 2 + int.from_bytes(jpeg[frame_at + 2 : frame_at + 4])]
        large = segment[:5] + struct.pack(">HH", 60_000, 60_000) + segment[9:]
        found.append(jpeg[:frame_at] + large + jpeg[frame_at:])
        hidden = b"\xff\x01\x00\x13" + large
        found.append(jpeg[:2] + hidden + jpeg[2:])
        start = jpeg.index(b"\xff\xda")
        scan = jpeg[start : start + 2 + int.from_bytes(jpeg[start + 2 : start + 4])] + b"\0"
        found.append(jpeg[:start] + scan * 20_000 + jpeg[start:])
    found.append(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 50_000, 50_000, 1, 24,
                                     0, 0, 0, 0, 0, 0) + bytes(46))  # fmt: skip
    return found


@reader
def photos_of_the_data(folder: Path) -> Reader:
    from faceverify.faces import aligned_photos

    def read(path: Path) -> None:
        with aligned_photos.name_in_errors(path):
            photo = aligned_photos.decode_aligned(aligned_photos.read(path.parent, path.name))
        assert photo.shape == (218, 178, 3)

    kinds = {"JPEG": [{}, {"progressive": True}, {"quality": 30}], "PNG": [{}]}
    seeds = [*encoded_photos(kinds), *encoded_photos(kinds, "L")]
    return Reader("000001.jpg", seeds, read, bombs=photo_bombs(seeds[:2]))


@reader
def pretraining_photos(folder: Path) -> Reader:
    from faceverify.faces import aligned_photos

    def read(path: Path) -> None:
        with aligned_photos.name_in_errors(path):
            photo = aligned_photos.decode(aligned_photos.read(path.parent, path.name))
        assert photo.ndim == 3
        assert photo.shape[0] * photo.shape[1] <= aligned_photos.MAX_PIXELS

    seeds = encoded_photos({"JPEG": [{}, {"progressive": True}], "PNG": [{}]})
    return Reader("000001.jpg", seeds, read, bombs=photo_bombs(seeds[:2]), share=0.5)


@reader
def photos_of_a_phone(folder: Path) -> Reader:
    from faceverify.verify import camera_photos
    from faceverify.verify.refusals import CaptureError

    def read(path: Path) -> None:
        try:
            photo = camera_photos.decode(camera_photos.read_bytes(path))
        except CaptureError as error:
            raise InputError(f"{path}: {error}") from None
        assert photo.pixels.ndim == 3
        assert max(photo.pixels.shape) <= camera_photos.LONGEST_SIDE
        assert photo.scale >= 1

    kinds = {
        "JPEG": [{}, {"progressive": True}], "PNG": [{}], "WEBP": [{}, {"lossless": True}],
        "BMP": [{}], "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"},
                              {"compression": "tiff_adobe_deflate"}, {"compression": "packbits"}],
    }  # fmt: skip
    seeds = [*encoded_photos(kinds), *encoded_photos({"PNG": [{}], "TIFF": [{}]}, "P")]
    return Reader("photo.jpg", seeds, read, bombs=photo_bombs(seeds[:2]), share=2)


# dlib's models


@reader
def landmark_model(folder: Path) -> Reader:
    import bz2

    from faceverify.faces import landmarks

    start = (SAMPLE / "shape_predictor_68_face_landmarks.dat").open("rb").read(200_000)
    seeds = [start, bz2.compress(start)]
    zeros = bz2.compress(bytes(100 * 2**20))

    def read(path: Path) -> None:
        # A file's own checksum is right while it is whole, as if its maker had damaged it.
        data = path.read_bytes()
        packed = path.with_name(f"{path.name}.bz2") if data.startswith(b"BZ") else path
        packed.write_bytes(data)
        beside = path.with_name(f"{packed.name}.sha256")
        beside.write_text(f"{digests.sha256(b'')}  {packed.name}\n")
        if data in seeds:
            beside.write_text(f"{digests.digest(packed)}  {packed.name}\n")
        landmarks.check_predictor(packed)
        raise AssertionError("no model was refused")

    return Reader("model.dat", seeds, read, bombs=[*seeds, zeros * 200, b"", b"BZh9"], share=0.5)


@reader
def descriptor_model(folder: Path) -> Reader:
    from faceverify.faces import dlib_descriptor

    seed = (SAMPLE / "dlib_face_recognition_resnet_model_v1.dat").open("rb").read(200_000)

    def read(path: Path) -> None:
        dlib_descriptor.descriptors([], [], path, folder / "cache")
        raise AssertionError("no model was refused")

    return Reader("model.dat", [seed], read, share=0.3)


# What TensorFlow reads


@reader
def records(folder: Path) -> Reader:
    import numpy as np

    from faceverify.data.records import PairRecord, PairRecords, write_records

    photo = encoded_photos({"JPEG": [{"quality": 10}]})[0]
    made = [
        PairRecord(photo, photo, np.full(136, 0.25, np.float32), np.ones(136, np.float32), same,
                   "000001.png", "000002.png")
        for same in (0.0, 1.0)
    ]  # fmt: skip
    write_records(folder / "whole", made, [2 * len(photo)] * 2)
    (whole,) = (folder / "whole").iterdir()

    def read(path: Path) -> None:
        found = list(PairRecords(path.parent))
        assert found
        for record in found:
            for target in (record.target0, record.target1):
                assert target.shape == (136,)
                assert ((target >= 0) & (target <= 1)).all()
            assert record.same in (0, 1)
            assert plain(record.source0)
            assert plain(record.source1)

    seed = whole.read_bytes()
    payload = seed[12 : 12 + int.from_bytes(seed[:8], "little")]
    drawn = st.randoms(use_true_random=False).map(lambda rng: framed(damaged(payload, rng)))
    small = framed(payload)
    return Reader("0.tfrecord", [seed, small], read, drawn | examples(), share=1.5)


def framed(payload: bytes) -> bytes:
    """A TFRecord file of one record, its checksums right."""
    from faceverify.data.records import _masked_crc

    length = len(payload).to_bytes(8, "little")
    sums = [_masked_crc(part).to_bytes(4, "little") for part in (length, payload)]
    return length + sums[0] + payload + sums[1]


@st.composite
def examples(draw: st.DrawFn) -> bytes:
    """A whole record that holds other values, types and numbers of them than it should."""
    import tensorflow as tf

    features = {}
    for name in ("feature0", "feature1", "target0", "target1", "targetD", "source0", "source1"):
        kind = draw(st.sampled_from(["usual"] * 6 + ["bytes", "floats", "integers", "none"]))
        text = [b"a.jpg"] if "source" in name else [b"\xff\xd8"]
        numbers = [0.5] * 136 if "target" in name else []
        numbers = [1.0] if name == "targetD" else numbers
        if kind == "bytes" or (kind == "usual" and "target" not in name):
            extra = draw(st.lists(st.binary(max_size=9), max_size=2)) if kind == "bytes" else text
            extra += [draw(st.sampled_from(NAMES)).encode("utf-8", "replace")] * (kind == "bytes")
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=extra))
        elif kind in ("floats", "usual"):
            if kind == "floats":
                wrong = draw(st.floats(width=32))
                numbers = [wrong, *numbers[1:]] if numbers else [wrong]
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=numbers))
        elif kind == "integers":
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[1] * 136))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return framed(example.SerializeToString(deterministic=True))


def small_model(folder: Path) -> Path:
    """A whole model of small sizes, as `train` stores it."""
    from faceverify.model import network, store

    brain = network.build_brain("MobileNet", "conv_pw_2_relu", 32, None, 1)
    sizes = network.Tower(2, [6, 5], [4, 3], dropout=0.1, l2=0.0)
    tower = network.build_tower(brain.output_shape[1:], sizes, 1)
    cut = {"brain": "MobileNet", "brain_layer": "conv_pw_2_relu", "brain_view": 32}
    described = cut | {"brain_trainable": False} | sizes._asdict()
    store.save(folder / "whole", store.TrainedModel(brain, tower, described))
    return folder / "whole"


@reader
def model_description(folder: Path) -> Reader:
    import shutil

    from faceverify.model import store

    whole = small_model(folder)

    def read(path: Path) -> None:
        for name in ("brain", "tower"):
            if not (path.parent / f"{name}.weights.h5").exists():
                shutil.copy(whole / f"{name}.weights.h5", path.parent)
        found = store.load(path.parent)
        assert found.tower.output["tail"].shape[1] == found.description["tail_units"][1]

    text = (whole / "model.json").read_bytes()
    value = json.loads(text)
    others = [
        {"brain": "load_model"}, {"brain": "_obj"}, {"brain": "resnet"}, {"brain": "ResNet50"},
        {"brain_layer": "input_layer"}, {"brain_layer": "conv1_relu"}, {"neck_units": [10**15]},
        {"neck_units": [2**31] * 9}, {"head_filters": 10**400}, {"tail_units": [1, 10**9]},
        {"brain": "EfficientNetB0", "brain_layer": "block1a_se_squeeze"}, {"brain": "VGG16"},
        {"brain_view": 218}, {"brain_view": 33}, {"dropout": 1e-320}, {"l2": 1e308},
    ]  # fmt: skip
    bombs = [as_json(value | other) for other in others] + json_bombs("neck_units")
    return Reader("model.json", [text], read, changed(value).map(as_json), bombs, share=0.7)


@reader
def model_weights(folder: Path) -> Reader:
    import shutil

    from faceverify.model import store

    whole = small_model(folder)

    def read(path: Path) -> None:
        for name in ("model.json", "brain.weights.h5"):
            if not (path.parent / name).exists():
                shutil.copy(whole / name, path.parent)
        store.load(path.parent)
        assert path.read_bytes() == seed

    seed = (whole / "tower.weights.h5").read_bytes()
    return Reader("tower.weights.h5", [seed], read)


@reader
def foreign_weights(folder: Path) -> Reader:
    """Whole HDF5 files, as their maker's checksum says, that hold something else."""
    import h5py
    import numpy as np

    from faceverify.model import network, weight_files

    sizes = network.Tower(2, [6, 5], [4, 3], dropout=0.1, l2=0.0)
    tower = network.build_tower((14, 14, 3), sizes, 1)
    weight_files.save_weights(tower, folder / "whole.weights.h5")
    weight_files.save_weights(tower, folder / "outside.weights.h5")
    seed = (folder / "whole.weights.h5").read_bytes()

    def read(path: Path) -> None:
        weight_files.load_weights(tower, path)
        assert all(np.isfinite(weight).all() for weight in tower.get_weights())

    @st.composite
    def rebuilt(draw: st.DrawFn) -> bytes:
        path = folder / "made.weights.h5"
        path.write_bytes(seed)
        with h5py.File(path, "r+") as file:
            names = []
            file.visititems(
                lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
            )
            name = draw(st.sampled_from(names))
            shape, group = file[name].shape, file[name.rpartition("/")[0]]
            kind = draw(st.integers(0, 12))
            if kind != 12:
                del file[name]
            options: dict[int, Callable[[], Any]] = {
                0: lambda: file.create_dataset(name, (2**40,), "f4", chunks=(2**20,)),
                1: lambda: file.create_dataset(name, shape, "f4", chunks=True, compression="gzip"),
                2: lambda: file.create_dataset(
                    name, shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
                ),
                3: lambda: file.__setitem__(name, h5py.ExternalLink("outside.weights.h5", name)),
                4: lambda: file.__setitem__(name, h5py.SoftLink(f"/{names[0]}")),
                5: lambda: file.__setitem__(name, group),
                6: lambda: file.create_dataset(name, data=np.full(shape, np.nan, "f4")),
                7: lambda: file.create_dataset(name, data=np.zeros(shape, "i4")),
                8: lambda: file.create_dataset(name, data=np.zeros((*shape, 1), "f4")),
                9: lambda: file.create_dataset(name, data=np.array(["a"], object)),
                10: lambda: file.create_group(name),
                11: lambda: file.create_virtual_dataset(name, virtual(shape)),
                12: lambda: group.attrs.update({"a": draw(st.text(st.characters(codec="utf-8",
                                                          exclude_characters="\0"), max_size=9))}),
            }  # fmt: skip
            options[kind]()
        return path.read_bytes()

    def virtual(shape: tuple[int, ...]) -> h5py.VirtualLayout:
        layout = h5py.VirtualLayout(shape, "f4")
        layout[...] = h5py.VirtualSource(str(folder / "outside.weights.h5"), "x", shape)
        return layout

    return Reader("tower.weights.h5", [], read, rebuilt(), share=0.3)


@reader
def pretrained_weights(folder: Path) -> Reader:
    import shutil

    from faceverify.model import network, weight_files

    sizes = network.Tower(2, [6, 5], [4, 3], dropout=0.1, l2=0.0)
    tower = network.build_tower((14, 14, 3), sizes, 1)
    whole = folder / "tower.weights.h5"
    weight_files.save_weights(tower, whole)
    weight_files.write_checksum(whole)

    def read(path: Path) -> None:
        if not path.with_name(f"{path.name}.sha256").exists():
            shutil.copy(f"{whole}.sha256", path.parent)
        network.build_tower((14, 14, 3), sizes, 1, str(path))
        assert path.read_bytes() == whole.read_bytes()

    return Reader("tower.weights.h5", [whole.read_bytes()], read, share=0.7)


# What the project keeps for itself, between two runs


@reader
def stored_array(folder: Path) -> Reader:
    import numpy as np

    from faceverify.base.cache import stored

    rows = np.random.default_rng(1).random((40, 6), np.float32)
    cache = folder / "cache"
    stored(cache, ["x"], rows.shape, lambda: [rows])
    (place,) = cache.rglob("rows.npy")
    seed = place.read_bytes()

    def read(path: Path) -> None:
        place.write_bytes(path.read_bytes())
        computed = []
        found = stored(cache, ["x"], rows.shape, lambda: [computed.append(1) or rows])
        assert np.array_equal(found, rows)
        if computed:
            raise InputError(f"{path} was damaged, and the array computed anew")

    bombs = [b"", bytes(32), seed, seed[:-32], seed[-32:], seed + bytes(32)]
    return Reader("rows.npy", [seed], read, bombs=bombs, share=0.5)


@reader
def training_progress(folder: Path) -> Reader:
    import keras
    import numpy as np

    from faceverify.model import training

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.1)])
    model.compile(keras.optimizers.RMSprop(0.01), "mse")
    model.optimizer.build(model.trainable_variables)
    progress = training.Progress(folder / "whole.npz", model)
    progress.finish_epoch({training.SELECTED_BY: 0.5})
    seed = (folder / "whole.npz").read_bytes()
    variables = [*model.variables, *model.optimizer.variables]
    state = [variable.numpy() for variable in variables]

    def read(path: Path) -> None:
        found = training.Progress(path, model)
        assert path.read_bytes() == seed
        assert found.history == [{training.SELECTED_BY: 0.5}]
        found.restore_best()
        for variable, values in zip(variables, state, strict=True):
            assert np.array_equal(variable.numpy(), values)

    bombs = [b"", bytes(32), seed, seed[:-32], seed[-32:], seed + bytes(32)]
    return Reader("progress.npz", [seed], read, bombs=bombs, share=0.5)


@reader
def kept_looks(folder: Path) -> Reader:
    import numpy as np

    from faceverify.audit.observations import Models, observe_all

    models = Models(
        SAMPLE / "shape_predictor_68_face_landmarks.dat",
        SAMPLE / "dlib_face_recognition_resnet_model_v1.dat",
    )
    photos = ["000001.png", "000002.png"]

    def looked() -> list:
        return [
            np.asarray(a) for a in observe_all(SAMPLE / "img_align_celeba", photos, models, folder)
        ]

    whole = looked()
    (store,) = folder.rglob("observations.sqlite")
    seed = store.read_bytes()

    def read(path: Path) -> None:
        store.write_bytes(path.read_bytes())
        try:
            found = looked()
        except InputError as error:
            assert str(store) in str(error)
            raise InputError(f"{path}: {error}") from None
        assert all(map(np.array_equal, found, whole))

    return Reader("observations.sqlite", [seed], read, share=0.2)


# What an app has; `app` is a folder with an exported verifier.


@reader
def verifier_description(app: Path) -> Reader:
    from faceverify.verify import verifier_file

    text = (app / "models/verifier.json").read_bytes()

    def read(path: Path) -> None:
        found = verifier_file.read(path)
        assert 0 <= found.threshold <= 3.1416
        assert len(found.members) == len({member.name for member in found.members})

    drawn = changed(json.loads(text)).map(as_json)
    return Reader("verifier.json", [text], read, drawn, json_bombs("members"))


@reader
def verifier_model(app: Path) -> Reader:
    import shutil

    from faceverify.verify import verifier_file

    def read(path: Path) -> None:
        if not path.with_name("verifier.json").exists():
            shutil.copy(app / "models/verifier.json", path.parent)
        verifier_file.load(path.with_name("verifier.json"))
        assert path.read_bytes() == model

    model = (app / "models/verifier.tflite").read_bytes()
    return Reader(
        "verifier.tflite", [model], read, bombs=[b"", model[:-1], model + b"\0"], share=0.2
    )


@reader
def list_of_pairs(app: Path) -> Reader:
    import csv
    import io

    from faceverify.verify import pair_list
    from faceverify.verify.verifier import Verifier

    verifier = Verifier.load(app / "models/verifier.json")
    shots = [str(SAMPLE / f"img_align_celeba/{n:06d}.png") for n in (1, 2, 11)]
    rows = [*itertools.pairwise(shots), (shots[0], "/dev/zero"), (str(SAMPLE), "=1+1")]

    def read(path: Path) -> None:
        out = path.with_name("scores.csv")
        out.unlink(missing_ok=True)
        try:
            pair_list.score(verifier, path, out, 0.6)
        except InputError:
            assert not out.exists()
            raise
        for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"), newline="")):
            assert not any(cell.startswith(tuple("=+-@\t\r\n")) for cell in row.values())
            assert (row["theta"] == "") == (row["decision"] == "")
            assert row["decision"] or row["error"]

    seed = "\n".join(",".join(cells) for cells in [pair_list.SLOTS, *rows]).encode()
    cell = st.sampled_from(shots) | st.sampled_from(NAMES).filter(lambda name: "\ud800" not in name)

    def as_csv(chosen: list[tuple[str, str]]) -> bytes:
        file = io.StringIO()
        csv.writer(file).writerows([pair_list.SLOTS, *chosen])
        return file.getvalue().encode()

    drawn = st.lists(st.tuples(cell, cell), max_size=3).map(as_csv)
    bombs = [
        b"first,second\n" + b"a" * 10**6 + b",b\n",
        b'first,second\n"',
        b"first,second\n\0,\0\n",
    ]
    return Reader("pairs.csv", [seed], read, drawn, bombs, share=0.2)


@reader
def kept_embeddings(app: Path) -> Reader:
    from contextlib import closing

    from faceverify.verify import pair_list
    from faceverify.verify.embedding_store import EmbeddingStore
    from faceverify.verify.verifier import Verifier

    verifier = Verifier.load(app / "models/verifier.json")
    shots = [str(SAMPLE / f"img_align_celeba/{n:06d}.png") for n in (1, 2, 11)]
    pairs = app / "kept-pairs.csv"
    rows = [",".join(cells) for cells in [pair_list.SLOTS, *itertools.pairwise(shots)]]
    pairs.write_text("\n".join(rows))
    made_by = digests.sha256(verifier.description.model_dump_json(), str(False))
    progress = app / ".kept.tmp-progress"
    with closing(EmbeddingStore(progress, made_by)) as store:
        store.expect((shot, slot) for shot in shots for slot in pair_list.SLOTS)
        pair_list._embed(verifier, store, False)
    seed = progress.read_bytes()
    pair_list.score(verifier, pairs, app / "kept.csv", 0.6)
    scores = (app / "kept.csv").read_bytes()

    def read(path: Path) -> None:
        out = path.with_name("scores.csv")
        out.unlink(missing_ok=True)
        try:
            pair_list.score(verifier, pairs, out, 0.6)
        except InputError:
            assert not out.exists()
            raise
        assert out.read_bytes() == scores

    return Reader(".scores.tmp-progress", [seed], read, share=0.5)


# The process


class Trial:
    """The cases of one reader: how many were `accepted` and `refused`, and what failed."""

    def __init__(self, name: str, folder: Path, work: Path) -> None:
        self.name = name
        self.reader = READERS[name](work)
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        (folder / name).mkdir()
        self._path = folder / name / self.reader.file

    def run(self, cases: int) -> None:
        """Try the bombs, then damaged files, then those that are made up."""
        cases = round(cases * self.reader.share)
        for bomb in self.reader.bombs:
            self.try_out(bomb)
        left = max(cases - len(self.reader.bombs), cases // 3)
        drawn = max(left // 3, 1) if self.reader.seeds else left
        if self.reader.drawn is not None:
            every = list(HealthCheck)
            rules = settings(
                max_examples=drawn, derandomize=True, database=None, deadline=None,
                phases=[Phase.generate], suppress_health_check=every,
            )  # fmt: skip
            rules(given(self.reader.drawn)(self.try_out))()
            left -= drawn
        for number in range(left if self.reader.seeds else 0):
            rng = Random(f"{self.name} {number}")
            self.try_out(damaged(rng.choice(self.reader.seeds), rng))

    def try_out(self, data: bytes) -> None:
        """Read one file, which must give what its reader promises or one line that names it."""
        self._path.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            self.reader.read(self._path)
            result = "accepted"
        except InputError as error:
            line = str(error)
            result = "refused"
            if not (line.isprintable() and len(line) < 3000 and self._path.parent.name in line):
                result = self._failed(f"says {line!r}")
        except BaseException:
            result = self._failed(traceback.format_exc(limit=-4))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.counts[result] += 1

    def _failed(self, why: str) -> str:
        kept = self._path.with_name(f"failed-{len(self.failures)}-{self._path.name}")
        if len(self.failures) < 20:
            kept.write_bytes(self._path.read_bytes())
        self.failures.append(f"{kept}: {why}")
        return "failed"


def peak_memory() -> int:
    """Bytes that this process has had at most; what `getrusage` tells has its parent's in it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)[1])


def main() -> None:
    """Try the readers that the command line names."""
    # The signal of a case that takes too long kills the process, wherever that is; this says where.
    faulthandler.register(signal.SIGPROF, chain=True)
    folder, app, cases, *names = sys.argv[1:]
    folder = Path(folder)
    trials = []
    for name in names:
        work = Path(app)
        if name not in (
            "verifier_description",
            "verifier_model",
            "list_of_pairs",
            "kept_embeddings",
        ):
            work = folder / f"work-{name}"
            work.mkdir()
        trials.append(Trial(name, folder, work))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    for trial in trials:
        (folder / "running").write_text(trial.name)
        trial.run(int(cases))
        print(
            json.dumps(
                {
                    "reader": trial.name,
                    "counts": trial.counts,
                    "failures": trial.failures[:20],
                    "peak": peak_memory(),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
