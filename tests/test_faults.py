"""What goes wrong while a script runs: Ctrl-C, kills, full disks, folders that bear no writing."""

import functools
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import joblib
import pytest
import yaml

from helpers import ROOT
from tiny import Clone

pytestmark = pytest.mark.slow

# DVC's list of the processes that read or write each path.
RWLOCK = ".dvc/tmp/rwlock"

# A script, its arguments, and a library that it loads early.
IMPORTING = [
    ("src/select_faces.py", (), "dlib"),
    ("src/pair_faces.py", (), "pandas"),
    ("src/write_records.py", (), "libtensorflow_framework"),
    ("src/train.py", ("ja",), "libtensorflow_cc"),
    ("src/train.py", ("ja",), "h5py"),
    ("src/evaluate.py", (), "_multiarray_umath"),
    ("src/export.py", (), "libtensorflow_cc"),
    ("src/verify.py", ("a.png", "b.png"), "cv2"),
    ("src/review.py", (), "_yaml"),
    ("src/model_card.py", (), "pydantic_core"),
    ("src/audit_data.py", (), "_multiarray_umath"),
    ("src/drift.py", (), "_multiarray_umath"),
    ("src/make_sample.py", (), "cv2"),
    ("pretrain/bring_mobilefacenet.py", (), "_multiarray_umath"),
    ("pretrain/bring_edgeface.py", (), "_multiarray_umath"),
    ("pretrain/label_faces.py", (), "_multiarray_umath"),
    ("pretrain/start_weights.py", (), "cv2"),
    ("pretrain/train_brain.py", (), "libtensorflow_cc"),
    ("pretrain/train_tower.py", (), "pandas"),
]


@pytest.mark.parametrize(("script", "arguments", "library"), IMPORTING)
def test_ctrl_c_while_a_script_imports_is_one_line(script, arguments, library, tmp_path):
    with subprocess.Popen(
        [sys.executable, ROOT / script, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while library not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None, "it ended before it was stopped"
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate()
    name = Path(script).name
    assert (printed, errors) == ("", f"{name}: error: stopped; run the same command again\n")
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pause", [0.1, 0.6])
def test_ctrl_c_while_photos_are_searched_is_one_line(clone, pause, tmp_path):
    (tmp_path / "data").symlink_to(clone.folder / "data")
    shutil.copy(clone.folder / "params.yaml", tmp_path)
    process = Clone(tmp_path).start(sys.executable, str(ROOT / "src/select_faces.py"))
    wait_for_workers(process)
    time.sleep(pause)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert errors == "select_faces.py: error: stopped; run the same command again\n"
    assert process.returncode == 130
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize("name", ["write_records", "train", "evaluate", "export"])
def test_help_does_not_wait_for_tensorflow(name):
    command = [sys.executable, "-X", "importtime", ROOT / f"src/{name}.py", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert "argparse" in result.stderr
    assert "tensorflow" not in result.stderr


STAGES = ("select_faces", "pair_faces", "write_records", "train@ja", "evaluate", "export")
KILLS = 10
# What every run of the tests has. The others take long: `make faults`.
QUICK = {
    ("killed", "pair_faces", 4),
    ("killed with DVC", "pair_faces", 4),
    ("file too large", "write_records"),
    ("read-only folder", "pair_faces"),
    ("two at once", "pair_faces"),
    ("stage outlives DVC", "pair_faces"),
}


def cases(fault: str, *more) -> list:
    """A fault in each stage, with each of `more`, as parameters of a test."""
    found = itertools.product([fault], STAGES, *more)
    return [pytest.param(*c, marks=() if c in QUICK else pytest.mark.faults) for c in found]


class Workspace:
    """A clone whose pipeline has run, for a fault while one stage runs once more under DVC."""

    def __init__(self, clone: Clone, stage: str) -> None:
        self.clone, self.stage, self.lock = clone, stage, clone.lock()
        locked = yaml.safe_load(self.lock)["stages"][stage]
        self.command = locked["cmd"]
        self.script = self.command.split()[1].removeprefix("src/")
        self.outs = [clone.folder / out["path"] for out in locked["outs"]]
        self.repro = ("dvc", "repro", "--single-item", "--force", stage)
        self.forget_runs()

    def forget_runs(self) -> None:
        """Keep DVC from taking over what the stage has made before, instead of running it."""
        for run in (self.clone.folder / ".dvc/cache/runs").glob("*/*/*"):
            if yaml.safe_load(run.read_text())["cmd"] == self.command:
                run.unlink()

    def files(self) -> list[Path]:
        """The files that the stage makes."""
        return [path for out in self.outs for path in (out, *out.rglob("*")) if path.is_file()]

    def remove_outs(self) -> None:
        """Remove what the stage makes, as DVC does before it runs."""
        for out in self.outs:
            if out.is_dir():
                shutil.rmtree(out)
            else:
                out.unlink()

    def under(self, *wrapper: str) -> tuple[str, ...]:
        """What to put before `repro` to run the stage's script, but not DVC, by a command."""
        python = self.clone.folder.parent / "bin/python"
        python.parent.mkdir(exist_ok=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.join(wrapper)} {sys.executable} "$@"\n')
        python.chmod(0o755)
        path = [str(python.parent), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
        return "env", f"PATH={os.pathsep.join(path)}"

    def fails(self, *before: str) -> str:
        """Run the stage, by way of a command; it has to fail. Give what it says on stderr."""
        result = self.clone.run(*before, *self.repro, check=False)
        assert result.returncode != 0, result.stdout
        assert "Traceback" not in result.stderr, result.stderr
        return result.stderr

    def said(self, errors: str) -> str:
        """The one line in which the script says what is wrong."""
        (line,) = re.findall(rf"^{self.script}: error: (.*)$", errors, re.MULTILINE)
        return line

    def recovers(self) -> None:
        """A plain `dvc repro` brings everything back to the byte, and nothing is left over."""
        self._is_back(self.clone.dvc("repro"))

    def recovers_once_mended(self) -> str | None:
        """Like `recovers`, but what DVC was killed in writing may want a remedy first.

        DVC writes `dvc.lock` and its list of who reads and writes in place, so that a kill in that
        instant leaves a part, and a plain `dvc repro` may refuse it. Anything but a part, such as
        other hashes, is no excuse. Gives the file that had to be mended, if one had to.
        """
        result = self.clone.dvc("repro", check=False)
        if result.returncode == 0:
            self._is_back(result)
            return None
        lock, rwlock = self.clone.lock(), self.clone.folder / RWLOCK
        if lock != self.lock and self.lock.startswith(lock):
            mended = "dvc.lock"
            self.clone.git("checkout", mended)
        elif is_torn_json(rwlock):
            mended = RWLOCK
            rwlock.unlink()
        else:
            raise AssertionError(result.stderr)
        self.recovers()
        return mended

    def _is_back(self, repro: subprocess.CompletedProcess) -> None:
        self._is_as_before()
        if self.stage not in self.clone.stages_run(repro.stdout):
            # DVC had the outs in its cache; what the stage has left, its own next run removes.
            self.clone.run(*self.repro)
            self._is_as_before()
        left = self.clone.folder.rglob(".*.tmp-*")
        assert not [path for path in left if ".dvc" not in path.parts]

    def _is_as_before(self) -> None:
        assert self.clone.lock() == self.lock
        assert self.clone.git("status", "--porcelain") == ""


def is_torn_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except json.JSONDecodeError:
        return True
    return False


@pytest.fixture
def workspace(clone, tmp_path, request, record_property) -> Workspace:
    """The clone once more, for a fault that the table at the end of the tests counts."""
    fault, stage = (request.node.callspec.params[name] for name in ("fault", "stage"))
    record_property("fault", (fault, stage))
    return Workspace(clone.copy(tmp_path / "clone"), stage)


@pytest.fixture(scope="session")
def usual_time(clone, tmp_path_factory):
    """Gives the seconds that a stage takes undisturbed, under DVC or its script alone."""

    @functools.cache
    def measured(stage: str, alone: bool, cached: bool) -> float:
        undisturbed = Workspace(clone.copy(tmp_path_factory.mktemp("usual") / "clone"), stage)
        if not cached:
            shutil.rmtree(undisturbed.clone.folder / ".cache")
        started = time.monotonic()
        undisturbed.clone.run(*(undisturbed.command.split() if alone else undisturbed.repro))
        return time.monotonic() - started

    return measured


@pytest.fixture
def moments(workspace, usual_time, request) -> Iterator[float]:
    """A random moment in a tenth of a run, in seconds, then earlier ones, if that was too late."""
    fault, stage, tenth = (request.node.callspec.params[n] for n in ("fault", "stage", "tenth"))
    chance = random.Random(f"{fault} {stage} {tenth}")
    cached = chance.random() < 0.5
    if not cached:
        shutil.rmtree(workspace.clone.folder / ".cache")
    usual = usual_time(stage, fault == "killed", cached)
    moment = usual * (tenth + chance.random()) / KILLS
    return (moment * 0.8**again for again in itertools.count())


@pytest.mark.parametrize(("fault", "stage", "tenth"), cases("killed", range(KILLS)))
def test_killed(workspace, moments, fault, stage, tenth):
    for moment in moments:
        workspace.forget_runs()
        killer = workspace.under("timeout", "--signal=KILL", f"{moment:.3f}")
        result = workspace.clone.run(*killer, *workspace.repro, check=False)
        if result.returncode != 0:
            break
    # bash becomes the stage's process and shares its end; dash waits for it and gives 128 + 9.
    assert re.search(rf"failed to run: {workspace.command}, exited with (-9|137)\b", result.stderr)
    workspace.recovers()


@pytest.mark.parametrize(("fault", "stage", "tenth"), cases("killed with DVC", range(KILLS)))
def test_killed_with_dvc(workspace, moments, record_property, fault, stage, tenth):
    for moment in moments:
        workspace.forget_runs()
        process = workspace.clone.start(*workspace.repro)
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            break
    record_property("mended", workspace.recovers_once_mended())


@pytest.mark.faults
@pytest.mark.parametrize(("before", "mended"), [("sh: md5", "dvc.lock"), ("hash: md5", None)])
def test_a_torn_lock_file_is_recovered_from(clone, tmp_path, before, mended):
    workspace = Workspace(clone.copy(tmp_path / "clone"), "write_records")
    middle = len(workspace.lock) // 2
    torn = workspace.lock[: workspace.lock.index(before, middle)]
    (workspace.clone.folder / "dvc.lock").write_text(torn)
    assert workspace.recovers_once_mended() == mended


@pytest.mark.faults
def test_a_torn_list_of_readers_and_writers_is_recovered_from(clone, tmp_path):
    workspace = Workspace(clone.copy(tmp_path / "clone"), "write_records")
    (workspace.clone.folder / RWLOCK).write_text('{"write": ')
    assert workspace.recovers_once_mended() == RWLOCK


@pytest.mark.faults
def test_a_lock_file_with_other_hashes_is_not_taken_for_a_torn_one(clone, tmp_path):
    workspace = Workspace(clone.copy(tmp_path / "clone"), "write_records")
    torn = workspace.lock[: workspace.lock.index("sh: md5", len(workspace.lock) // 2)]
    (workspace.clone.folder / "dvc.lock").write_text(torn.replace("md5: ", "md5: 0", 1))
    with pytest.raises(AssertionError, match="dvc.lock"):
        workspace.recovers_once_mended()


@pytest.mark.parametrize(("fault", "stage"), cases("file too large"))
def test_a_file_that_grows_too_large(workspace, fault, stage):
    limit = max(path.stat().st_size for path in workspace.files()) * 3 // 4
    # For the stage alone: DVC's own files are larger.
    limited = workspace.under("prlimit", f"--fsize={limit}", "--")
    said = workspace.said(workspace.fails(*limited))
    assert said.endswith("File too large; make room and run the same command again")
    workspace.recovers()


@pytest.mark.parametrize(("fault", "stage"), cases("full disk"))
def test_a_full_disk(clone, tmp_path, record_property, fault, stage):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", disk], capture_output=True).returncode != 0:
        pytest.skip("a disk of its own wants a user who may mount one")
    try:
        record_property("fault", (fault, stage))
        subprocess.run(["cp", "--archive", clone.folder, disk / "clone"], check=True)
        workspace = Workspace(Clone(disk / "clone"), stage)
        made = sum(path.stat().st_size for path in workspace.files())
        workspace.remove_outs()
        used = shutil.disk_usage(disk).used
        resize(disk, used + made // 2)
        assert "No space left on device" in workspace.fails()
        resize(disk, used + 2**30)
        workspace.recovers()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def resize(disk: Path, size: int) -> None:
    """Give a mounted tmpfs another size, in bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


@pytest.mark.parametrize(("fault", "stage"), cases("read-only folder"))
def test_a_read_only_folder(workspace, fault, stage):
    # Root writes everywhere, unless it is without this power.
    bound = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
    workspace.remove_outs()
    folder = workspace.outs[0].parent
    folder.chmod(0o555)
    try:
        if subprocess.run([*bound, "test", "-w", folder], capture_output=True).returncode != 1:
            pytest.skip("this user writes into a read-only folder, too")
        said = workspace.said(workspace.fails(*bound))
    finally:
        folder.chmod(0o755)
    place = folder.relative_to(workspace.clone.folder)
    assert said.startswith(f"{place}/.")
    assert said.endswith(
        "Permission denied; see that you may read and write there, then run the same command again"
    )
    workspace.recovers()


@pytest.mark.parametrize(("fault", "stage"), cases("two at once"))
def test_two_at_once(workspace, fault, stage):
    first = workspace.clone.start(*workspace.repro)
    while not first.stdout.readline().startswith("Running stage"):
        assert first.poll() is None, first.stderr.read()
    os.killpg(first.pid, signal.SIGSTOP)  # until the second has been answered
    second = workspace.clone.dvc("repro", check=False)
    os.killpg(first.pid, signal.SIGCONT)
    first.communicate()
    assert second.returncode != 0
    assert re.search(rf"is busy, it is being blocked by:\s+\(PID {first.pid}\)", second.stderr)
    assert first.returncode == 0
    workspace.recovers()


@pytest.mark.parametrize(("fault", "stage"), cases("stage outlives DVC"))
def test_a_stage_outlives_dvc(workspace, fault, stage):
    lock = workspace.clone.folder / f".cache/{stage.replace('@', '-')}.lock"
    held = False
    while not held:  # a quick stage may have ended before it is stopped
        workspace.forget_runs()
        lock.unlink()
        first = workspace.clone.start(*workspace.repro)
        while not lock.is_file() or not lock.read_text():
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.002)
        os.killpg(first.pid, signal.SIGSTOP)  # until the second has been answered
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        held = is_held(lock)
    second = workspace.clone.run(*workspace.repro, check=False)
    os.killpg(first.pid, signal.SIGCONT)
    first.communicate()  # until the stage has ended, too
    assert second.returncode != 0
    assert workspace.said(second.stderr) == (
        f"process {int(lock.read_text())} still does this here (it holds .cache/{lock.name}): "
        "let it end, or end it with `kill`, then run the same command again"
    )
    workspace.recovers()


def is_held(lock: Path) -> bool:
    try:
        with filelock.FileLock(lock, blocking=False):
            return False
    except filelock.Timeout:
        return True


@pytest.mark.parametrize(("fault", "stage"), [("photo vanishes", "select_faces")])
def test_a_photo_vanishes(workspace, fault, stage):
    folder = workspace.clone.folder / "data/img_align_celeba"
    photo = max(folder.iterdir())
    content = photo.read_bytes()
    process = workspace.clone.start(*workspace.repro)
    wait_for_workers(process)
    photo.unlink()
    _, errors = process.communicate()
    assert process.returncode != 0
    vanished = f"data/img_align_celeba/{photo.name} vanished; put it back and run this again"
    assert workspace.said(errors) == vanished
    photo.write_bytes(content)
    workspace.recovers()


def wait_for_workers(process: subprocess.Popen) -> None:
    """Wait until all processes have started in which a stage searches for faces."""
    listed = ["ps", "-o", "args=", "-g", str(process.pid)]
    started = 0
    while started < joblib.cpu_count():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
        started = subprocess.run(listed, capture_output=True, text=True).stdout.count("popen_loky")
