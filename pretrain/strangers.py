"""People of whom a set has one photo each: how alike strangers are, group by group."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from faceverify.base import errors
from faceverify.data import annotations

TABLE = "people.csv"


class People(NamedTuple):
    """The n photos of a set in CelebA's layout that tells where its people come from."""

    paths: np.ndarray  # of Path
    identities: np.ndarray  # numbers of people
    groups: np.ndarray  # of str: the person's origin, as the set names it
    held_out: np.ndarray  # of bool: never fitted to

    def of(self, chosen: np.ndarray) -> "People":
        """Those of a mask (n,)."""
        return People(*(field[chosen] for field in self))

    @property
    def alone(self) -> np.ndarray:
        """Whether a photo is the only one of its person, (n,)."""
        _, person, photos = np.unique(self.identities, return_inverse=True, return_counts=True)
        return photos[person] == 1


def read(folder: Path) -> People:
    """A set with `people.csv`: a line for each photo, with its `group` and whether `held_out`.

    Raises InputError for a table that is missing, lacks a column, or has a photo of nobody.
    """
    identities = annotations.read_identities(folder / "identity_CelebA.txt")
    try:
        table = pd.read_csv(folder / TABLE, keep_default_na=False)
        return People(
            np.array([folder / "img_align_celeba" / name for name in table.photo], object),
            np.array([identities[name] for name in table.photo]),
            table.group.to_numpy(str),
            table.held_out.to_numpy(int) == 1,
        )
    except FileNotFoundError:
        raise errors.InputError(f"pretrain/{folder / TABLE} is missing") from None
    except (AttributeError, KeyError, ValueError) as error:
        raise errors.InputError(f"pretrain/{folder / TABLE}: {error}") from None


def likeness(tails: np.ndarray, people: People, share: float, least: int) -> dict[str, float]:
    """The cosine that a `share` of the pairs of strangers exceed, by group.

    `tails` are (n, units). Groups of fewer than `least` photos are left out.
    """
    found = {}
    for group, rows in _groups(people):
        if len(rows) >= least:
            found[group] = _exceeded(_cosines(tails[rows]), share)
    return found


def card_likeness(
    photos: tuple[np.ndarray, People], cards: tuple[np.ndarray, People], share: float, least: int
) -> dict[str, float]:
    """The same of a stranger's card and another's photo; each side is its tails and its people.

    Groups with fewer such pairs than `least` photos make are left out.
    """
    found = {}
    (photo_tails, people), (card_tails, on_cards) = photos, cards
    of_photos = dict(_groups(people))
    for group in np.unique(on_cards.groups):
        rows = of_photos.get(str(group), np.empty(0, int))
        own = np.flatnonzero(
            (on_cards.groups == group) & np.isin(on_cards.identities, people.identities[rows])
        )
        if len(own) * len(rows) >= least * (least - 1):
            cosines = _units(card_tails[own]) @ _units(photo_tails[rows]).T
            others = on_cards.identities[own][:, None] != people.identities[rows]
            found[str(group)] = _exceeded(cosines[others], share)
    return found


def accepted(tails: np.ndarray, people: People, cosine: float) -> dict[str, dict[str, float]]:
    """The share of the pairs of strangers above a cosine, and the number of photos, by group."""
    return {
        group: {"photos": len(rows), "fmr": float((_cosines(tails[rows]) > cosine).mean())}
        for group, rows in _groups(people)
    }


def _groups(people: People) -> list[tuple[str, np.ndarray]]:
    """The rows of each group of strangers, who are one of a kind in their set."""
    return [
        (str(group), np.flatnonzero(people.alone & (people.groups == group)))
        for group in np.unique(people.groups[people.alone])
    ]


def _cosines(tails: np.ndarray) -> np.ndarray:
    """The cosine of each pair of rows, float32, each pair twice."""
    units = _units(tails)
    return (units @ units.T)[~np.eye(len(units), dtype=bool)]


def _units(tails: np.ndarray) -> np.ndarray:
    """The rows brought to length 1, float32."""
    return (tails / np.linalg.norm(tails, axis=1, keepdims=True)).astype(np.float32)


def _exceeded(cosines: np.ndarray, share: float) -> float:
    """What a `share` of the cosines exceed."""
    place = len(cosines) - 1 - int(share * len(cosines))
    return float(np.partition(cosines, place)[place])
