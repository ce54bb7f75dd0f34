"""A small clone of the repository in which the whole pipeline runs in about a minute."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = {"ja", "mar", "alip", "rai"}
TRAINING = {f"train@{name}" for name in MEMBERS}
STAGES = {"select_faces", "pair_faces", "write_records", "evaluate", "export"} | TRAINING
PEOPLE, PHOTOS_EACH = 12, 4
# What makes it small; all else is params.yaml as shipped.
SMALL = {
    "epochs": "epochs: 2",
    "lr": "lr: 1e-3",  # from random weights, unlike the shipped settings
    "faces_per_identity": "faces_per_identity: 4",
    "batch_size": "batch_size: 4",
    "pairs_per_identity": "pairs_per_identity: 6",
    "brain": "brain: MobileNetV2",
    "brain_layer": "brain_layer: block_6_expand_relu",
    "brain_view": "brain_view: 218",
    "brain_weights": "brain_weights: null",
    "tower_weights": "tower_weights: null",
    "tail_reads": "tail_reads: landmarks",  # so that every setting moves the angles
    "resamples": "resamples: 100",
}


class Clone:
    """A git and DVC repository in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, folder: Path) -> "Clone":
        """The same clone once more, with its data, models and caches, free to be changed."""
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=_share_read_only)
        return Clone(folder)

    def clone(self, folder: Path) -> "Clone":
        """A fresh `git clone` of it, as another member has: no data, no models, no cache."""
        self.git("clone", "--quiet", str(self.folder), str(folder))
        made = Clone(folder)
        made.name_author()
        return made

    def name_author(self) -> None:
        """Tell git who commits here."""
        self.git("config", "user.name", "Tester")
        self.git("config", "user.email", "tester@example.com")

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run a command as a user with the virtual environment activated would."""
        process = self.start(*command)
        stdout, stderr = process.communicate()
        result = subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
        if check and result.returncode != 0:
            raise AssertionError(f"{command} failed:\n{stdout}\n{stderr}")
        return result

    def start(self, *command: str) -> subprocess.Popen:
        """Like `run`, without waiting; the process leads a group, to be signalled as a whole."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
        environment.pop("PYTHONPATH", None)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run a DVC command."""
        return self.run("dvc", *arguments, check=check)

    def git(self, *arguments: str) -> str:
        """Run a git command and give what it printed."""
        return self.run("git", *arguments).stdout

    def json(self, *arguments: str) -> dict:
        """What a DVC command prints as JSON."""
        return json.loads(self.dvc(*arguments).stdout)

    def stages_run(self, output: str) -> set[str]:
        """The stages that a `dvc repro` or `dvc exp run` ran, by its output."""
        return set(re.findall(r"Running stage '([^']+)'", output))

    def lock(self) -> str:
        """The text of dvc.lock."""
        return (self.folder / "dvc.lock").read_text()


def make_clone(folder: Path, sample: Path) -> Clone:
    """Copy the repository's files as they are now, with a few people of the sample as data."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if name in ("data.dvc", "dvc.lock") or name.startswith(("metrics/", "plots/training/")):
            continue
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    text = (folder / "params.yaml").read_text()
    # A member's own brain, tail, weights or step: all take the shared ones, which are small.
    own = r"^    (brain\w*|tail_reads|tower_weights|lr): .*\n"
    text = re.sub(own, "", text, flags=re.MULTILINE)
    for key, line in SMALL.items():
        text, count = re.subn(rf"^(\s*){key}: .*$", rf"\g<1>{line}", text, flags=re.MULTILINE)
        assert count == 1, key
    (folder / "params.yaml").write_text(text)
    copy_people(sample, folder / "data")
    clone = Clone(folder)
    clone.git("init", "--quiet", "--initial-branch", "main")
    clone.name_author()
    clone.dvc("config", "cache.type", "hardlink,copy")
    clone.dvc("add", "--quiet", "data")
    clone.commit("A small copy")
    return clone


def _share_read_only(source: str, target: str) -> None:
    # Read-only are git's objects and DVC's, and what is linked to them: nobody writes into those.
    if Path(source).stat().st_mode & stat.S_IWUSR:
        shutil.copy2(source, target)
    else:
        os.link(source, target)


def copy_people(sample: Path, data: Path) -> None:
    """The first photos of some people of the sample, in CelebA's layout, with the networks."""
    identities = (sample / "identity_CelebA.txt").read_text().splitlines()
    _count, header, *marks = (sample / "list_attr_celeba.txt").read_text().splitlines()
    mark_of = {line.split()[0]: line for line in marks}
    kept: dict[str, list[str]] = {}
    for line in identities:
        name, person = line.split()
        kept.setdefault(person, []).append(name)
    chosen = [n for p in list(kept)[:PEOPLE] for n in kept[p][:PHOTOS_EACH]]
    (data / "img_align_celeba").mkdir(parents=True)
    for name in chosen:
        shutil.copy(sample / "img_align_celeba" / name, data / "img_align_celeba" / name)
    lines = [line for line in identities if line.split()[0] in chosen]
    (data / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    rows = [mark_of[name] for name in chosen]
    (data / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), header, *rows]) + "\n")
    for model in (*sample.glob("*.dat"), *sample.glob("*.tflite")):
        shutil.copy(model, data / model.name)
