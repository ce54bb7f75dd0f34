"""An exported verifier in a folder, as an app has it."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import keras
import yaml

from faceverify.base import digests
from faceverify.model import litert, network, quality, store
from faceverify.verify import bundle
from faceverify.verify.face_networks import paths
from faceverify.verify.verifier_file import FORMAT
from helpers import PREDICTOR, ROOT

WEIGHTS = {"ja": 0.75, "mar": 0.25}


def make_app(folder: Path, sample: Path, brain: dict[str, Any] | None = None) -> Path:
    """Export two untrained towers on a brain, in `models/` as in the repository.

    `brain` has the parameters of one, as `model` of params.yaml; without it, it is the shipped one.
    """
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    kind = brain or shipped["model"]
    cut = {name: kind[name] for name in ("brain", "brain_layer", "brain_view")}
    weights = kind["brain_weights"] and str(ROOT / kind["brain_weights"])
    built = network.build_brain(*cut.values(), weights, seed=1)
    built.trainable = False
    sizes = network.Tower(8, [16, 12], [10, 8], dropout=0.0, l2=0.0)
    members = {}
    for seed, name in enumerate(WEIGHTS):
        tower = network.build_tower(built.output_shape[1:], sizes, seed)
        described = cut | {"brain_trainable": False} | sizes._asdict()
        members[name] = store.TrainedModel(built, tower, described)
    believing = quality.load(ROOT / quality.WEIGHTS)
    exported = litert.convert(list(members.values()), list(WEIGHTS.values()), believing)
    (folder / "models").mkdir(parents=True)
    (folder / "data").mkdir()
    shutil.copy(sample / PREDICTOR, folder / "data")  # for what is judged beside it
    networks = paths(ROOT / "data")
    description = describe(exported, networks, shipped["capture"])
    photos = {path.name: path.read_bytes() for path in (ROOT / "src/sample/vectors").iterdir()}
    photos = dict(sorted(photos.items()))
    found_by = tuple(path.read_bytes() for path in networks)
    bundle.write(folder / "models", description, exported, found_by, photos)
    keras.utils.clear_session(free_memory=False)
    return folder


def named(file: Path) -> dict:
    """A file as a `verifier.json` names it."""
    return {"file": file.name, "sha256": digests.digest(file), "bytes": file.stat().st_size}


def describe(exported: bytes, networks: tuple[Path, Path], limits: dict) -> dict:
    """A `verifier.json` of an export that was not measured."""
    digest = hashlib.sha256(exported).hexdigest()
    return {
        "format": FORMAT,
        "model": {"file": "verifier.tflite", "sha256": digest, "bytes": len(exported)},
        "finder": named(networks[0]),
        "mesh": named(networks[1]),
        "input": bundle.input_values(),
        "threshold": 0.6,
        "calibration": {"kind": "shipped", "constants": dict.fromkeys(WEIGHTS), "thresholds": []},
        "members": [{"name": n, "weight": w, "tail": 8} for n, w in WEIGHTS.items()],
        "capture": limits,
        "metrics": {},
        "parity": {
            "pairs": 0, "limit": 0.005, "max_delta_theta": {},
            "changed_decisions": 0, "changed_outside": 0,
        },
        "inputs": {},
        "licences": [],
    }  # fmt: skip
