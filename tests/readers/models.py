"""Readers of what training makes and takes: records, models, weights and unfinished work."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from faceverify.base.errors import InputError
from hostile import NAMES, damaged, json_bombs
from readers.photo_bombs import encoded_photos
from readers.reader import Reader, as_json, changed, plain, reader


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
    import tensorflow as tf

    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            writer.write(payload)
        return Path(file.name).read_bytes()


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
        assert found.tail_numbers == found.description["tail_units"][-1]

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
