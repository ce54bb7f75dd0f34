"""The bundle: its version, its test vectors, and what the self test says of a changed one."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest

from faceverify.base.errors import InputError
from faceverify.verify import bundle, verifier_file
from helpers import ROOT, error_line

PHOTOS = {path.name: path.read_bytes() for path in sorted((ROOT / "src/sample/vectors").iterdir())}


@pytest.fixture
def copied(app_folder, tmp_path):
    """A copy of a bundle, to be changed; gives its folder."""
    shutil.copytree(app_folder / "models", tmp_path / "models")
    (tmp_path / "data").symlink_to(app_folder / "data")
    return tmp_path / "models"


def rewrite(folder, name, change):
    """Change the values of a JSON file of the bundle; the rest of the bundle stays."""
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))


def bind(folder):
    """Make `verifier.json` anew for the vectors that lie beside it."""
    values = json.loads((folder / bundle.DESCRIPTION).read_text())
    data = (folder / bundle.VECTORS).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    values["vectors"] |= {"sha256": digest, "bytes": len(data)}
    verifier_file.write(folder / bundle.DESCRIPTION, values)


def selftest(*arguments):
    command = [sys.executable, "-m", "faceverify", "selftest", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")}
    )


def test_a_bundle_as_it_was_made_passes(app_folder):
    done = selftest(app_folder / "models")
    version = json.loads((app_folder / "models/verifier.json").read_text())["version"]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"verifier.json: all is as stated; version {version}\n")


def test_the_vectors_are_the_same_again(app_folder):
    verifier = verifier_file.load(app_folder / "models/verifier.json")
    stated = json.loads((app_folder / "models/vectors.json").read_text())
    made = bundle.make(bundle.Verifier.load(app_folder / "models/verifier.json"), PHOTOS)
    assert made == stated
    assert stated["model"] == verifier.description.model.sha256


def test_the_vectors_say_what_must_be_refused(app_folder):
    stated = json.loads((app_folder / "models/vectors.json").read_text())
    assert [one["refused"] for one in stated["right"]] == [False] * 3
    refused = {kind: set() for kind in bundle.WRONG}
    for wrong in stated["wrong"]:
        refused[wrong["kind"]].add(wrong["refused"])
    assert refused == {"mirrored": {False}, "bgr": {True}, "box": {True}, "swapped": {True}}
    assert {pair["first"] for pair in stated["pairs"]} == {"vector-1.png"}


@pytest.mark.parametrize("key", ["threshold", "version"])
def test_a_changed_description_is_noticed(copied, key):
    def change(values):
        values[key] = 0.9 if key == "threshold" else "0" * 64

    rewrite(copied, bundle.DESCRIPTION, change)
    with pytest.raises(InputError, match="was changed: its version is not that of its contents"):
        verifier_file.load(copied / bundle.DESCRIPTION)


def test_a_description_that_was_made_anew_has_another_version(copied):
    path = copied / bundle.DESCRIPTION
    before = verifier_file.load(path).description
    verifier_file.write(path, json.loads(path.read_text()) | {"threshold": 0.9})
    after = verifier_file.load(path).description
    assert after.version != before.version
    assert after.threshold == 0.9
    verifier_file.write(path, json.loads(path.read_text()) | {"threshold": before.threshold})
    assert verifier_file.load(path).description.version == before.version


@pytest.mark.parametrize("name", ["vectors.json", "vector-2.png"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_file_that_is_not_the_bundles_ends_in_one_line(copied, name, damage):
    if damage == "missing":
        (copied / name).unlink()
    else:
        (copied / name).write_bytes((copied / name).read_bytes() + b" ")
    said = "is missing" if damage == "missing" else "is not the bundle's"
    assert error_line(selftest(copied)).startswith(
        f"faceverify: error: {copied / name} {said}; bring the whole bundle again"
    )


def test_what_is_not_as_stated_is_told(copied):
    def change(values):
        first, second, third = values["right"]
        first["points"][2][0] += 2
        first["canvas"] = "0" * 64
        second["embedding"] = [-number for number in second["embedding"]]
        third["quality"] = 0.4
        values["pairs"][0]["theta"] += 0.5
        values["wrong"][1]["refused"] ^= True

    rewrite(copied, bundle.VECTORS, change)
    bind(copied)
    done = selftest(copied / bundle.DESCRIPTION)
    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert [line.split(":")[0] for line in told] == [
        "vector-1.png", "vector-1.png", "vector-2.png", "vector-3.png",
        "vector-1.png and vector-2.png", "vector-1.png, bgr",
    ]  # fmt: skip
    assert told[0] == "vector-1.png: a point is 2.00 pixels off"
    assert told[2] == "vector-2.png: the embedding is 3.142 radians off"


def test_vectors_of_another_model_are_refused(copied):
    rewrite(copied, bundle.VECTORS, lambda values: values.update(model="0" * 64))
    bind(copied)
    with pytest.raises(InputError, match="is of another model"):
        bundle.selftest(copied / bundle.DESCRIPTION)
