"""The package as an app's backend has it: a wheel in an environment of its own, no TensorFlow."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from faceverify.verify.verifier import Verifier
from helpers import ROOT, error_line, sample_photos
from phone import encoded, phone_photo

pytestmark = pytest.mark.slow

# Of all that is installed with the package, in megabytes: the pipeline takes 3,000.
LARGEST = 450
LEFT_OUT = ("tensorflow", "keras", "dvc", "dvclive", "pandas", "scipy", "joblib", "distributed")


def run(*command: object, folder: Path) -> subprocess.CompletedProcess:
    """Run a command in a folder, with nothing of this environment on its path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def versions(tmp_path_factory) -> Path:
    """The pinned versions, without their hashes: a wheel that was just built has none."""
    pinned = re.findall(r"^[a-z0-9_.-]+==[^ ]+", (ROOT / "requirements.txt").read_text(), re.M)
    file = tmp_path_factory.mktemp("versions") / "versions.txt"
    file.write_text("\n".join(pinned))
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, versions) -> Path:
    """The wheel, built of a copy of what it is made of."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip")
    probe = run(*pip, "download", "--no-deps", "-c", versions, "-d", folder, "tqdm", folder=folder)
    if probe.returncode != 0:
        pytest.skip("the package index does not answer")
    copied = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/faceverify", folder / "copy/src/faceverify", ignore=copied)
    shutil.copy(ROOT / "pyproject.toml", folder / "copy")
    (folder / "copy/src/sample.py").touch()  # a script of the pipeline is no part of it
    built = run(*pip, "wheel", "--no-deps", "-w", folder / "built", folder / "copy", folder=folder)
    assert built.returncode == 0, built.stderr
    (file,) = (folder / "built").iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel, versions, tmp_path_factory) -> Path:
    """The folder of the programs of an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("environment")
    made = run(sys.executable, "-m", "venv", folder, folder=folder)
    assert made.returncode == 0, made.stderr
    result = run(folder / "bin/pip", "install", "-c", versions, wheel, folder=folder)
    assert result.returncode == 0, result.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def people(sample, tmp_path_factory) -> list[list[Path]]:
    """Two photos, as a phone takes them, of each of two people."""
    folder = tmp_path_factory.mktemp("people")
    files = []
    for person, names in sample_photos(sample, 2, 2).items():
        own = [folder / f"{person}-{k}.jpg" for k in range(2)]
        for path, name in zip(own, names, strict=True):
            path.write_bytes(encoded(phone_photo(sample / "img_align_celeba" / name, 450, 600)))
        files.append(own)
    return files


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    library = ROOT / "src/faceverify"
    code = {f"faceverify/{path.relative_to(library)}" for path in library.rglob("*.py")}
    assert names == code | {"faceverify/py.typed"}


def test_what_is_installed_is_little(installed):
    look = (
        "import importlib.util, json, sys\n"
        "print(json.dumps([n for n in sys.argv[1:] if importlib.util.find_spec(n)]))"
    )
    found = run(installed / "python", "-c", look, "faceverify", *LEFT_OUT, folder=installed)
    assert json.loads(found.stdout) == ["faceverify"], found.stderr
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    size = sum(f.lstat().st_blocks * 512 for f in packages.rglob("*")) / 2**20
    print(f"site-packages: {size:.0f} MB")
    assert size < LARGEST


def test_two_photos_are_verified_in_another_folder(installed, app_folder, people, tmp_path):
    named = ("--verifier", app_folder / "models/verifier.json")
    expected = Verifier.load(named[1])
    for photos in (people[0], (people[0][0], people[1][0])):
        result = run(installed / "faceverify", "verify", *photos, "--json", *named, folder=tmp_path)
        found, decided = json.loads(result.stdout), expected.compare(*photos)
        assert result.returncode == (0 if decided.accepted else 1)
        # Two photos of a person, taken one after the other, may be warned about as copies.
        assert ("seem to be one photo" in result.stderr, result.stderr.count("\n")) == (
            decided.copied,
            int(decided.copied),
        )
        assert found["theta"] == pytest.approx(decided.theta, abs=1e-6)
    assert list(tmp_path.iterdir()) == []


def test_a_list_is_scored_in_another_folder(installed, app_folder, people, tmp_path):
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second"), *people, ("none.jpg", people[0][0])])
    named = ("--verifier", app_folder / "models/verifier.json")
    result = run(
        installed / "python", "-m", "faceverify",
        "pairs", "pairs.csv", "--out", "scores.csv", "--threshold", "3", *named,
        folder=tmp_path,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "scores.csv: 3 pairs, 2 accepted, 0 rejected, 1 with an error\n"
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [row["decision"] for row in rows] == ["accept", "accept", ""]


def test_the_verifier_is_looked_for_in_the_current_folder(installed, app_folder, people, tmp_path):
    command = (installed / "faceverify", "verify", *people[0])
    assert error_line(run(*command, folder=tmp_path)) == (
        "faceverify: error: models/verifier.json is missing; "
        "name a verifier.json with --verifier FILE"
    )
    assert run(*command, folder=app_folder).returncode in (0, 1)


def test_the_library_is_used_as_documented(installed, app_folder, people, tmp_path):
    code = (
        "import sys\n"
        "from faceverify import CaptureError, Verifier\n"
        "verifier = Verifier.load(sys.argv[1])\n"
        "card = verifier.embed(sys.argv[2], any_side=True)\n"
        "print(verifier.compare(card, sys.argv[3]).decision)\n"
        "try:\n"
        "    verifier.compare(card, 'none.jpg')\n"
        "except CaptureError as error:\n"
        "    print(error.slot, error.code)\n"
    )
    models = app_folder / "models/verifier.json"
    result = run(installed / "python", "-c", code, models, *people[0], folder=tmp_path)
    decided = Verifier.load(models).compare(*people[0]).decision
    assert (result.stdout, result.stderr) == (f"{decided}\nsecond unreadable\n", "")
