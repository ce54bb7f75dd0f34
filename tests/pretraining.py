"""The recipe of pretrain/ made tiny, and its scripts as people run them."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

import recipe
from faceverify.model.network import Tower

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = ROOT / "pretrain"
SCRIPTS = (
    "bring_mobilefacenet",
    "bring_edgeface",
    "label_faces",
    "start_weights",
    "train_brain",
    "train_tower",
    "train_edgeface",
    "fit_tower",
    "fit_tail",
    "fit_quality",
    "state_thresholds",
)
SHIPPED = yaml.safe_load((PRETRAIN / "params.yaml").read_text())
SMALLEST = 91  # side of the smallest view whose features are large enough for the head
PEOPLE, PHOTOS_EACH, UNSEEN = 5, 4, 2
TINY = SHIPPED | {
    "sets": ["tiny"],
    "start": False,
    "view": SMALLEST,
    "epochs": 2,
    "batch_size": 4,
    "precision": "float32",
    "tower": SHIPPED["tower"] | {"views": 2, "epochs": 2, "batch_size": 4, "near": 3},
}
MEMBER = "rai"  # whose tower is trained here
FITTED = "ja"  # whose tower is fitted here


def settings(**changes):
    return recipe.Recipe.model_validate(SHIPPED | changes)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def command_line(name):
    """The arguments of a script in dvc.yaml."""
    members = {"train_tower": [MEMBER], "fit_tower": [FITTED], "fit_tail": [FITTED]}
    return [f"{name}.py", *members.get(name, [])]


def shape_of(member):
    """The sizes of the tower that a member's weights are for."""
    trained = SHIPPED["members"].get(member)
    described = trained or SHIPPED["fitted"][member]
    sizes = (described[key] for key in ("head_filters", "neck_units", "tail_units"))
    return Tower(*sizes, 0.0, 0.0, "landmarks" if trained else "brain")


def make_project(folder, **changes):
    """The recipe with other parameters, and no data."""
    folder.mkdir(exist_ok=True)
    for path in (*PRETRAIN.glob("*.py"), PRETRAIN / "dvc.yaml", PRETRAIN / "held_out.txt"):
        shutil.copy(path, folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(TINY | changes))
    (folder / "data").mkdir()
    return folder


def command(name, folder):
    """How dvc.yaml runs a script, for `subprocess`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return {
        "args": [sys.executable, *command_line(name)],
        "cwd": folder,
        "env": environment,
        "text": True,
    }


def run(name, folder):
    return subprocess.run(**command(name, folder), capture_output=True)


def printed(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def kill_and_go_on(script, folder, made, output):
    """Kill a training after its first epoch and run it again; `output` is an undisturbed one's."""
    with subprocess.Popen(
        **command(script, folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        first = next(line for line in process.stdout if line.startswith("epoch 1/2"))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert first in output
    assert not made.exists()
    lines = printed(run(script, folder)).splitlines()
    assert "going on after epoch 1" in lines
    assert lines[-2:] == output.splitlines()[-2:]
