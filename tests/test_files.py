"""Files and folders replaced whole or not at all, wherever the process dies."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faceverify.base import digests, files
from faceverify.base.errors import InputError
from helpers import ROOT

# Replaces a folder or a file, and is killed at its n-th operation, as Python's audit hooks see it.
WRITER = """
import os, signal, sys
from pathlib import Path
from faceverify.base import files

path, text, operations = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def count(event, arguments):
    global operations
    operations -= 1
    if operations == 0:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
with files.replacing(path) as temporary:
    if path.suffix:
        temporary.write_text(text)
    else:
        temporary.mkdir()
        (temporary / "first").write_text(text)
        (temporary / "second").write_text(text)
    if text == "refused":
        sys.exit(2)
"""


def write(path: Path, text: str, operations: int = 0) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WRITER, str(path), text, str(operations)]
    return subprocess.run(command, env=environment).returncode


def content(path: Path) -> str | None:
    """The text that the file, or both files of the folder, hold; None where there is none."""
    if not path.exists():
        return None
    if path.is_file():
        return path.read_text()
    first, second = (path / name for name in ("first", "second"))
    assert first.read_text() == second.read_text()
    return first.read_text()


@pytest.mark.parametrize("name", ["folder", "file.txt"])
def test_wherever_the_process_is_killed_the_old_or_the_new_is_there(tmp_path, name):
    moved_aside = 0
    for operations in itertools.count(1):
        path = tmp_path / str(operations) / name
        assert write(path, "old") == 0
        code = write(path, "new", operations)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        found = content(path)
        if found is None:
            moved_aside += 1
            (aside,) = path.parent.glob(".folder.tmp-*-old")
            assert content(aside) == "old"
        else:
            assert found in ("old", "new")
        # The next run, though it writes nothing, leaves what was there and nothing else.
        assert write(path, "refused") == 2
        assert content(path) == (found or "old")
        assert list(path.parent.iterdir()) == [path]
    assert operations > 5
    assert moved_aside == (1 if name == "folder" else 0)


def test_what_a_running_process_writes_stays(tmp_path):
    with files.replacing(tmp_path / "made.csv") as temporary:
        temporary.write_text("half")
        assert write(tmp_path / "made.csv", "whole") == 0
        assert temporary.read_text() == "half"
    assert (tmp_path / "made.csv").read_text() == "half"


def test_what_is_no_temporary_stays(tmp_path):
    kept = [".scores.tmp-progress", ".scores.tmp-elsewhere-1", ".scores.tmp-elsewhere-1.csv"]
    for name in kept:
        (tmp_path / name).write_text("kept")
    for name in ("scores", "scores.csv"):
        files.write_json(tmp_path / name, 1)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "scores", "scores.csv"}


# A file that tells whether it is whole


@pytest.mark.parametrize("content", [b"", b"x" * 100_000])
def test_a_sealed_file_is_whole_until_a_bit_of_it_changes(tmp_path, content):
    path = tmp_path / "some.npz"
    assert not digests.is_whole(path)
    path.write_bytes(content)
    assert not digests.is_whole(path)
    digests.seal(path)
    assert digests.is_whole(path)
    sealed = path.read_bytes()
    assert sealed.startswith(content)
    assert len(sealed) == len(content) + 32
    changes = [sealed[:-1], sealed + b"\0", bytes([sealed[0] ^ 1]) + sealed[1:]]
    for changed in changes:
        path.write_bytes(changed)
        assert not digests.is_whole(path)


def test_content_is_that_of_a_regular_file_of_limited_size(tmp_path):
    (tmp_path / "small").write_bytes(b"12345")
    assert files.content(tmp_path / "small", 5) == b"12345"
    with pytest.raises(InputError, match="small is larger than"):
        files.content(tmp_path / "small", 4)
    with pytest.raises(FileNotFoundError):
        files.content(tmp_path / "missing", 5)


@pytest.mark.parametrize("name", ["pipe", "endless", "folder"])
def test_content_is_not_looked_for_in_what_is_no_regular_file(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{name} is no regular file"):
        files.content(tmp_path / name, 5)


def test_links_in_a_circle_are_an_error_of_the_system(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        files.content(files.path_inside(tmp_path, "a"), 5)


def test_json_of_a_device_is_refused(tmp_path):
    path = tmp_path / "paired.json"
    path.symlink_to("/dev/null")  # one that ends, unlike /dev/zero or a pipe
    with pytest.raises(InputError) as caught:
        files.read_json(path)
    assert str(caught.value) == f"{path} is no regular file"
