"""Hostile files at every reader: a few hundred always, ten thousand and more by `make fuzz`.

Each is read in a process of its own (`readers.py`), since some libraries could take it down. What
comes of it is the right result, or one line that names the file.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What one process loads.
LISTS = (
    "identities", "attributes", "parameter_file", "selected_table", "pairs_table",
    "selected_landmarks", "paired_landmarks", "landmark_range",
)  # fmt: skip
PHOTOS = (
    "photos_of_the_data", "pretraining_photos", "photos_of_a_phone", "landmark_model",
    "descriptor_model",
)  # fmt: skip
MODELS = ("records", "model_description", "model_weights", "foreign_weights", "pretrained_weights")
APP = ("verifier_description", "verifier_model", "list_of_pairs")
GROUPS = {"lists": LISTS, "photos": PHOTOS, "models": MODELS, "app": APP}
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
    command = [sys.executable, str(ROOT / "tests/readers.py"), str(folder), str(app), str(cases)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [*command, *GROUPS[group]], env=environment, capture_output=True, text=True
    )
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
    assert list(found) == list(GROUPS[group])
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
