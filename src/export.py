"""Stage 5: the ensemble as one LiteRT file, beside it a JSON file with what an app must know."""

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
from faceverify.evaluation.judged_photos import load_pairs
from faceverify.evaluation.parity import exported_thetas, member_thetas, parity_report
from faceverify.evaluation.summary import ENSEMBLE
from faceverify.faces import aligned_photos
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model import litert, store
from faceverify.runs import lock, members, parameters, script
from faceverify.verify import face_networks
from faceverify.verify.verifier_file import FORMAT, Alignment, Network

PREPARED, MODELS = Path("prepared"), Path("models")
CACHE, METRICS = Path(".cache"), Path("metrics")
MODEL, DESCRIPTION = MODELS / "verifier.tflite", MODELS / "verifier.json"
NETWORKS = face_networks.paths(Path("pretrained"))  # which find a face
LICENCES = [
    "CelebA, whose photos the model or its brain is trained on, is for non-commercial research "
    "and may not be redistributed; the model carries the same limits.",
    "A MobileFaceNet brain's weights are published under the MIT licence; they were trained on "
    "MS-Celeb-1M, which its makers have withdrawn. The tail behind it was fitted on photo sets for "
    "non-commercial research.",
    "The members' landmarks are those of dlib's model, which was trained on the iBUG 300-W data, "
    "whose licence excludes commercial use.",
    "The face finder and the face mesh are MediaPipe's, by Google, under the Apache License 2.0.",
]


def main() -> None:
    """Convert the ensemble, check its theta against that of its models, and write both files."""
    settings = parameters.load(Path("params.yaml"))
    lock.claim("export")
    for network in NETWORKS:
        digests.check_checksum(network)
    judged, pairs = load_pairs(PREPARED, settings.evaluate.genuine_per_identity, settings.seed)
    figures = read_metrics()
    trained = {
        name: store.load(members.MODELS / name)
        for name, weight in settings.ensemble_weights.items()
        if weight
    }
    weights = [settings.ensemble[name] for name in trained]
    exported = litert.convert(list(trained.values()), weights)

    expected = member_thetas(trained, judged, pairs["val"], CACHE)
    found = exported_thetas(Network(exported), list(trained), judged, pairs["val"])
    expected[ENSEMBLE] = sum(settings.ensemble[name] * theta for name, theta in expected.items())
    parity = parity_report(expected, found, settings.accept_threshold)
    description = describe(exported, trained, settings) | {"metrics": figures, "parity": parity}
    for network in NETWORKS:
        with files.replacing(MODELS / network.name) as temporary:
            temporary.write_bytes(network.read_bytes())
    with files.replacing(MODEL) as temporary:
        temporary.write_bytes(exported)
    files.write_json(DESCRIPTION, description, indent=2)
    files.write_json(METRICS / "export.json", parity | {"bytes": len(exported)}, indent=2)
    print(
        f"{MODEL}: {len(exported) / 1e6:.1f} MB; theta of {parity['pairs']:,} pairs within "
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


def is_figure(value: object) -> bool:
    """Whether a value is a number in [0, 1], or None for an undefined figure."""
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)


def named(file: Path) -> dict[str, Any]:
    """A file's name, SHA-256 and size; see `verifier_file.NamedFile`."""
    return {"file": file.name, "sha256": digests.digest(file), "bytes": file.stat().st_size}


def describe(
    exported: bytes, trained: dict[str, store.TrainedModel], settings: parameters.Parameters
) -> dict[str, Any]:
    """`verifier.json` without `metrics` and `parity`; see `verifier_file.VerifierDescription`."""
    finder, mesh = map(named, NETWORKS)
    inputs = [path for name in trained for path in files.folder_files(members.MODELS / name)]
    return {
        "format": FORMAT,
        "model": {
            "file": MODEL.name,
            "sha256": hashlib.sha256(exported).hexdigest(),
            "bytes": len(exported),
        },
        "finder": finder,
        "mesh": mesh,
        "input": {
            "aligned_width": aligned_photos.PHOTO_WIDTH,
            "aligned_height": aligned_photos.PHOTO_HEIGHT,
            "canvas_width": aligned_photos.CANVAS_SIZE,
            "canvas_height": aligned_photos.CANVAS_SIZE,
            "channels": "RGB",
            "type": "uint8",
            "alignment": dict(zip(Alignment.model_fields, CANONICAL_POINTS.tolist(), strict=True)),
        },
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
