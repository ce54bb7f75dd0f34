"""An exported verifier in a folder, as an app has it."""

import hashlib
import json
import shutil
from pathlib import Path

import keras
import yaml

from faceverify.base import digests
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model import litert, network, store
from faceverify.verify.face_networks import paths
from faceverify.verify.verifier_file import FORMAT, Alignment
from helpers import PREDICTOR, ROOT

WEIGHTS = {"ja": 0.75, "mar": 0.25}


def make_app(folder: Path, sample: Path) -> Path:
    """Export two untrained towers on the shipped brain, in `models/` as in the repository."""
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    kind = shipped["model"]
    cut = {name: kind[name] for name in ("brain", "brain_layer", "brain_view")}
    weights = kind["brain_weights"] and str(ROOT / kind["brain_weights"])
    brain = network.build_brain(*cut.values(), weights, seed=1)
    brain.trainable = False
    sizes = network.Tower(8, [16, 12], [10, 8], dropout=0.0, l2=0.0)
    members = {}
    for seed, name in enumerate(WEIGHTS):
        tower = network.build_tower(brain.output_shape[1:], sizes, seed)
        described = cut | {"brain_trainable": False} | sizes._asdict()
        members[name] = store.TrainedModel(brain, tower, described)
    exported = litert.convert(list(members.values()), list(WEIGHTS.values()))
    (folder / "models").mkdir(parents=True)
    (folder / "data").mkdir()
    shutil.copy(sample / PREDICTOR, folder / "data")  # for what is judged beside it
    networks = paths(ROOT / "pretrained")
    for file in networks:
        shutil.copy(file, folder / "models")
    (folder / "models/verifier.tflite").write_bytes(exported)
    description = describe(exported, networks, shipped["capture"])
    (folder / "models/verifier.json").write_text(json.dumps(description))
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
        "input": {
            "aligned_width": 178, "aligned_height": 218, "canvas_width": 218,
            "canvas_height": 218, "channels": "RGB", "type": "uint8",
            "alignment": dict(zip(Alignment.model_fields, CANONICAL_POINTS.tolist(), strict=True)),
        },
        "threshold": 0.6,
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
