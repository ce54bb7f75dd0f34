"""What several test files share: parameter files, small data folders, stage scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from faceverify.faces.aligned_photos import decode_aligned, to_canvas

ROOT = Path(__file__).resolve().parents[1]
PREDICTOR = "shape_predictor_68_face_landmarks.dat"


def write_parameters(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """The shipped params.yaml with other values at some dotted keys; `...` takes a key out."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for part in ("brain_weights", "tower_weights"):
        values["model"][part] = None  # a file of pretrained/ is not in this folder
        for overrides in values["members"].values():
            overrides.pop(part, None)
    for key, value in (changes or {}).items():
        *groups, last = key.split(".")
        place = values
        for group in groups:
            place = place[group]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def sample_photos(sample: Path, people: int, photos: int) -> dict[int, list[str]]:
    """Person -> the first photo names, of the first people of the sample."""
    found: dict[int, list[str]] = {}
    for line in (sample / "identity_CelebA.txt").read_text().splitlines():
        name, person = line.split()
        found.setdefault(int(person), []).append(name)
    return {person: found[person][:photos] for person in sorted(found)[:people]}


def sample_canvases(sample: Path, people: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Those photos as canvases, uint8 (people x photos, 218, 218, 3), and whose each is."""
    chosen = sample_photos(sample, people, photos)
    paths = [sample / "img_align_celeba" / name for names in chosen.values() for name in names]
    canvases = np.stack([to_canvas(decode_aligned(path.read_bytes())) for path in paths])
    return canvases, np.repeat(list(chosen), photos)


def encode(suffix: str, photo: np.ndarray, *options: int) -> bytes:
    """A photo, uint8 RGB (height, width, 3) or grey (height, width), as the bytes of a file."""
    if photo.ndim == 3:
        photo = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, photo, options)[1].tobytes()


def run_script(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run a script of src/ in a folder, as a user does."""
    return subprocess.run(
        [sys.executable, str(ROOT / "src" / name), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def spoil_json(path: Path, keys: list[str], value: object = "abc") -> None:
    """Put another value in the place of one that is there."""
    values = place = json.loads(path.read_text())
    *groups, last = keys
    for key in groups:
        place = place[key]
    assert last in place
    place[last] = value
    path.write_text(json.dumps(values))


def error_line(result: subprocess.CompletedProcess) -> str:
    """The one line that a user's mistake ends with."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]
