"""The rules of the audit: labels that the photos themselves show to be wrong."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faceverify.audit.observations import THUMBNAIL, Observations
from faceverify.data.annotations import IdentityRow

# The kinds of findings, worst first: a row is reported once, under the first kind that applies.
KINDS = {
    "unreadable": "photos that cannot be read",
    "same_bytes": "one file under two people",
    "one_person": "one person under two identities",
    "same_photo": "nearly identical photos under two people",
    "mislabelled": "faces unlike the others of their identity",
    "too_few": "identities with too few usable faces",
}
SEVERAL = 3  # photos that an identity needs before others are compared with its centre
REMOVE = "remove the row"
# Rows compared at once: memory holds their distances to as many rows, or to all identities.
BLOCK = 2048


class Limits(NamedTuple):
    """The limits of the rules; distances are Euclidean, between dlib's descriptors.

    `copy_face`: greatest distance of a photo and its copy; `copy_picture`: least correlation of
    their thumbnails. `far`: a face at least this far from the centre of its identity's other
    faces is mislabelled. `alike`: greatest distance (root mean square over the photos) of two
    identities that are one person; also of a face from another identity, which makes it
    mislabelled when its own identity's centre is farther. `faces_per_identity`: usable faces that
    an identity needs.
    """

    copy_face: float
    copy_picture: float
    far: float
    alike: float
    faces_per_identity: int


class Finding(NamedTuple):
    """A row to fix: its index, the row it was compared with, their distance, and the remedy.

    `label` is the identity that the row belongs to, if the remedy leaves no other choice.
    """

    kind: str
    row: int
    other: int | None
    distance: float | None
    remedy: str
    label: int | None = None


class People(NamedTuple):
    """The identities of the sound photos, one per row, sorted.

    `counts`, int (n,), are their photos; `centres`, float64 (n, 128), their mean descriptors;
    `spreads`, (n,), the mean squared distance of the photos from the centre: the centres of two
    mixtures of people can be close although the photos are not.
    """

    identities: np.ndarray
    counts: np.ndarray
    centres: np.ndarray
    spreads: np.ndarray


class Labelled(NamedTuple):
    """All photos, n rows: their labels, what was seen, and the state of the search.

    `identities`, int (n,), are the labels. `sound`, bool (n,), says which photos have a face and
    no finding so far; `fit`, float (n,), is their distance from the centre of their identity's
    other photos, inf where there is none. `left` counts each identity's faces after the findings
    so far are corrected.
    """

    identities: np.ndarray
    seen: Observations
    sound: np.ndarray
    fit: np.ndarray
    left: Counter[int]


def find(rows: Sequence[IdentityRow], seen: Observations, limits: Limits) -> list[Finding]:
    """All findings, the worst kind first, then by row; each row has one finding at most."""
    identities = np.array([row.identity for row in rows])
    findings: list[Finding] = []
    named = np.zeros(len(rows), bool)
    for search in (_unreadable, _same_bytes, _one_person, _same_photo, _mislabelled, _too_few):
        sound = seen.faces & ~named
        fit = fits(identities, seen.descriptors, sound)
        gained = (f.label for f in findings if f.label is not None and seen.faces[f.row])
        left = Counter(identities[sound].tolist()) + Counter(gained)
        photos = Labelled(identities, seen, sound, fit, left)
        found: dict[int, Finding] = {}
        for finding in search(photos, limits):
            found.setdefault(finding.row, finding)
        findings += [found[row] for row in sorted(found) if not named[row]]
        named[list(found)] = True
    return findings


def fits(identities: np.ndarray, vectors: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """The distance of each vector from the mean of its identity's other vectors, float64 (n,).

    Only `sound` rows count; inf for the others, and for a row that is alone in its identity.
    """
    found = np.full(len(identities), np.inf)
    _, place, counts = np.unique(identities[sound], return_inverse=True, return_counts=True)
    own = vectors[sound].astype(np.float64)
    others = _sums(own, place)[place] - own
    left = counts[place] - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.linalg.norm(own - others / left[:, None], axis=1)
    found[sound] = np.where(left > 0, distances, np.inf)
    return found


def close_pairs(
    vectors: np.ndarray, spreads: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows closer than `limit`: indices, int (pairs, 2), and distances (pairs,).

    A row is a photo, or the centre of several whose mean squared distance from it is in `spreads`
    (n,); the distance of two centres is the root mean square of those between their photos. Rows
    are compared in blocks, so that memory does not grow with their square.
    """
    squares = np.einsum("ij,ij->i", vectors, vectors) + spreads
    pairs = [np.empty((0, 2), int)]
    for top in range(0, len(vectors), BLOCK):
        rows = slice(top, top + BLOCK)
        for left in range(top, len(vectors), BLOCK):
            columns = slice(left, left + BLOCK)
            near = squares[rows, None] + squares[columns] - 2 * vectors[rows] @ vectors[columns].T
            # float32 is off by up to 1e-5 here: candidates are compared again, in float64.
            found = np.argwhere(near < limit**2 + 1e-4) + np.array([top, left])
            pairs.append(found[found[:, 0] < found[:, 1]])
    every = np.concatenate(pairs)
    first, second = (vectors[side].astype(np.float64) for side in every.T)
    distances = np.sqrt(np.square(first - second).sum(axis=1) + spreads[every].sum(axis=1))
    return every[distances < limit], distances[distances < limit]


def _sums(vectors: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The sum of the vectors with the same `place`, float64 (places, n)."""
    sums = np.zeros((place.max(initial=-1) + 1, vectors.shape[1]))
    np.add.at(sums, place, vectors)
    return sums


def _people(photos: Labelled) -> People:
    labels, vectors = photos.identities[photos.sound], photos.seen.descriptors[photos.sound]
    identities, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    centres = _sums(vectors, place) / counts[:, None]
    squares = np.square(vectors - centres[place]).sum(axis=1)
    return People(identities, counts, centres, np.bincount(place, squares) / counts)


def _correlations(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The correlation of each pair's thumbnails, -1 .. 1, or of one with the other's mirror image.

    The greater of the two; it does not depend on brightness and contrast.
    """
    first, second = (_standard(thumbnails[side]) for side in pairs.T)
    mirrored = second.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(second.shape)
    return np.maximum(*(np.einsum("ij,ij->i", first, other) for other in (second, mirrored)))


def _standard(thumbnails: np.ndarray) -> np.ndarray:
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1)


def _unreadable(photos: Labelled, limits: Limits) -> Iterator[Finding]:
    for row, fault in enumerate(photos.seen.faults):
        if fault:
            yield Finding("unreadable", row, None, None, f"{fault}: restore it or remove the row")


def _same_bytes(photos: Labelled, limits: Limits) -> Iterator[Finding]:
    alike: dict[str, list[int]] = {}
    for row, digest in enumerate(photos.seen.digests):
        if digest:
            alike.setdefault(digest, []).append(row)
    for rows in alike.values():
        kept = min(rows, key=lambda row: (photos.fit[row], row))
        for row in rows:
            if photos.identities[row] != photos.identities[kept]:
                yield Finding("same_bytes", row, kept, 0.0, REMOVE)


def _same_photo(photos: Labelled, limits: Limits) -> Iterator[Finding]:
    rows = np.flatnonzero(photos.sound)
    vectors = photos.seen.descriptors[rows]
    pairs, distances = close_pairs(vectors, np.zeros(len(rows), np.float32), limits.copy_face)
    pairs = rows[pairs]
    alike = photos.identities[pairs[:, 0]] != photos.identities[pairs[:, 1]]
    alike[alike] = _correlations(photos.seen.thumbnails, pairs[alike]) >= limits.copy_picture
    pairs, distances = pairs[alike], distances[alike]
    for i in np.argsort(distances, kind="stable"):
        kept, wrong = sorted(pairs[i].tolist(), key=lambda row: (photos.fit[row], row))
        yield Finding("same_photo", wrong, kept, float(distances[i]), REMOVE)


def _one_person(photos: Labelled, limits: Limits) -> Iterator[Finding]:
    people = _people(photos)
    several = np.flatnonzero(people.counts >= SEVERAL)
    pairs, _ = close_pairs(people.centres[several], people.spreads[several], limits.alike)
    pairs = several[pairs]
    for group in _connected(pairs, len(people.counts)):
        # The identity with the most photos keeps its label.
        kept = min(group, key=lambda place: (-people.counts[place], place))
        identity = int(people.identities[kept])
        other = int(np.flatnonzero(photos.identities == identity)[0])
        for place in set(group) - {kept}:
            apart = np.square(people.centres[place] - people.centres[kept]).sum()
            distance = float(np.sqrt(apart + people.spreads[[place, kept]].sum()))
            for row in np.flatnonzero(photos.identities == people.identities[place]).tolist():
                remedy = f"label it {identity}"
                yield Finding("one_person", row, other, distance, remedy, identity)


def _connected(pairs: np.ndarray, count: int) -> list[list[int]]:
    """The groups of 0 .. `count` - 1 that `pairs` (n, 2) connect, also by way of others."""
    if not len(pairs):
        return []
    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count))
    _, groups = connected_components(graph, directed=False)
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    return [part.tolist() for part in parts if len(part) > 1]


def _mislabelled(photos: Labelled, limits: Limits) -> Iterator[Finding]:
    rows = np.flatnonzero(photos.sound & np.isfinite(photos.fit))
    identities, distances = _likest(photos, rows)
    for row, identity, distance in zip(rows.tolist(), identities, distances, strict=True):
        fit, other, remedy = float(photos.fit[row]), None, REMOVE
        if distance < min(limits.alike, fit):
            other = int(np.flatnonzero(photos.identities == identity)[0])
            remedy = f"label it {identity} or {REMOVE}"
        if other is not None or fit > limits.far:
            yield Finding("mislabelled", row, other, fit, remedy)


def _likest(photos: Labelled, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row the nearest other identity and the distance from it; inf where there is none."""
    people = _people(photos)
    people = People(*(values[people.counts >= SEVERAL] for values in people))
    identities, distances = np.zeros(len(rows), int), np.full(len(rows), np.inf)
    if not len(people.counts):
        return identities, distances
    squares = np.square(people.centres).sum(axis=1) + people.spreads
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        vectors = photos.seen.descriptors[rows[part]].astype(np.float64)
        apart = np.square(vectors).sum(axis=1)[:, None] + squares - 2 * vectors @ people.centres.T
        apart[photos.identities[rows[part], None] == people.identities] = np.inf
        identities[part] = people.identities[apart.argmin(axis=1)]
        distances[part] = np.sqrt(np.maximum(apart.min(axis=1), 0))
    return identities, distances


def _too_few(photos: Labelled, limits: Limits) -> Iterator[Finding]:
    for row, identity in enumerate(photos.identities.tolist()):
        if photos.left[identity] < limits.faces_per_identity:
            faces = f"{photos.left[identity]} of {limits.faces_per_identity} usable faces"
            remedy = f"{faces}: add photos of {identity} or leave it out"
            yield Finding("too_few", row, None, None, remedy)
