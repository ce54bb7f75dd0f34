"""Parity of the exported verifier: how far its theta is from that of the float32 models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from faceverify.base.errors import InputError
from faceverify.evaluation.judged_photos import JudgedPhotos, member_outputs
from faceverify.evaluation.summary import ENSEMBLE
from faceverify.evaluation.verification import VerificationPairs, thetas
from faceverify.model import features
from faceverify.model.store import TrainedModel
from faceverify.verify.verifier_file import Network

# How far, in radians, float16 weights may move theta: less than a hundredth of accept_threshold,
# so that the app decides as the measured models do, save for pairs this near to it.
PARITY_LIMIT = 5e-3


def member_thetas(
    trained: Mapping[str, TrainedModel], judged: JudgedPhotos, pairs: VerificationPairs, cache: Path
) -> dict[str, np.ndarray]:
    """Member -> theta (P,) of the pairs by its float32 model."""
    return {
        name: thetas(member_outputs(member, judged, cache)[0], pairs.photos)
        for name, member in trained.items()
    }


def exported_thetas(
    network: Network, members: Sequence[str], judged: JudgedPhotos, pairs: VerificationPairs
) -> dict[str, np.ndarray]:
    """Member, and ENSEMBLE -> theta (P,) of the pairs by the exported file.

    `members` are the names of the file's members, in their order.
    """
    rows, places = np.unique(pairs.photos, return_inverse=True)
    embeddings = np.empty((len(rows), network.units), np.float32)
    size = features.BATCH_SIZE
    for start in tqdm(range(0, len(rows), size), "Running the export", unit="batch", disable=None):
        part = slice(start, start + size)
        batch = [judged.names[row] for row in rows[part]]
        canvases = features.canvases([judged.read(name) for name in batch], batch)
        embeddings[part], _ = network.embed(canvases)
    first, second = places.reshape(pairs.photos.shape).T
    theta, by_member = network.compare(embeddings[first], embeddings[second])
    return dict(zip(members, by_member.T, strict=True)) | {ENSEMBLE: theta}


def parity_report(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], threshold: float
) -> dict[str, Any]:
    """How far theta by the exported file, `found`, is from that by the models, `expected`.

    Both are thetas (P,) by member and of ENSEMBLE; `threshold` decides. The keys are those of
    `verify.verifier_file.Parity`. Raises InputError where a theta is off by more than PARITY_LIMIT.
    """
    largest = {name: np.abs(expected[name] - found[name]).max(initial=0) for name in expected}
    for name, delta in largest.items():
        if not delta <= PARITY_LIMIT:  # NaN too
            raise InputError(
                f"theta of {name} is up to {delta:.6f} radians off in the exported file, more "
                f"than {PARITY_LIMIT:g}; the members' weights do not bear float16"
            )
    changed = (expected[ENSEMBLE] < threshold) != (found[ENSEMBLE] < threshold)
    outside = changed & (np.abs(expected[ENSEMBLE] - threshold) > PARITY_LIMIT)
    return {
        "pairs": len(changed),
        "limit": PARITY_LIMIT,
        "max_delta_theta": {name: round(float(delta), 6) for name, delta in largest.items()},
        "changed_decisions": int(changed.sum()),
        "changed_outside": int(outside.sum()),
    }
