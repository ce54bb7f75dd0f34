"""Pairs of photos of which it is known whether they show one person, in a few bytes a pair."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

# Groups that a report can show; more are names of people or of photos in the wrong column.
MOST_GROUPS = 20
NO_GROUP = -1


class Groups(NamedTuple):
    """Which pairs a report counts apart.

    `code`: int32 (P,), a number for each pair, NO_GROUP for none. `rows`: the name of a row of
    the report -> the codes of the pairs that are counted in it; a pair may count in several.
    """

    code: np.ndarray
    rows: dict[str, list[int]]


class LabelledPairs(NamedTuple):
    """P pairs of n photos.

    `photos`: their names in `folder`, or paths. `pairs`: int32 (P, 2), places in `photos`.
    `same`: bool (P,), whether both show one person. `people`: int32 (n,), who is on each photo;
    None where people are not named.
    """

    folder: Path
    photos: list[str]
    pairs: np.ndarray
    same: np.ndarray
    people: np.ndarray | None
    groups: Groups

    def path(self, photo: int) -> str:
        """The path of a photo, by its place."""
        return str(self.folder / self.photos[photo])

    def units(self) -> np.ndarray:
        """What a resample draws, int (P, 2) by pair: people where they are named, else photos."""
        return self.pairs if self.people is None else self.people[self.pairs]

    def without(self, left_out: np.ndarray) -> "LabelledPairs":
        """The pairs but for those of a mask, bool (P,)."""
        kept = ~left_out
        groups = Groups(self.groups.code[kept], self.groups.rows)
        return self._replace(pairs=self.pairs[kept], same=self.same[kept], groups=groups)


def pair_keys(pairs: np.ndarray, photos: int) -> np.ndarray:
    """A number for each pair (P, 2) of `photos` photos, the same in either order, int64 (P,)."""
    low, high = np.sort(pairs, axis=1).astype(np.int64).T
    return low * photos + high


def no_groups(pairs: int) -> Groups:
    """The groups of pairs that have none."""
    return Groups(np.full(pairs, NO_GROUP, np.int32), {})
