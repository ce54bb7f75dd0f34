"""What goes wrong while a script runs: Ctrl-C, kills, full disks, folders that bear no writing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import ROOT

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
    ("src/make_sample.py", (), "cv2"),
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


@pytest.mark.parametrize("name", ["write_records", "train", "evaluate", "export"])
def test_help_does_not_wait_for_tensorflow(name):
    command = [sys.executable, "-X", "importtime", ROOT / f"src/{name}.py", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert "argparse" in result.stderr
    assert "tensorflow" not in result.stderr
