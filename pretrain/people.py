"""The people of the photos: those to learn from, and the unseen ones to be judged on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import recipe
from faceverify.evaluation import metrics, verification
from faceverify.faces.aligned_photos import decode
from views import view_of

VIEWED_AT_ONCE = 64


class Photos(NamedTuple):
    """Photos, row by row the same in each field, with what the labels say of them."""

    paths: np.ndarray  # of Path, (n,)
    identities: np.ndarray  # (n,)
    descriptors: np.ndarray  # dlib's, float32 (n, 128)
    landmarks: np.ndarray  # pixels of 178 x 218: the 68 x's, then the 68 y's, (n, 136)


def learnt_and_unseen() -> tuple[Photos, Photos]:
    """The photos to learn from, and those of the people whom training never sees."""
    labels, descriptors, landmarks = recipe.labelled()
    paths = np.array([recipe.DATA / photo for photo in labels.photo], object)
    everything = Photos(paths, labels.identity.to_numpy(), descriptors, landmarks)
    unseen = labels.identity.isin(recipe.held_out()).to_numpy()
    return (
        Photos(*(field[~unseen] for field in everything)),
        Photos(*(field[unseen] for field in everything)),
    )


def mixed_with_person(descriptors: np.ndarray, people: np.ndarray, share: float) -> np.ndarray:
    """Descriptors (n, 128), each moved by `share` towards the mean of its person, (n,)."""
    _, person, photos = np.unique(people, return_inverse=True, return_counts=True)
    sums = np.zeros((len(photos), descriptors.shape[1]))
    np.add.at(sums, person, descriptors)
    means = (sums / photos[:, None])[person]
    return ((1 - share) * descriptors + share * means).astype(np.float32)


class HeldOut:
    """The unseen people's photos and their pairs: all genuine ones, and as many impostors."""

    def __init__(self, photos: Photos) -> None:
        """Read the photos, and draw the impostor pairs."""
        self.descriptors = photos.descriptors
        self._photos = [decode(path.read_bytes()) for path in photos.paths]
        rows = np.arange(len(self._photos))
        rng = np.random.default_rng(0)
        self.pairs = verification.make_verification_pairs(rows, photos.identities, None, rng)
        self._people = len(np.unique(photos.identities))

    def __str__(self) -> str:
        """Their number, and how much there is to measure on."""
        genuine = int(self.pairs.same.sum())
        return (
            f"{self._people} unseen people with {len(self._photos)} photos, {genuine} genuine pairs"
        )

    def views(self, size: int) -> Iterator[np.ndarray]:
        """The photos as the brain sees them, uint8 (B, size, size, 3), some at a time."""
        for at in range(0, len(self._photos), VIEWED_AT_ONCE):
            yield np.stack([view_of(p, size) for p in self._photos[at : at + VIEWED_AT_ONCE]])

    def figures(self, scores: np.ndarray) -> dict[str, float]:
        """How well the scores of the pairs, low for one person, tell the unseen people apart."""
        fmr, tar, _ = metrics.roc(scores, self.pairs.same)
        return {
            "val_auc": float(np.trapezoid(tar, fmr)),
            "val_best_accuracy": float(((tar + 1 - fmr) / 2).max()),
            "val_tar_at_fmr_1pct": float(tar[fmr <= 0.01].max()),
        }
