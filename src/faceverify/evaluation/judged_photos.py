"""What is judged: the photos of both splits, their pairs, and what a member says of each photo."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.data import tables
from faceverify.evaluation import verification
from faceverify.faces import aligned_photos
from faceverify.model import features, network, store

PREPARED = Path("prepared")
SPLITS = ("train", "val")


class Photos(NamedTuple):
    """The photos that are judged: their file names, people, sources and true landmarks."""

    names: list[str]
    identities: np.ndarray  # (n,)
    sources: list[str]
    landmarks: np.ndarray  # (n, 136) in pixels

    def read(self, name: str) -> bytes:
        """A photo's encoded bytes."""
        with aligned_photos.name_in_errors(name):
            return aligned_photos.read(PREPARED / "selected", name)


def load_pairs(
    genuine_per_identity: int | None, seed: int
) -> tuple[Photos, dict[str, verification.VerificationPairs]]:
    """The photos of both splits, and the verification pairs of each.

    `genuine_per_identity` is how many genuine pairs a person has, None for all there are.
    """
    selected = tables.read(PREPARED / "selected.csv", tables.SELECTED)
    paired = tables.read_pairs(PREPARED / "pairs.csv")
    landmarks = tables.read_landmarks(PREPARED / "selected.json", selected.name)
    judged = Photos(
        selected.name.tolist(),
        selected.identity.to_numpy(),
        selected.source.tolist(),
        np.array([landmarks[name] for name in selected.name]),
    )
    parts = {split: paired[paired.split == split] for split in SPLITS}
    people = {s: {*part.first_identity, *part.second_identity} for s, part in parts.items()}
    disjoint = people["train"].isdisjoint(people["val"])
    pairs = {}
    for number, (split, part) in enumerate(parts.items()):
        used = selected.identity.isin(people[split])
        if not disjoint:
            used = selected.source.isin({*part.first_source, *part.second_source})
        rows = np.flatnonzero(used)
        # A generator of its own: what is drawn for train must not move the validation pairs.
        rng = np.random.default_rng((seed, number))
        pairs[split] = verification.make_verification_pairs(
            rows, judged.identities[rows], genuine_per_identity, rng
        )
        if split == "val" and not disjoint:
            pairs[split] = verification.without(pairs[split], pairs["train"])
        genuine = int(pairs[split].same.sum())
        print(
            f"{split}: {genuine:,} genuine and {len(pairs[split].same) - genuine:,} impostor "
            f"pairs of {len(np.unique(pairs[split].identities)):,} people"
        )
    return judged, pairs


def member_outputs(
    trained: store.TrainedModel, judged: Photos, cache: Path
) -> tuple[np.ndarray, np.ndarray]:
    """A member's tails (n, units) and landmarks (n, 136) in [0, 1] for all photos."""
    if trained.description["brain_trainable"]:
        whole = network.join(trained.brain, trained.tower)
        batches = list(features.run_photos(whole, judged.names, judged.read))
    else:
        values, rows = features.brain_features(trained.brain, judged.names, judged.read, cache)
        size = features.BATCH_SIZE
        parts = (rows[i : i + size] for i in range(0, len(rows), size))
        batches = [trained.tower.predict_on_batch(values[part]) for part in parts]
    tails, landmarks = (np.concatenate([b[key] for b in batches]) for key in ("tail", "landmarks"))
    return tails, landmarks
