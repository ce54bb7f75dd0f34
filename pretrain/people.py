"""Training people and held-out people: their photos, labels and verification pairs."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import recipe
from faceverify.evaluation import metrics, verification
from faceverify.faces.aligned_photos import decode
from views import view_of

VIEWED_AT_ONCE = 64


class LabelledPhotos(NamedTuple):
    """n photos and their labels."""

    paths: np.ndarray  # of Path, (n,)
    identities: np.ndarray  # (n,) numbers of people
    descriptors: np.ndarray  # dlib's, float32 (n, 128)
    landmarks: np.ndarray  # pixels of 178 x 218: the 68 x's, then the 68 y's, (n, 136)


def learnt_and_unseen() -> tuple[LabelledPhotos, LabelledPhotos]:
    """The photos of the training people, and those of the held-out people."""
    labels, descriptors, landmarks = recipe.labelled()
    paths = np.array([recipe.DATA / photo for photo in labels.photo], object)
    everything = LabelledPhotos(paths, labels.identity.to_numpy(), descriptors, landmarks)
    unseen = labels.identity.isin(recipe.held_out()).to_numpy()
    return (
        LabelledPhotos(*(field[~unseen] for field in everything)),
        LabelledPhotos(*(field[unseen] for field in everything)),
    )


def mixed_with_person(descriptors: np.ndarray, people: np.ndarray, share: float) -> np.ndarray:
    """Descriptors (n, 128), each moved by `share` towards its person's mean; `people` are (n,)."""
    _, person, photos = np.unique(people, return_inverse=True, return_counts=True)
    sums = np.zeros((len(photos), descriptors.shape[1]))
    np.add.at(sums, person, descriptors)
    means = (sums / photos[:, None])[person]
    return ((1 - share) * descriptors + share * means).astype(np.float32)


class HeldOut:
    """The held-out people's photos, all their genuine pairs, and as many impostor pairs."""

    def __init__(self, photos: LabelledPhotos) -> None:
        """Decode the photos, and draw the impostor pairs."""
        self.descriptors = photos.descriptors
        self._photos = [decode(path.read_bytes()) for path in photos.paths]
        rows = np.arange(len(self._photos))
        rng = np.random.default_rng(0)
        self.pairs = verification.make_verification_pairs(rows, photos.identities, None, rng)
        self._people = len(np.unique(photos.identities))

    def __str__(self) -> str:
        """The numbers of people, photos and genuine pairs."""
        genuine = int(self.pairs.same.sum())
        return (
            f"{self._people} unseen people with {len(self._photos)} photos, {genuine} genuine pairs"
        )

    def views(self, size: int) -> Iterator[np.ndarray]:
        """The photos' views, uint8 (B, size, size, 3), VIEWED_AT_ONCE at a time; see `view_of`."""
        for at in range(0, len(self._photos), VIEWED_AT_ONCE):
            yield np.stack([view_of(p, size) for p in self._photos[at : at + VIEWED_AT_ONCE]])

    def figures(self, scores: np.ndarray) -> dict[str, float]:
        """AUC, best accuracy and TAR at an FMR of 1% of scores (P,) of the pairs.

        A low score means the same person. The best accuracy is the mean of TAR and 1 - FMR at the
        threshold where it is highest.
        """
        fmr, tar, _ = metrics.roc(scores, self.pairs.same)
        return {
            "val_auc": float(np.trapezoid(tar, fmr)),
            "val_best_accuracy": float(((tar + 1 - fmr) / 2).max()),
            "val_tar_at_fmr_1pct": float(tar[fmr <= 0.01].max()),
        }
