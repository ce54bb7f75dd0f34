"""Hostile files at every reader: a few hundred always, ten thousand and more by `make fuzz`.

Each is read in a process of its own (`readers`), since some libraries could take it down. What
comes of it is the right result, or one line that names the file.
"""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest

from faceverify.base import digests
from faceverify.verify.face_networks import FINDER
from helpers import ROOT, error_line, run_script
from hostile import yaml_bombs
from readers.reader import readers_of

# Modules of `readers`, each of which one process loads.
GROUPS = ("lists", "photos", "models", "app")
# Cases a reader; a dear one takes a part of them.
FEW = {"lists": 40, "photos": 30, "models": 20, "app": 20}
MANY = {"lists": 700, "photos": 700, "models": 500, "app": 400}
LEAST = 10_000
BYTES = 2 * 2**30


@pytest.fixture(scope="module")
def tally():
    """How many cases there were, by reader and outcome."""
    return {}


def fired(folder: Path, app: Path, group: str, cases: int) -> dict[str, Counter]:
    """Put a group's readers under fire; gives their outcomes, or fails with what went wrong."""
    command = [sys.executable, "-m", "readers", str(folder), str(app), str(cases), group]
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    environment = os.environ | {"PYTHONPATH": paths}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    told = [json.loads(line) for line in result.stdout.splitlines()]
    if result.returncode != 0:
        name = (folder / "running").read_text() if (folder / "running").exists() else group
        how = signal.Signals(-result.returncode).name if result.returncode < 0 else "an error"
        pytest.fail(f"{name} in {folder} took its process down by {how}:\n{result.stderr[-3000:]}")
    failures = [failure for each in told for failure in each["failures"]]
    assert not failures, "\n".join(failures)
    assert max(each["peak"] for each in told) < BYTES
    return {each["reader"]: Counter(each["counts"]) for each in told}


@pytest.mark.parametrize("group", GROUPS)
def test_no_file_of_some_hundred_breaks_a_reader(tmp_path, app_folder, group):
    found = fired(tmp_path, app_folder, group, FEW[group])
    assert list(found) == list(readers_of(group))
    assert all(counts["refused"] > 0 for counts in found.values())


@pytest.mark.fuzz
@pytest.mark.parametrize("group", GROUPS)
def test_no_file_of_some_thousand_breaks_a_reader(tmp_path, app_folder, group, tally):
    tally |= fired(tmp_path, app_folder, group, MANY[group])


@pytest.mark.fuzz
def test_there_were_at_least_ten_thousand_cases(tally, capsys):
    total = sum(counts.total() for counts in tally.values())
    with capsys.disabled():
        for name, counts in tally.items():
            print(
                f"\n{name}: {counts['accepted']:,} accepted, {counts['refused']:,} refused", end=""
            )
        print(f"\n{total:,} cases")
    assert total >= LEAST


def enlarged(png: bytes) -> bytes:
    """A PNG whose header claims 50,000 x 50,000 pixels."""
    header = png[12:16] + struct.pack(">II", 50_000, 50_000) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


# Whole stages, as a user runs them: file -> what becomes of its bytes, and what the line says.
FLIPPED = bytes([0xFF])
STAGES = {
    "a formula for a file name": (
        "pair_faces", "prepared/selected.csv", lambda data: data + b'"=1+1.png",1,a.png\n',
        "selected.csv, line 50: name is not a plain file name",
    ),
    "a face without landmarks": (
        "pair_faces", "prepared/selected.json", lambda data: b'{"1-0.png": []}',
        "selected.json does not have 136 whole numbers for 1-0.png",
    ),
    "aliases that multiply": (
        "pair_faces", "params.yaml", lambda data: yaml_bombs()[0],
        "write the value out instead of an alias",
    ),
    "a name that climbs": (
        "write_records", "prepared/pairs.csv",
        lambda data: data.replace(b"pair-0-0.png", b"../pair-0-0.png", 1),
        "pairs.csv, line 2: first is not a plain file name",
    ),
    "another label": (
        "write_records", "prepared/paired.json", lambda data: data.replace(b", 1]", b", 0]", 1),
        "paired.json has another label for",
    ),
    "a label that is none": (
        "write_records", "prepared/paired.json", lambda data: data.replace(b", 1]", b", 2]", 1),
        "136 whole numbers and a label",
    ),
    "a damaged record": (
        "train", "prepared/train.tfrecord/00000-of-00001.tfrecord",
        lambda data: data[:500] + FLIPPED + data[501:], "the record is damaged",
    ),
    "a range without end": (
        "train", "prepared/landmark_range.json",
        lambda data: data.replace(b"[", b"[1e999, ", 1), "landmark_range.json does not hold",
    ),
    "a tampered weight file": (
        "evaluate", "models/members/ja/tower.weights.h5", lambda data: data[:-1] + FLIPPED,
        "tower.weights.h5 is not the file that model.json describes",
    ),
    "a tower that no machine can hold": (
        "evaluate", "models/members/mar/model.json",
        lambda data: re.sub(rb'"head_filters": \d+', b'"head_filters": 1000000000000000', data),
        "models/members/mar/model.json: head_filters: ",
    ),
    "figures that are none": (
        "export", "metrics/summary.json", lambda data: data.replace(b": 0.", b": 1e99"),
        "summary.json has no figures of the ensemble",
    ),
    "JSON without end": (
        "verify", "models/verifier.json", lambda data: b"[" * 100_000, "nested too deeply",
    ),
    "a tampered model": (
        "verify", "models/verifier.tflite", lambda data: data[:-1] + FLIPPED,
        "verifier.tflite is not the file that verifier.json describes",
    ),
    "a tampered face finder": (
        "verify", f"models/{FINDER}", lambda data: data[:-1] + FLIPPED,
        "is not the file that verifier.json describes",
    ),
    "a photo that claims gigapixels": (
        "verify", "data/img_align_celeba/000001.png",
        enlarged,
        "ID photo data/img_align_celeba/000001.png: the photo has more than 64 megapixels",
    ),
}  # fmt: skip
ARGUMENTS = {
    "train": ["ja"],
    "verify": ["data/img_align_celeba/000001.png", "data/img_align_celeba/000002.png"],
}


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, but for what commands keep to themselves, by its hash."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    ours = (path for path in paths if not {".git", ".dvc", ".cache"} & set(path.parts))
    return {str(path): digests.digest(path) for path in ours}


@pytest.mark.fuzz
@pytest.mark.parametrize("case", STAGES)
def test_a_stage_refuses_a_hostile_file_and_writes_nothing(clone, tmp_path, case):
    script, name, change, said = STAGES[case]
    folder = clone.copy(tmp_path / "copy").folder
    data = (folder / name).read_bytes()
    (folder / name).unlink()  # it may be one with the cache's
    (folder / name).write_bytes(change(data))
    assert (folder / name).read_bytes() != data
    before = contents(folder)
    line = error_line(run_script(f"{script}.py", folder, *ARGUMENTS.get(script, [])))
    assert line.startswith(f"{script}.py: error: ")
    assert said in line
    assert contents(folder) == before
