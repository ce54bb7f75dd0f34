"""Stage 5: the ensemble as one LiteRT file, with what an app must know of it beside it."""

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

import numpy as np
from tqdm import tqdm

from faceverify.base import digests, files
from faceverify.evaluation.judged_photos import Photos, load_pairs, member_outputs
from faceverify.evaluation.verification import VerificationPairs, thetas
from faceverify.faces import aligned_photos
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model import features, litert, store
from faceverify.runs import lock, parameters, script
from faceverify.verify.verifier_file import FORMAT, Alignment, Network

DATA, MODELS, CACHE, METRICS = Path("data"), Path("models"), Path(".cache"), Path("metrics")
MODEL, DESCRIPTION = MODELS / "verifier.tflite", MODELS / "verifier.json"
# How far, in radians, float16 weights may move theta: less than a hundredth of accept_threshold,
# so that the app decides as the measured models do, save for pairs this near to it.
PARITY_LIMIT = 5e-3
ENSEMBLE = "ensemble"
LICENCES = [
    "CelebA, whose photos the model or its brain is trained on, is for non-commercial research "
    "and may not be redistributed; the model carries the same limits.",
    "The landmark model was trained on the iBUG 300-W data, whose licence excludes commercial use.",
]


def main() -> None:
    """Export the ensemble, measure it against the models that it was made of, write it."""
    settings = parameters.load(Path("params.yaml"))
    lock.claim("export")
    judged, pairs = load_pairs(settings.evaluate.genuine_per_identity, settings.seed)
    earned = read_metrics()
    members = {name: store.load(MODELS / name) for name in settings.members}
    weights = [settings.ensemble[name] for name in members]
    exported = litert.convert(list(members.values()), weights)

    expected = member_thetas(members, judged, pairs["val"])
    found = exported_thetas(Network(exported), list(members), judged, pairs["val"])
    expected[ENSEMBLE] = sum(w * expected[name] for name, w in settings.ensemble.items())
    parity = compared(expected, found, settings.accept_threshold)
    description = describe(exported, members, settings) | {"metrics": earned, "parity": parity}
    with files.replacing(MODEL) as temporary:
        temporary.write_bytes(exported)
    files.write_json(DESCRIPTION, description, indent=2)
    files.write_json(METRICS / "export.json", parity | {"bytes": len(exported)}, indent=2)
    print(
        f"{MODEL}: {len(exported) / 1e6:.1f} MB; theta of {parity['pairs']:,} pairs within "
        f"{max(parity['max_delta_theta'].values()):.6f} radians of the float32 models"
    )


def read_metrics() -> dict[str, float | None]:
    """The ensemble's figures, as `evaluate` has measured them."""
    path = METRICS / "summary.json"
    summary = files.read_json(path)
    figures = summary.get(ENSEMBLE) if isinstance(summary, dict) else None
    if not isinstance(figures, dict) or not all(map(is_figure, figures.values())):
        raise errors.MadeFileError(f"{path} has no figures of the ensemble")
    return figures


def is_figure(value: object) -> bool:
    """Whether a value is a rate, or nothing where it is undefined."""
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)


def member_thetas(
    members: dict[str, store.TrainedModel], judged: Photos, pairs: VerificationPairs
) -> dict[str, np.ndarray]:
    """theta of the pairs by member, as the float32 models have it."""
    return {
        name: thetas(member_outputs(member, judged, CACHE)[0], pairs.photos)
        for name, member in members.items()
    }


def exported_thetas(
    network: Network, names: list[str], judged: Photos, pairs: VerificationPairs
) -> dict[str, np.ndarray]:
    """theta of the pairs by member, and the ensemble's, as the exported file has it."""
    rows, places = np.unique(pairs.photos, return_inverse=True)
    embeddings = np.empty((len(rows), network.units), np.float32)
    size = features.BATCH_SIZE
    for start in tqdm(range(0, len(rows), size), "Running the export", unit="batch", disable=None):
        part = slice(start, start + size)
        batch = [judged.names[row] for row in rows[part]]
        canvases = features.canvases([judged.read(name) for name in batch], batch)
        embeddings[part] = network.embed(canvases)
    first, second = places.reshape(pairs.photos.shape).T
    theta, by_member = network.compare(embeddings[first], embeddings[second])
    return dict(zip(names, by_member.T, strict=True)) | {ENSEMBLE: theta}


def compared(
    expected: dict[str, np.ndarray], found: dict[str, np.ndarray], threshold: float
) -> dict[str, Any]:
    """How far the exported file's theta is from the models'; InputError when it is too far."""
    far = {name: np.abs(expected[name] - found[name]).max(initial=0) for name in expected}
    for name, delta in far.items():
        if not delta <= PARITY_LIMIT:  # NaN too
            raise errors.InputError(
                f"theta of {name} is up to {delta:.6f} radians off in the exported file, more "
                f"than {PARITY_LIMIT:g}; the members' weights do not bear float16"
            )
    changed = (expected[ENSEMBLE] < threshold) != (found[ENSEMBLE] < threshold)
    outside = changed & (np.abs(expected[ENSEMBLE] - threshold) > PARITY_LIMIT)
    return {
        "pairs": len(changed),
        "limit": PARITY_LIMIT,
        "max_delta_theta": {name: round(float(delta), 6) for name, delta in far.items()},
        "changed_decisions": int(changed.sum()),
        "changed_outside": int(outside.sum()),
    }


def describe(
    exported: bytes, members: dict[str, store.TrainedModel], settings: parameters.Parameters
) -> dict[str, Any]:
    """What `verifier.json` says, but for the figures; see `verifier_file.Description`."""
    landmark_model = DATA / settings.select.landmark_model
    inputs = [path for name in members for path in files.folder_files(MODELS / name)]
    return {
        "format": FORMAT,
        "model": {
            "file": MODEL.name,
            "sha256": hashlib.sha256(exported).hexdigest(),
            "bytes": len(exported),
        },
        "landmark_model": {
            "file": landmark_model.name,
            "sha256": digests.digest(landmark_model),
            "bytes": landmark_model.stat().st_size,
        },
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
                "tail": member.description["tail_units"][1],
            }
            for name, member in members.items()
        ],
        "capture": settings.capture.model_dump(),
        "licences": LICENCES,
        "inputs": {path.as_posix(): digests.digest(path) for path in inputs},
    }


if __name__ == "__main__":
    script.run(main)
