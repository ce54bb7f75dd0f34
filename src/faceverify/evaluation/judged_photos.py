"""Inputs of the evaluation: photos, verification pairs, and a member's outputs for each photo."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.data import tables
from faceverify.evaluation import verification
from faceverify.faces import aligned_photos
from faceverify.model import features, network, store

SPLITS = ("train", "val")


class JudgedPhotos(NamedTuple):
    """The n photos of both splits that models are judged on, in the order of `selected.csv`."""

    folder: Path  # of their files
    names: list[str]  # of these files
    identities: np.ndarray  # (n,) numbers of people
    sources: list[str]  # names of the original photos
    landmarks: np.ndarray  # (n, 136) dlib's, in pixels: the 68 x's, then the 68 y's

    def read(self, name: str) -> bytes:
        """A photo's encoded bytes; MadeFileError, with the name, where it cannot be read."""
        with aligned_photos.name_in_errors(name):
            return aligned_photos.read(self.folder, name)


class Trials(NamedTuple):
    """All that models are judged on.

    `pairs`: of SPLITS, and as `summary.CARD` those of val with their first photos on cards. Rows
    are those of `photos` and then of `card_faces`, which were found on the cards.
    """

    photos: JudgedPhotos
    card_faces: JudgedPhotos
    pairs: dict[str, verification.VerificationPairs]

    def parts(self) -> list[JudgedPhotos]:
        """The photos, and the faces on cards where any was found."""
        return [self.photos, *([self.card_faces] if self.card_faces.names else [])]

    def read(self, row: int) -> bytes:
        """The encoded bytes of a photo, or of a face found on a card."""
        part, place = self._place(row)
        return part.read(part.names[place])

    def source(self, row: int) -> str:
        """The name of the original photo, also where its card is meant."""
        part, place = self._place(row)
        return part.sources[place]

    def _place(self, row: int) -> tuple[JudgedPhotos, int]:
        behind = row - len(self.photos.names)
        return (self.photos, row) if behind < 0 else (self.card_faces, behind)


def load_pairs(
    prepared: Path, genuine_per_identity: int | None, seed: int
) -> tuple[JudgedPhotos, dict[str, verification.VerificationPairs]]:
    """The photos of both splits, and split -> its verification pairs.

    `prepared` is the folder with the selected photos and the tables of photos and pairs. People
    have at most `genuine_per_identity` genuine pairs each, None for all there are; what is drawn
    depends on `seed`. Where the splits share people, val has no pair of train's. Raises
    MadeFileError or InputError for a table that is missing or damaged.
    """
    selected = tables.read(prepared / "selected.csv", tables.SELECTED)
    paired = tables.read_pairs(prepared / "pairs.csv")
    landmarks = tables.read_landmarks(prepared / "selected.json", selected.name)
    judged = JudgedPhotos(
        prepared / "selected",
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
    trained: store.TrainedModel, judged: JudgedPhotos, cache: Path
) -> tuple[np.ndarray, np.ndarray]:
    """A member's tails (n, units) and landmarks (n, 136) in [0, 1] for all photos.

    `cache` is the folder where features of a frozen brain are kept.
    """
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
