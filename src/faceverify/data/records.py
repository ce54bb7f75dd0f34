"""Pairs in TFRecord files: written in training order, read at random."""

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import google_crc32c
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from faceverify.base import backend
from faceverify.base.errors import InputError, MadeFileError
from faceverify.base.files import folder_files, is_plain
from faceverify.faces.landmarks import LANDMARK_NUMBERS

# TensorFlow's guide advises files of 100 to 200 MB; https://www.tensorflow.org/tutorials/load_data/tfrecord
FILE_BYTES = 150_000_000
# Size of a record without its photos: 2 x 136 floats, names, keys and framing.
OVERHEAD_BYTES = 1_400
LEAST_BYTES = 2 * LANDMARK_NUMBERS * 4  # of a record: that of its two targets


class PairRecord(NamedTuple):
    """A pair: two encoded photos, their targets, float32 (136,) in [0, 1], label, source names.

    `same` is 1 for a genuine pair and 0 for an anti-pair.
    """

    feature0: bytes
    feature1: bytes
    target0: np.ndarray
    target1: np.ndarray
    same: float
    source0: str
    source1: str


def write_records(folder: Path, records: Iterable[PairRecord], photo_bytes: Sequence[int]) -> None:
    """Write records, in the given order, into TFRecord files of about 150 MB in a new `folder`.

    `photo_bytes` are the bytes of each record's two photos: the number of files, which is part of
    their names, must be known before the first is written. Memory holds one record.
    """
    ends = np.cumsum(np.asarray(photo_bytes) + OVERHEAD_BYTES)
    count = max(1, round(ends[-1] / FILE_BYTES))
    # A record larger than a file would skip numbers: only files that get a record are numbered.
    used, file_of = np.unique((ends - 1) * count // ends[-1], return_inverse=True)
    count = len(used)
    folder.mkdir(parents=True)
    with backend.os_errors():
        writer, current = None, -1
        for number, record in zip(file_of.tolist(), records, strict=True):
            if number != current:
                if writer:
                    writer.close()
                current = number
                name = f"{number:05d}-of-{count:05d}.tfrecord"
                writer = tf.io.TFRecordWriter(str(folder / name))
            writer.write(_encode(record))
        writer.close()


class PairRecords(Sequence):
    """The records of a folder as a sequence; memory holds only the offset of each record.

    Files are read, not mapped: the pages of a map would count as the process's memory.
    """

    def __init__(self, folder: Path) -> None:
        """Find the records of a folder; InputError when there are none or a file is damaged."""
        self._paths = folder_files(folder) if folder.is_dir() else []
        self._files, self._starts = array("i"), array("q")  # of each record
        for number, path in enumerate(self._paths):
            if path.stat().st_size == 0:
                raise MadeFileError(f"{path} is empty")
            with path.open("rb", buffering=0) as file:
                starts = _starts(file, path)
            self._files.extend([number] * len(starts))
            self._starts.extend(starts)
        if not self._starts:
            raise MadeFileError(f"{folder} holds no records")

    def __len__(self) -> int:
        """The number of records."""
        return len(self._starts)

    def __getitem__(self, index: int) -> PairRecord:
        """Read, check and decode a record; InputError, naming file and byte, when it is damaged."""
        path, start = self._paths[self._files[index]], self._starts[index]
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            length = int.from_bytes(file.read(12)[:8], "little")
            payload, checksum = file.read(length), file.read(4)
        if _masked_crc(payload) != int.from_bytes(checksum, "little"):
            raise MadeFileError(f"{path}, byte {start}: the record is damaged")
        try:
            return _decode(payload)
        except (KeyError, IndexError, ValueError) as error:
            raise InputError(f"{path}, byte {start}: not a pair record ({error})") from None


def _starts(file: BinaryIO, path: Path) -> array:
    """The offset of each record: length (8 bytes), its checksum (4), payload, its checksum (4)."""
    starts, position, end = array("q"), 0, path.stat().st_size
    while position < end:
        file.seek(position)
        header = file.read(12)
        length = int.from_bytes(header[:8], "little")
        whole = len(header) == 12 and position + 16 + length <= end
        if not whole or _masked_crc(header[:8]) != int.from_bytes(header[8:], "little"):
            raise MadeFileError(f"{path}, byte {position}: the file is damaged")
        if length < LEAST_BYTES:
            said = f"not a pair record ({length} bytes)"
            raise MadeFileError(f"{path}, byte {position}: {said}")
        starts.append(position)
        position += 16 + length
    return starts


def _masked_crc(data: bytes) -> int:
    """TFRecord's masked checksum: CRC-32C rotated right by 15 bits, plus a constant, mod 2^32."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _encode(record: PairRecord) -> bytes:
    def raw(*values: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def floats(values: Iterable[float]) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "feature0": raw(record.feature0),
        "feature1": raw(record.feature1),
        "target0": floats(record.target0),
        "target1": floats(record.target1),
        "targetD": floats([record.same]),
        "source0": raw(record.source0.encode()),
        "source1": raw(record.source1.encode()),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _decode(payload: bytes) -> PairRecord:
    try:
        feature = tf.train.Example.FromString(payload).features.feature
    except DecodeError as error:
        raise ValueError(error) from None
    target0, target1 = (
        np.array(feature[name].float_list.value, np.float32) for name in ("target0", "target1")
    )
    if {target0.shape, target1.shape} != {(LANDMARK_NUMBERS,)}:
        raise ValueError(f"a target does not have {LANDMARK_NUMBERS} numbers")
    if not all(((target >= 0) & (target <= 1)).all() for target in (target0, target1)):
        raise ValueError("a target is not in 0 .. 1")
    same = feature["targetD"].float_list.value[0]
    if same not in (0, 1):
        raise ValueError("the label is neither 0 nor 1")
    sources = [feature[f"source{slot}"].bytes_list.value[0].decode() for slot in (0, 1)]
    if not all(map(is_plain, sources)):
        raise ValueError("a source is not a plain file name")
    photos = (feature[f"feature{slot}"].bytes_list.value[0] for slot in (0, 1))
    return PairRecord(*photos, target0, target1, same, *sources)
