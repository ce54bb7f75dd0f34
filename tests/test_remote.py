"""The team's Google Cloud Storage remote: real DVC against a real GCS server on loopback."""

import hashlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from bucket import Bucket
from faceverify.base import digests
from helpers import ROOT
from tiny import Clone

pytestmark = pytest.mark.slow

SHARED = ("data", "prepared", "models", "plots/gallery")


@pytest.fixture(scope="module")
def pushed(clone, bucket, tmp_path_factory) -> Clone:
    """The clone of the member who made everything and pushed it."""
    made = bucket.serve(clone.copy(tmp_path_factory.mktemp("pushed") / "clone"))
    made.dvc("push")
    made.dvc("push", "--run-cache")
    return made


@pytest.fixture
def fresh(pushed, bucket, tmp_path) -> Clone:
    """Another member's clone, with nothing pulled yet."""
    return bucket.serve(pushed.clone(tmp_path / "clone"))


def contents(clone: Clone) -> dict[str, str]:
    """Name -> hash of all that the members share."""
    paths = [p for name in SHARED for p in (clone.folder / name).rglob("*") if p.is_file()]
    return {str(p.relative_to(clone.folder)): digests.digest(p) for p in paths}


def object_of(clone: Clone, bucket: Bucket, out: str) -> Path:
    """The object that holds an output of the pipeline, a folder's list for a folder."""
    stages = yaml.safe_load(clone.lock())["stages"].values()
    (md5,) = {o["md5"] for stage in stages for o in stage.get("outs", []) if o["path"] == out}
    return bucket.object(md5)


def object_of_file(clone: Clone, bucket: Bucket, name: str) -> Path:
    """The object that holds this file."""
    return bucket.object(hashlib.md5((clone.folder / name).read_bytes()).hexdigest())


def in_cache(clone: Clone) -> set[str]:
    """The hashes of the objects that the clone has whole."""
    cached = (clone.folder / ".dvc/cache/files/md5").glob("??/*")
    return {path.parent.name + path.name for path in cached if path.suffix != ".tmp"}


def test_what_one_member_pushes_another_pulls_to_the_byte(pushed, fresh):
    fresh.dvc("pull")
    assert contents(fresh) == contents(pushed)
    assert fresh.json("status", "--json") == {}
    assert fresh.git("status", "--porcelain") == ""
    assert fresh.stages_run(fresh.dvc("repro").stdout) == set()
    assert "in sync" in fresh.dvc("status", "--cloud").stdout


def test_one_member_alone(pushed, fresh):
    fresh.dvc("pull", "models/members/ja")
    expected = {n: h for n, h in contents(pushed).items() if n.startswith("models/members/ja/")}
    assert len(expected) == 3
    assert {n: h for n, h in contents(fresh).items() if ".gitignore" not in n} == expected
    assert len(in_cache(fresh)) == len(expected) + 1  # the folder's list


def test_with_the_run_cache_a_clone_without_results_computes_no_pairs_and_records(pushed, fresh):
    # DVC keeps a run of a stage only when all its outs are in the cache, none in git.
    kept = {"pair_faces", "write_records"}
    fresh.dvc("fetch", "--run-cache")
    fresh.dvc("checkout", "data.dvc", "select_faces")
    lock = yaml.safe_load(fresh.lock())
    lock["stages"] = {name: s for name, s in lock["stages"].items() if name not in kept}
    (fresh.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    result = fresh.dvc("repro", "write_records")
    assert fresh.stages_run(result.stdout) == set()
    assert all(f"Stage '{stage}' is cached" in result.stdout for stage in kept)
    made = {n: h for n, h in contents(fresh).items() if n.startswith("prepared/")}
    assert made == {n: h for n, h in contents(pushed).items() if n.startswith("prepared/")}


@pytest.mark.parametrize("damage", ["corrupted", "deleted"])
def test_a_damaged_object_gives_an_error_and_no_model_until_it_is_repaired(
    pushed, fresh, bucket, damage
):
    weights = object_of_file(pushed, bucket, "models/members/ja/tower.weights.h5")
    if damage == "deleted":
        weights.unlink()
    else:
        flipped = bytearray(weights.read_bytes())
        flipped[len(flipped) // 2] ^= 1
        weights.write_bytes(flipped)
    result = fresh.dvc("pull", "-v", "models/members/ja", check=False)
    assert result.returncode != 0
    assert not (fresh.folder / "models/members/ja").exists()
    # What the remedy of docs/sharing.md looks for.
    named = [
        line
        for line in (result.stdout + result.stderr).splitlines()
        if "corrupted cache file" in line or "failed to transfer" in line
    ]
    assert named
    assert all(weights.name in line for line in named)

    weights.unlink(missing_ok=True)
    object_of(pushed, bucket, "models/members/ja").unlink()
    pushed.dvc("push", "models/members/ja")
    fresh.dvc("pull", "models/members/ja")
    assert contents(pushed).items() >= contents(fresh).items()
    assert (fresh.folder / "models/members/ja/tower.weights.h5").is_file()


# Whether it can be read


@pytest.fixture
def member(bucket, tmp_path, monkeypatch) -> Clone:
    """A clone with a file to pull, of a member who is known to no Google account."""
    made = bucket.serve(_with_one_file(tmp_path / "first"))
    made.dvc("push", "--quiet")
    member = made.clone(tmp_path / "clone")
    (member.folder / ".venv").mkdir()
    (member.folder / ".venv/installed").touch()
    # No machine of Google's, and nobody who is logged in.
    for name, value in {"NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return member


def _with_one_file(folder: Path) -> Clone:
    made = Clone(folder)
    for name in ("Makefile", ".dvc/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "requirements.txt").touch()
    os.utime(folder / "requirements.txt", (0, 0))
    made.git("init", "--quiet", "--initial-branch", "main")
    made.name_author()
    (folder / "photo").write_text("a photo")
    made.dvc("add", "--quiet", "photo")
    made.commit("A photo")
    return made


def said(clone: Clone) -> str:
    """The one line that `make pull` ends with, before DVC asks the bucket for anything."""
    result = clone.run("make", "--silent", "pull", check=False)
    assert (result.returncode, result.stdout) == (2, "")
    line, end = result.stderr.splitlines()
    assert re.match(r"make(\[\d+\])?: \*\*\* ", end)  # a number where make runs the tests
    return line.removeprefix("bucket_access.py: error: ")


def test_make_pull_pulls_where_the_bucket_answers(member, bucket):
    bucket.serve(member)
    assert member.run("make", "--silent", "pull").stderr == ""
    assert (member.folder / "photo").read_text() == "a photo"


def test_make_pull_says_what_is_missing(member, bucket):
    log_in = (
        "log in with `gcloud auth application-default login`, or name a key file: docs/sharing.md, "
        '"Get access"'
    )
    none = "no credentials for gs://handsome-dracula: "
    assert said(member) == f"{none}there are none on this machine; {log_in}"
    member.dvc("remote", "modify", "--local", "gcs", "credentialpath", "KEY.json")
    key = member.folder / "KEY.json"
    assert said(member) == f"{none}File {key} was not found; {log_in}"
    bucket.serve(member)
    member.dvc("remote", "modify", "--local", "gcs", "endpointurl", "http://127.0.0.1:9")
    assert said(member) == (
        "gs://handsome-dracula: http://127.0.0.1:9 does not answer from here; check the network, "
        "and HTTPS_PROXY where it is set"
    )


def test_make_pull_names_a_refusal_of_the_bucket(member, bucket):
    bucket.serve(member)
    member.dvc("remote", "modify", "--local", "gcs", "url", "gs://of-another-team/models")
    assert said(member).startswith(
        "gs://of-another-team may not be read with these credentials (status 404): ask its owner"
    )


def test_a_pull_killed_half_way_continues(pushed, fresh, bucket):
    process = fresh.start("dvc", "pull", "--jobs", "1")
    while len(in_cache(fresh)) < 10:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    whole, before = in_cache(fresh), len(bucket.downloads())
    assert whole < in_cache(pushed)
    assert not (fresh.folder / "models/verifier.tflite").exists()

    fresh.dvc("pull")
    again = whole & set(bucket.downloads()[before:])
    assert not [md5 for md5 in again if not md5.endswith(".dir")]  # folders' lists are small
    assert contents(fresh) == contents(pushed)
    assert fresh.json("status", "--json") == {}
