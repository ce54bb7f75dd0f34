"""Genuine pairs and anti-pairs of many people's faces, split into train and validation."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from faceverify.base.errors import InputError

# A face: (identity, index among that person's faces).
FaceId = tuple[int, int]
FacePair = tuple[FaceId, FaceId]


class Pair(NamedTuple):
    """Two faces; `same` is True for a genuine pair. `split` is "train" or "val"."""

    same: bool
    split: str
    first: FaceId
    second: FaceId


class Pairing(NamedTuple):
    """Faces of each person, and the settings of the parameter group `pair`: see `make_pairs`."""

    faces_per_identity: int
    pairs_per_identity: int | None
    split_by: str
    val_share: float
    val_identities: Sequence[int]


def make_pairs(people: Sequence[int], pairing: Pairing, rng: np.random.Generator) -> list[Pair]:
    """Draw genuine pairs and equally many anti-pairs, each assigned to train or validation.

    Each person gets `pairs_per_identity` genuine pairs (None: a quarter of the faces, so that no
    face is in two pairs) and twice as many places in anti-pairs. A face is used again only when
    the number of pairs requires it; no pair comes twice, and an anti-pair shows two people.

    `split_by` "identity" puts `val_share` of the people with all their pairs into validation, so
    that nobody is in both splits; `val_identities`, if any, names these people instead. "pair"
    draws `val_share` of the pairs, and people leak from train into validation. Raises InputError
    for too few people or faces.
    """
    faces = pairing.faces_per_identity
    wanted = pairing.pairs_per_identity or faces // 4
    if wanted > faces * (faces - 1) // 2:
        raise InputError(
            f"pair.pairs_per_identity: {faces} faces give {faces * (faces - 1) // 2} different "
            f"pairs of one person, not {wanted}; ask for fewer or select more faces"
        )
    if pairing.split_by == "identity":
        shuffled = rng.permutation(sorted(people)).tolist()
        drawn = shuffled[: _share(len(people), pairing.val_share)]
        val = set(pairing.val_identities or drawn) & set(people)
        groups = {"train": sorted(set(people) - val), "val": sorted(val)}
        return [
            Pair(same, split, *pair)
            for split, members in groups.items()
            for same, kind in _balanced(members, faces, wanted, rng)
            for pair in kind
        ]
    pairs = []
    for same, kind in _balanced(sorted(people), faces, wanted, rng):
        shuffled = rng.permutation(len(kind)).tolist()
        val = set(shuffled[: _share(len(kind), pairing.val_share)])
        pairs += [Pair(same, "val" if i in val else "train", *p) for i, p in enumerate(kind)]
    return pairs


def _share(count: int, share: float) -> int:
    return min(max(round(count * share), 1), count - 1)


def _balanced(
    people: Sequence[int], faces: int, wanted: int, rng: np.random.Generator
) -> list[tuple[bool, list[FacePair]]]:
    """Equally many genuine pairs (True) and anti-pairs (False) of some people."""
    if len(people) < 2:
        raise InputError(
            f"{len(people)} people on one side of the split do not make an anti-pair; train and "
            "validation need 2 each: select more people or change pair.val_share or "
            "pair.val_identities"
        )
    genuine, uses = [], {}
    for identity in people:
        shuffled = rng.permutation(faces).tolist()
        drawn = [
            (shuffled[a], shuffled[b]) for a, b in itertools.islice(_round_robin(faces), wanted)
        ]
        genuine += [((identity, a), (identity, b)) for a, b in drawn]
        taken = Counter(itertools.chain.from_iterable(drawn))
        uses[identity] = {face: taken[face] for face in shuffled}
    return [(True, genuine), (False, _anti_pairs(uses, wanted, rng))]


def _round_robin(faces: int) -> Iterator[tuple[int, int]]:
    """All pairs of `faces` faces, in rounds in which no face appears twice.

    The circle method of tournament schedules: one seat is fixed, the others rotate by one.
    """
    seats = faces + faces % 2  # of an odd number, one face at a time has an empty seat opposite
    for turn in range(seats - 1):
        circle = [seats - 1, *((turn + i) % (seats - 1) for i in range(seats - 1))]
        for a, b in zip(circle[: seats // 2], reversed(circle[seats // 2 :]), strict=True):
            if max(a, b) < faces:
                yield a, b


def _anti_pairs(
    uses: dict[int, dict[int, int]], rounds: int, rng: np.random.Generator
) -> list[FacePair]:
    """Draw `rounds` anti-pairs per person; `uses[i]` counts how often each face of i was used.

    In each round the people form a random circle and each is paired with the next one, so that
    everybody is first in one pair and second in another. Each gives the least used face, so that
    faces repeat as late and as evenly as possible.
    """
    made: dict[frozenset[FaceId], FacePair] = {}
    for _ in range(rounds):
        circle = rng.permutation(list(uses)).tolist()
        for one, other in zip(circle, circle[1:] + circle[:1], strict=True):
            pair = next(
                pair
                for pair in itertools.product(_least_used(one, uses), _least_used(other, uses))
                if frozenset(pair) not in made
            )
            made[frozenset(pair)] = pair
            for identity, face in pair:
                uses[identity][face] += 1
    return list(made.values())


def _least_used(identity: int, uses: dict[int, dict[int, int]]) -> list[FaceId]:
    """A person's faces, the least used first."""
    return [(identity, face) for face in sorted(uses[identity], key=uses[identity].get)]
