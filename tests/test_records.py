"""Stage 2: targets, TFRecord files, and the one decoder and resize of all photos."""

import itertools
import json
import struct
import tracemalloc

import cv2
import numpy as np
import pytest
import tensorflow as tf

import write_records
from faceverify.base.errors import InputError, UnusableError
from faceverify.data import records
from faceverify.data.landmark_range import LandmarkRange
from faceverify.faces import aligned_photos
from helpers import encode, sample_photos, write_parameters

CANVAS_X, CANVAS_Y = 218 / 178, 1.0


def landmarks_of(count, seed=0):
    """Landmarks in photo pixels, some of them outside the photo, (count, 136)."""
    return np.random.default_rng(seed).integers(-20, 240, (count, 136))


def brute_targets(value, train):
    """The targets of the design, one number at a time."""
    result = []
    for i in range(136):
        scale = CANVAS_X if i < 68 else CANVAS_Y
        low, high = min(train[:, i]) * scale, max(train[:, i]) * scale
        result.append((value[i] * scale - low) / (high - low))
    return np.array(result)


def test_targets_are_scaled_to_the_canvas_and_to_zero_and_one():
    train = landmarks_of(30)
    limits = LandmarkRange.fit(train)
    targets = limits.normalize(train)
    assert (targets.shape, targets.dtype) == ((30, 136), np.float32)
    np.testing.assert_allclose(targets, [brute_targets(v, train) for v in train], atol=1e-6)
    np.testing.assert_array_equal(targets.min(axis=0), np.zeros(136))
    np.testing.assert_array_equal(targets.max(axis=0), np.ones(136))


def test_the_range_is_in_canvas_pixels():
    train = landmarks_of(20)
    limits = LandmarkRange.fit(train)
    np.testing.assert_allclose(limits.minimum[:68], train.min(axis=0)[:68] * 218 / 178)
    np.testing.assert_allclose(limits.maximum[:68], train.max(axis=0)[:68] * 218 / 178)
    np.testing.assert_array_equal(limits.minimum[68:], train.min(axis=0)[68:])
    np.testing.assert_array_equal(limits.maximum[68:], train.max(axis=0)[68:])


def test_denormalizing_gives_the_pixels_of_the_photo_back():
    train = landmarks_of(30)
    limits = LandmarkRange.fit(train)
    np.testing.assert_allclose(limits.denormalize(limits.normalize(train)), train, atol=1e-3)
    np.testing.assert_allclose(limits.normalize(train[3]), limits.normalize(train)[3])


def test_what_lies_beyond_the_range_is_clipped():
    limits = LandmarkRange.fit(landmarks_of(30))
    np.testing.assert_array_equal(limits.normalize(np.full(136, 9_999)), np.ones(136))
    np.testing.assert_array_equal(limits.normalize(np.full(136, -9_999)), np.zeros(136))


def test_a_number_that_never_varies_is_zero_and_comes_back():
    train = landmarks_of(30)
    train[:, [5, 100]] = 77
    limits = LandmarkRange.fit(train)
    targets = limits.normalize(train)
    assert np.isfinite(targets).all()
    assert not targets[:, [5, 100]].any()
    np.testing.assert_allclose(limits.denormalize(targets)[:, [5, 100]], 77)


def test_a_stored_range_is_read_as_it_was(tmp_path):
    limits = LandmarkRange.fit(landmarks_of(9))
    limits.save(tmp_path / "range.json")
    loaded = LandmarkRange.load(tmp_path / "range.json")
    np.testing.assert_array_equal(loaded.minimum, limits.minimum)
    np.testing.assert_array_equal(loaded.maximum, limits.maximum)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "null",
        "{",
        json.dumps({"minimum": [0] * 136}),
        json.dumps({"minimum": [0] * 136, "maximum": [1] * 135}),
        json.dumps({"minimum": [1] * 136, "maximum": [0] * 136}),
        json.dumps({"minimum": [0] * 136, "maximum": ["x"] * 136}),
        json.dumps({"minimum": [0] * 136, "maximum": [float("nan")] * 136}),
    ],
)
def test_a_broken_range_is_refused(tmp_path, content):
    path = tmp_path / "range.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"range\.json"):
        LandmarkRange.load(path)


def record(i, photo_bytes=50):
    rng = np.random.default_rng(i)
    return records.PairRecord(
        rng.bytes(photo_bytes),
        rng.bytes(photo_bytes),
        rng.random(136, np.float32),
        rng.random(136, np.float32),
        float(i % 2),
        f"{i:06d}.jpg",
        f"é{i}.png",
    )


def write(folder, some):
    some = list(some)
    sizes = [len(r.feature0) + len(r.feature1) for r in some]
    records.write_records(folder, iter(some), sizes)


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert type(one) is type(other)


def parsed(folder):
    """The records of a folder by TensorFlow alone."""
    features = {
        "feature0": tf.io.FixedLenFeature([], tf.string),
        "feature1": tf.io.FixedLenFeature([], tf.string),
        "target0": tf.io.FixedLenFeature([136], tf.float32),
        "target1": tf.io.FixedLenFeature([136], tf.float32),
        "targetD": tf.io.FixedLenFeature([], tf.float32),
        "source0": tf.io.FixedLenFeature([], tf.string),
        "source1": tf.io.FixedLenFeature([], tf.string),
    }
    paths = sorted(str(path) for path in folder.iterdir())
    for example in tf.data.TFRecordDataset(paths).as_numpy_iterator():
        values = tf.io.parse_single_example(example, features)
        values = {name: value.numpy() for name, value in values.items()}
        yield records.PairRecord(
            values["feature0"],
            values["feature1"],
            values["target0"],
            values["target1"],
            values["targetD"],
            values["source0"].decode(),
            values["source1"].decode(),
        )


def test_records_are_read_as_they_were_written(tmp_path):
    some = [record(i) for i in range(7)]
    write(tmp_path / "train.tfrecord", some)
    read = records.PairRecords(tmp_path / "train.tfrecord")
    assert len(read) == 7
    for i in (6, 0, 3, 1, 5, 2, 4):
        assert_equal(read[i], some[i])
        assert read[i].target0.dtype == read[i].target1.dtype == np.float32
    assert [r.source0 for r in read] == [r.source0 for r in some]


def test_plain_tensorflow_reads_the_records(tmp_path):
    some = [record(i) for i in range(5)]
    write(tmp_path / "train.tfrecord", some)
    for one, other in zip(parsed(tmp_path / "train.tfrecord"), some, strict=True):
        assert_equal(one, other)


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, [record(i) for i in range(20)])
    (one,), (other,) = ((tmp_path / name).iterdir() for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()


def test_files_are_split_by_size_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FILE_BYTES", 40_000)
    sizes = [500, 9_000, 3_000] * 12  # about 186 kB with what is around the photos
    some = [record(i, size // 2) for i, size in enumerate(sizes)]
    write(tmp_path / "train.tfrecord", some)
    files = sorted((tmp_path / "train.tfrecord").iterdir())
    count = len(files)
    assert 4 <= count <= 6
    assert [path.name for path in files] == [
        f"{i:05d}-of-{count:05d}.tfrecord" for i in range(count)
    ]
    assert all(20_000 < path.stat().st_size < 60_000 for path in files)
    read = records.PairRecords(tmp_path / "train.tfrecord")
    assert len(read) == len(some)
    assert [r.source0 for r in read] == [r.source0 for r in some]
    assert [r.source0 for r in parsed(tmp_path / "train.tfrecord")] == [r.source0 for r in some]


@pytest.mark.parametrize("file_bytes", [1, 3_000, 10**9])
def test_file_names_have_no_gaps_whatever_the_sizes(tmp_path, monkeypatch, file_bytes):
    monkeypatch.setattr(records, "FILE_BYTES", file_bytes)
    some = [record(i, size) for i, size in enumerate([10, 10, 6_000, 10, 10])]
    write(tmp_path / "train.tfrecord", some)
    names = sorted(path.name for path in (tmp_path / "train.tfrecord").iterdir())
    assert names == [f"{i:05d}-of-{len(names):05d}.tfrecord" for i in range(len(names))]
    assert len(records.PairRecords(tmp_path / "train.tfrecord")) == 5


def test_the_overhead_is_what_a_record_has_beside_its_photos(tmp_path):
    write(tmp_path / "train.tfrecord", [record(i, 5_000) for i in range(50)])
    (path,) = (tmp_path / "train.tfrecord").iterdir()
    overhead = path.stat().st_size / 50 - 10_000
    assert abs(overhead - records.OVERHEAD_BYTES) < 150


@pytest.mark.parametrize("sizes", [[100], [100] * 3])
def test_a_shorter_or_longer_list_of_sizes_is_refused(tmp_path, sizes):
    with pytest.raises(ValueError, match="zip"):
        records.write_records(tmp_path / "train", iter([record(1), record(2)]), sizes)


def test_neither_writing_nor_reading_keeps_photos_in_memory(tmp_path):
    count, photo_bytes = 60, 200_000
    tracemalloc.start()
    try:
        made = (record(i, photo_bytes) for i in range(count))
        records.write_records(tmp_path / "train.tfrecord", made, [2 * photo_bytes] * count)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        read = records.PairRecords(tmp_path / "train.tfrecord")
        indexed = tracemalloc.get_traced_memory()[1] - before
        assert [read[i].source0 for i in range(count)] == [f"{i:06d}.jpg" for i in range(count)]
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    one = 2 * photo_bytes
    assert written < 10 * one
    assert indexed < one / 4
    assert kept < one / 4


@pytest.fixture
def stored(tmp_path):
    """A file of three records, with a function that changes its bytes."""
    folder = tmp_path / "val.tfrecord"
    write(folder, [record(i, 500) for i in range(3)])
    (path,) = folder.iterdir()

    def change(how):
        content = bytearray(path.read_bytes())
        path.write_bytes(how(content))
        return folder

    change.path = path
    return change


def flipped(position):
    def flip(content):
        content[position] ^= 0x10
        return content

    return flip


def second_start(content):
    return 16 + int.from_bytes(content[:8], "little")


def test_a_damaged_photo_is_named_and_the_others_are_read(stored):
    start = second_start(stored.path.read_bytes())
    read = records.PairRecords(stored(flipped(start + 700)))
    with pytest.raises(InputError) as caught:
        read[1]
    message = str(caught.value)
    assert message.startswith(f"{stored.path}, byte {start}: the record is damaged")
    assert len(message.splitlines()) == 1
    assert_equal(read[0], record(0, 500))
    assert_equal(read[2], record(2, 500))


def test_a_damaged_checksum_is_named(stored):
    read = records.PairRecords(stored(flipped(-1)))
    with pytest.raises(InputError, match="the record is damaged"):
        read[2]


@pytest.mark.parametrize("position", [0, 7, 8, 11], ids=["length", "high", "crc", "crc end"])
def test_a_damaged_length_is_named(stored, position):
    start = second_start(stored.path.read_bytes())
    with pytest.raises(InputError) as caught:
        records.PairRecords(stored(flipped(start + position)))
    assert str(caught.value).startswith(f"{stored.path}, byte {start}: the file is damaged")


@pytest.mark.parametrize("left", [-1, -4, -5, -200, 1, 8, 11, 12, 13])
def test_a_truncated_file_is_named(stored, left):
    with pytest.raises(InputError) as caught:
        records.PairRecords(stored(lambda content: content[:left]))
    message = str(caught.value)
    assert message.startswith(f"{stored.path}, byte ")
    assert "the file is damaged" in message


def test_an_empty_file_is_named(stored):
    with pytest.raises(InputError) as caught:
        records.PairRecords(stored(lambda content: b""))
    assert str(caught.value).startswith(f"{stored.path} is empty")


def test_a_file_of_another_kind_is_named(stored, sample):
    photo = next((sample / "img_align_celeba").iterdir()).read_bytes()
    with pytest.raises(InputError) as caught:
        records.PairRecords(stored(lambda content: photo))
    assert str(caught.value).startswith(f"{stored.path}, byte 0: the file is damaged")


def integers(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


OTHER_PAYLOADS = {
    "not an example": b"\xff\xff\xff\xff" * 300,
    "others": tf.train.Example(
        features=tf.train.Features(feature={"target0": integers(*range(1000))})
    ).SerializeToString(),
}


@pytest.mark.parametrize("payload", OTHER_PAYLOADS.values(), ids=OTHER_PAYLOADS)
def test_a_record_of_another_kind_is_named(tmp_path, payload):
    folder = tmp_path / "val.tfrecord"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        writer.write(payload)
    read = records.PairRecords(folder)
    with pytest.raises(InputError) as caught:
        read[0]
    assert str(caught.value).startswith(f"{folder / 'a.tfrecord'}, byte 0: not a pair record")


@pytest.mark.parametrize("payload", [b"", bytes(1087)], ids=["empty", "short"])
def test_a_record_that_has_no_room_for_targets_is_refused_at_once(tmp_path, payload):
    folder = tmp_path / "val.tfrecord"
    write(folder, [record(0)])
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for _ in range(3):
            writer.write(payload)
    with pytest.raises(InputError) as caught:
        records.PairRecords(folder)
    said = f"{folder / 'a.tfrecord'}, byte 0: not a pair record ({len(payload)} bytes)"
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("target", ["target0", "target1"])
@pytest.mark.parametrize("numbers", [0, 135, 137])
def test_a_record_with_another_number_of_targets_is_named(tmp_path, target, numbers):
    folder = tmp_path / "val.tfrecord"
    write(folder, [record(0, 500)._replace(**{target: np.zeros(numbers, np.float32)})])
    with pytest.raises(InputError, match="not a pair record .*136"):
        records.PairRecords(folder)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target0": np.full(136, 1.5, np.float32)}, "a target is not in 0 .. 1"),
        ({"target1": np.full(136, np.nan, np.float32)}, "a target is not in 0 .. 1"),
        ({"same": 0.5}, "the label is neither 0 nor 1"),
        ({"source0": "../000001.jpg"}, "a source is not a plain file name"),
        ({"source1": "/etc/hostname"}, "a source is not a plain file name"),
    ],
)
def test_a_record_of_impossible_values_is_named(tmp_path, change, said):
    folder = tmp_path / "val.tfrecord"
    write(folder, [record(0)._replace(**change)])
    with pytest.raises(InputError, match=f"byte 0: not a pair record .{said}"):
        records.PairRecords(folder)[0]


def test_a_folder_without_records_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        with pytest.raises(InputError, match=f"{name} holds no records"):
            records.PairRecords(tmp_path / name)


def make_paired(project, train=24, val=8):
    """What stage 1.5 leaves, with a few bytes for each photo; landmarks (pairs, 2, 136)."""
    write_parameters(project)
    (project / "prepared/paired").mkdir(parents=True)
    numbers = landmarks_of(2 * (train + val)).reshape(-1, 2, 136)
    header = "pair,label,split,first,second,first_identity,second_identity,first_source"
    rows, points = [f"{header},second_source"], {}
    for i, pair in enumerate(numbers):
        split = "train" if i < train else "val"
        label = int(i % train < train / 2) if split == "train" else int(i - train < val / 2)
        names = [f"{'' if label else 'anti'}pair-{i}-{slot}.png" for slot in (0, 1)]
        people = (i, i if label else i + 1)
        sources = [f"s{i}-{slot}.png" for slot in (0, 1)]
        rows.append(",".join(map(str, (f"p{i}", label, split, *names, *people, *sources))))
        for name, own in zip(names, pair, strict=True):
            (project / "prepared/paired" / name).write_bytes(f"photo {name}".encode() * 3)
            points[name] = [*own.tolist(), label]
    store(project, rows, points)
    return numbers


def store(project, rows, points):
    (project / "prepared/pairs.csv").write_text("\n".join(rows) + "\n")
    (project / "prepared/paired.json").write_text(json.dumps(points))


def run_stage(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr("sys.argv", ["write_records.py"])
    write_records.main()
    return [list(parsed(project / f"prepared/{split}.tfrecord")) for split in ("train", "val")]


def number_of(record):
    return int(record.source0.removeprefix("s").removesuffix("-0.png"))


def test_the_stage_writes_the_contract(tmp_path, monkeypatch):
    numbers = make_paired(tmp_path)
    train, val = run_stage(tmp_path, monkeypatch)
    assert sorted(map(number_of, train)) == list(range(24))
    assert sorted(map(number_of, val)) == list(range(24, 32))
    fitted = numbers[:24].reshape(-1, 136)
    for own in [*train, *val]:
        i = number_of(own)
        same = i < 12 or 24 <= i < 28
        assert own.same == same
        kind = "pair" if same else "antipair"
        assert own.feature0 == f"photo {kind}-{i}-0.png".encode() * 3
        assert own.feature1 == f"photo {kind}-{i}-1.png".encode() * 3
        assert (own.source0, own.source1) == (f"s{i}-0.png", f"s{i}-1.png")
        for slot, target in enumerate((own.target0, own.target1)):
            expected = brute_targets(numbers[i, slot], fitted).clip(0, 1)
            np.testing.assert_allclose(target, expected, atol=1e-6)
    limits = LandmarkRange.load(tmp_path / "prepared/landmark_range.json")
    expected = LandmarkRange.fit(fitted)  # one range, of both slots
    np.testing.assert_array_equal(limits.minimum, expected.minimum)
    np.testing.assert_array_equal(limits.maximum, expected.maximum)


def test_the_range_is_fitted_on_train_only(tmp_path, monkeypatch):
    make_paired(tmp_path)
    run_stage(tmp_path, monkeypatch)
    stored = (tmp_path / "prepared/landmark_range.json").read_bytes()
    points = json.loads((tmp_path / "prepared/paired.json").read_text())
    points["pair-24-0.png"][:136] = [5_000] * 136
    points["antipair-31-1.png"][:136] = [-5_000] * 136
    (tmp_path / "prepared/paired.json").write_text(json.dumps(points))
    _, val = run_stage(tmp_path, monkeypatch)
    assert (tmp_path / "prepared/landmark_range.json").read_bytes() == stored
    first = next(r for r in val if r.source0 == "s24-0.png")
    assert (first.target0 == 1).all()
    points["pair-0-1.png"][:136] = [5_000] * 136
    (tmp_path / "prepared/paired.json").write_text(json.dumps(points))
    run_stage(tmp_path, monkeypatch)
    assert (tmp_path / "prepared/landmark_range.json").read_bytes() != stored


def test_records_stand_in_a_seeded_order_that_mixes_labels(tmp_path, monkeypatch):
    make_paired(tmp_path, train=200, val=60)
    first = [[number_of(r) for r in part] for part in run_stage(tmp_path, monkeypatch)]
    again = [[number_of(r) for r in part] for part in run_stage(tmp_path, monkeypatch)]
    assert again == first
    for numbers, start in zip(first, (0, 200), strict=True):
        count = len(numbers)
        assert sorted(numbers) == list(range(start, start + count))
        genuine = [n - start < count / 2 for n in numbers]
        changes = sum(a != b for a, b in itertools.pairwise(genuine))
        assert changes > 0.35 * count  # in the table there is one change
        steps = np.abs(np.diff(numbers))
        assert steps.mean() > 0.2 * count  # neighbours of the table are far apart
    write_parameters(tmp_path, {"seed": 99})
    other = [[number_of(r) for r in part] for part in run_stage(tmp_path, monkeypatch)]
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_the_stage_gives_the_same_bytes_twice(tmp_path, monkeypatch):
    make_paired(tmp_path)

    def bytes_now():
        run_stage(tmp_path, monkeypatch)
        return [path.read_bytes() for path in sorted((tmp_path / "prepared").glob("*.tfrecord/*"))]

    first = bytes_now()
    assert len(first) == 2
    assert bytes_now() == first


def test_a_missing_photo_of_val_leaves_no_new_record_of_train(tmp_path, monkeypatch):
    make_paired(tmp_path)
    before = {p.name for p in (tmp_path / "prepared").iterdir()}
    (tmp_path / "prepared/paired/pair-25-0.png").unlink()
    with pytest.raises(FileNotFoundError):
        run_stage(tmp_path, monkeypatch)
    assert {p.name for p in (tmp_path / "prepared").iterdir()} == before


def test_a_missing_photo_leaves_the_earlier_records(tmp_path, monkeypatch):
    make_paired(tmp_path)
    run_stage(tmp_path, monkeypatch)
    before = {p.name for p in (tmp_path / "prepared").iterdir()}
    stored = [p.read_bytes() for p in sorted((tmp_path / "prepared").glob("*.tfrecord/*"))]
    (tmp_path / "prepared/paired/pair-25-0.png").unlink()
    with pytest.raises(FileNotFoundError):
        run_stage(tmp_path, monkeypatch)
    assert {p.name for p in (tmp_path / "prepared").iterdir()} == before
    assert [p.read_bytes() for p in sorted((tmp_path / "prepared").glob("*.tfrecord/*"))] == stored


@pytest.fixture(scope="module")
def pictures(sample):
    """Colour photos: the grey ones of three people as red, green and blue."""
    names = [own[0] for own in sample_photos(sample, 12, 1).values()]
    grey = [
        aligned_photos.decode((sample / "img_align_celeba" / n).read_bytes())[..., 0] for n in names
    ]
    return [np.dstack(grey[i : i + 3]) for i in range(0, 12, 3)]


SAMPLING = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
JPEG_KINDS = {
    "4:2:0": [SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420],
    "4:2:2": [SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422],
    "4:4:4": [SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "quality 40": [cv2.IMWRITE_JPEG_QUALITY, 40],
    "quality 100": [cv2.IMWRITE_JPEG_QUALITY, 100],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
}


def accurate(encoded):
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE").numpy()


@pytest.mark.parametrize("options", JPEG_KINDS.values(), ids=JPEG_KINDS)
def test_a_jpeg_is_decoded_by_the_accurate_integer_method(pictures, options):
    for picture in pictures:
        encoded = encode(".jpg", picture, *options)
        decoded = aligned_photos.decode(encoded)
        assert (decoded.shape, decoded.dtype) == (picture.shape, np.uint8)
        np.testing.assert_array_equal(decoded, accurate(encoded))


def test_the_fast_method_would_give_other_bytes(pictures):
    encoded = encode(".jpg", pictures[0], cv2.IMWRITE_JPEG_QUALITY, 100)
    fast = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_FAST").numpy()
    assert (fast != accurate(encoded)).any()  # else the test above tests nothing


def test_real_celeba_photos_are_decoded_by_the_accurate_integer_method(celeba):
    paths = sorted((celeba / "img_align_celeba").iterdir())[::400]
    assert len(paths) > 10
    for path in paths:
        encoded = path.read_bytes()
        np.testing.assert_array_equal(aligned_photos.decode_aligned(encoded), accurate(encoded))


def test_a_png_is_decoded_to_its_pixels(pictures):
    for picture in pictures:
        encoded = encode(".png", picture)
        np.testing.assert_array_equal(aligned_photos.decode(encoded), picture)
        np.testing.assert_array_equal(tf.io.decode_png(encoded, channels=3).numpy(), picture)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_grey_photo_has_three_equal_channels(pictures, suffix):
    encoded = encode(suffix, pictures[0][..., 0])
    decoded = aligned_photos.decode(encoded)
    expected = accurate(encoded) if suffix == ".jpg" else np.dstack([pictures[0][..., 0]] * 3)
    np.testing.assert_array_equal(decoded, expected)
    assert (decoded == decoded[..., :1]).all()


def test_an_orientation_tag_is_not_applied(pictures):
    encoded = encode(".jpg", pictures[0])
    tag = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0) + bytes(4)
    exif = b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag
    turned = encoded[:2] + exif + encoded[2:]
    plain = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert plain.shape[:2] == (178, 218)  # the tag is one that OpenCV understands
    np.testing.assert_array_equal(aligned_photos.decode(turned), aligned_photos.decode(encoded))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_photo_is_refused(pictures, suffix, share):
    encoded = encode(suffix, pictures[0])
    with pytest.raises(UnusableError):
        aligned_photos.decode(encoded[: int(share * len(encoded))])


@pytest.mark.parametrize("size", [(109, 89), (178, 218), (218, 179), (436, 356)])
def test_a_photo_of_another_size_is_refused_as_aligned(pictures, size):
    encoded = encode(".jpg", cv2.resize(pictures[0], size[::-1]))
    aligned_photos.decode(encoded)
    with pytest.raises(UnusableError, match=f"{size[1]} x {size[0]} pixels, not 178 x 218"):
        aligned_photos.decode_aligned(encoded)


def test_the_canvas_is_the_bilinear_resize_of_tensorflow(pictures):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)
    for picture in [*pictures, noise]:
        canvas = aligned_photos.to_canvas(picture)
        assert (canvas.shape, canvas.dtype) == ((218, 218, 3), np.uint8)
        expected = tf.image.resize(picture, (218, 218), method="bilinear").numpy()
        assert np.abs(canvas - expected).max() <= 1


def test_the_canvas_does_not_depend_on_the_number_of_threads(pictures):
    before = cv2.getNumThreads()
    try:
        made = []
        for threads in (1, 2, 7):
            cv2.setNumThreads(threads)
            made.append([aligned_photos.to_canvas(picture).tobytes() for picture in pictures])
    finally:
        cv2.setNumThreads(before)
    assert made[0] == made[1] == made[2]
