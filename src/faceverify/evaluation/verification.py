"""Verification pairs, their scores by theta or by dlib's descriptors, and their worst errors."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from faceverify.evaluation.metrics import NO_ANSWER
from faceverify.model.network import angle

SCORED_AT_ONCE = 65_536  # pairs; bounds the memory
NO_PHOTO = -1  # in place of a photo's row: there was no usable photo


class VerificationPairs(NamedTuple):
    """P pairs of photos, which are rows of another array, and who is on them."""

    photos: np.ndarray  # (P, 2) rows
    identities: np.ndarray  # (P, 2) numbers of people
    same: np.ndarray  # bool (P,), true for a genuine pair


def make_verification_pairs(
    rows: np.ndarray, identities: np.ndarray, genuine: int | None, rng: np.random.Generator
) -> VerificationPairs:
    """Genuine pairs of each person, all or at most `genuine`, and as many impostor pairs.

    `rows` (n,) are the photos to pair, `identities` (n,) the people on them; `genuine` is the most
    genuine pairs that a person has, None for all. Impostor pairs are drawn evenly from all there
    are, fewer where fewer exist. No pair comes twice.
    """
    chosen = []
    by_person = np.argsort(identities, kind="stable")
    for own in np.split(by_person, np.flatnonzero(np.diff(identities[by_person])) + 1):
        pairs = np.array(list(itertools.combinations(own, 2)), int).reshape(-1, 2)
        if genuine is not None and len(pairs) > genuine:
            pairs = pairs[np.sort(rng.choice(len(pairs), genuine, replace=False))]
        chosen.append(pairs)
    genuine_pairs = np.concatenate(chosen)
    pairs = np.concatenate([genuine_pairs, _impostors(identities, len(genuine_pairs), rng)])
    same = np.arange(len(pairs)) < len(genuine_pairs)
    return VerificationPairs(rows[pairs], identities[pairs], same)


def without(pairs: VerificationPairs, others: VerificationPairs) -> VerificationPairs:
    """`pairs` less those of the same two photos as a pair of `others`, in either order."""
    known = {frozenset(pair) for pair in others.photos.tolist()}
    kept = np.array([frozenset(pair) not in known for pair in pairs.photos.tolist()], bool)
    return VerificationPairs(*(array[kept] for array in pairs))


def _impostors(identities: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """At most `wanted` different pairs of positions that hold different people, (P, 2)."""
    count = len(identities)
    sizes = np.unique(identities, return_counts=True)[1]
    wanted = min(wanted, (count**2 - int((sizes**2).sum())) // 2)
    keys = np.empty(0, int)
    while len(keys) < wanted:
        drawn = np.sort(rng.integers(count, size=(2 * wanted, 2)), axis=1)
        drawn = drawn[identities[drawn[:, 0]] != identities[drawn[:, 1]]]
        keys = np.concatenate([keys, drawn[:, 0] * count + drawn[:, 1]])
        first = np.sort(np.unique(keys, return_index=True)[1])
        keys = keys[first]
    return np.stack(np.divmod(np.sort(keys[:wanted]), count), axis=1)


def thetas(tails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """theta in radians, (P,), of pairs (P, 2) of rows of `tails` (n, units).

    NO_ANSWER for NO_PHOTO.
    """
    return _scored(tails, pairs, lambda a, b: ops.convert_to_numpy(angle(a, b)))


def distances(descriptors: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Euclidean distance, (P,), of pairs (P, 2) of rows of `descriptors` (n, numbers).

    NO_ANSWER for NO_PHOTO.
    """
    return _scored(descriptors, pairs, lambda a, b: np.linalg.norm(a - b, axis=1))


def _scored(
    rows: np.ndarray, pairs: np.ndarray, score: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """The score, float64 (P,), of the rows of each pair; SCORED_AT_ONCE pairs at once."""
    scores = np.full(len(pairs), NO_ANSWER)
    there = np.flatnonzero((pairs != NO_PHOTO).all(axis=1))
    for start in range(0, len(there), SCORED_AT_ONCE):
        part = there[start : start + SCORED_AT_ONCE]
        first, second = pairs[part].T
        scores[part] = score(rows[first], rows[second])
    return scores


def attribute_groups(present: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Three groups of pairs, as masks (P,): the attribute on both, on one or on none of the photos.

    `present` (P, 2) is true for a photo with the attribute.
    """
    return {
        f"{name} on both": present.all(axis=1),
        f"{name} on one": present[:, 0] != present[:, 1],
        f"{name} on none": ~present.any(axis=1),
    }


def worst(
    scores: np.ndarray, pairs: VerificationPairs, threshold: float, count: int
) -> tuple[Sequence[int], Sequence[int]]:
    """The worst false accepts and the worst false rejects, as places of pairs, worst first.

    `scores` (P,) below `threshold` accept; there are at most `count` of each. A pair without an
    answer is none of them.
    """
    ascending = np.argsort(scores, kind="stable")
    accepts = [i for i in ascending if not pairs.same[i] and scores[i] < threshold]
    rejects = [i for i in ascending[::-1] if pairs.same[i] and threshold <= scores[i] < NO_ANSWER]
    return accepts[:count], rejects[:count]
