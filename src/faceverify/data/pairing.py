"""Faces of many people -> genuine pairs and anti-pairs, split into train and validation."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from faceverify.base.errors import InputError

# A face as pairing sees it: (identity, index among that person's faces).
FaceId = tuple[int, int]
FacePair = tuple[FaceId, FaceId]


class Pair(NamedTuple):
    """Two faces; `same` says whether they show one person. `split` is "train" or "val"."""

    same: bool
    split: str
    first: FaceId
    second: FaceId


class Pairing(NamedTuple):
    """How many faces each person has, how many pairs are wanted, and how they are split."""

    faces_per_identity: int
    pairs_per_identity: int | None
    split_by: str
    val_share: float
    val_identities: Sequence[int]


def make_pairs(people: Sequence[int], pairing: Pairing, rng: np.random.Generator) -> list[Pair]:
    """Make as many genuine pairs as anti-pairs, each with its split.

    `pairs_per_identity` genuine pairs of each person are made (None: a quarter of the faces,
    so that every face is in one pair only), and as many anti-pairs, in which each person
    appears twice as often. Faces repeat only where that number asks for it; pairs never do,
    and an anti-pair never shows one person.

    `split_by` "identity" puts `val_share` of the people into validation with all their pairs,
    so that nobody is in both; "pair" draws that share of the pairs instead, and people leak
    from train into validation. Where `val_identities` names people, those of them that are here
    make up validation instead. Raises InputError when there are too few people or faces.
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
    """The genuine pairs and the anti-pairs of some people, equal in number."""
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

    The circle method of tournament schedules: one seat stays, the others move on by one.
    """
    seats = faces + faces % 2  # the odd one out is paired with an empty seat
    for turn in range(seats - 1):
        circle = [seats - 1, *((turn + i) % (seats - 1) for i in range(seats - 1))]
        for a, b in zip(circle[: seats // 2], reversed(circle[seats // 2 :]), strict=True):
            if max(a, b) < faces:
                yield a, b


def _anti_pairs(
    uses: dict[int, dict[int, int]], rounds: int, rng: np.random.Generator
) -> list[FacePair]:
    """Anti-pairs, `rounds` times as many as people; `uses[i]` counts the uses of i's faces so far.

    In each round the people stand in a random circle and everyone is paired with the next one:
    always two people, and each of them is first in one pair and second in another. Of each
    person the face that was used least is taken, so that faces repeat late and evenly.
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
    """A person's faces, those used least first."""
    return [(identity, face) for face in sorted(uses[identity], key=uses[identity].get)]
