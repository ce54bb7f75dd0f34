"""What is wrong with the labels of a set of photos, told by the photos themselves."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faceverify.audit.observations import THUMBNAIL, Observations
from faceverify.data.annotations import IdentityRow

# What each kind means, the worst first: a row is named once, by the first kind that it has.
KINDS = {
    "unreadable": "photos that cannot be read",
    "same_bytes": "one file under two people",
    "one_person": "one person under two identities",
    "same_photo": "nearly identical photos under two people",
    "mislabelled": "faces unlike the others of their identity",
    "too_few": "identities with too few usable faces",
}
# Photos that an identity needs to be taken for another one.
SEVERAL = 3
REMOVE = "remove the row"
# Rows compared at once: memory holds their distances from as many others, or from all people.
BLOCK = 2048


class Limits(NamedTuple):
    """Where a finding begins; distances are Euclidean, between dlib's descriptors.

    `copy_face`: greatest distance, and `copy_picture`: least correlation of the thumbnails, of a
    photo and its copy. `far`: least distance of a wrong face from the centre of its identity's
    others. `alike`: greatest distance, root mean square over the photos, of two identities that
    are one person, and of a face that belongs to another identity: it is wrong, too, if it is
    nearer to that one than to the centre of its own. `faces_per_identity`: what an
    identity needs.
    """

    copy_face: float
    copy_picture: float
    far: float
    alike: float
    faces_per_identity: int


class Finding(NamedTuple):
    """A row to fix, by its index: the row that it was held against, how far off, what to do.

    `label` is the identity that the row belongs to, where the remedy leaves no other choice.
    """

    kind: str
    row: int
    other: int | None
    distance: float | None
    remedy: str
    label: int | None = None


class People(NamedTuple):
    """Whom the sound photos show, an identity a row.

    `counts` are their photos, `centres` the mean descriptors, and `spreads` the mean squared
    distance of the photos from it: two centres can be close because both are mixtures, while
    the photos are not.
    """

    identities: np.ndarray
    counts: np.ndarray
    centres: np.ndarray
    spreads: np.ndarray


class Labelled(NamedTuple):
    """Photos and the people that they are labelled as.

    `identities` is int (n,). `sound`, bool (n,), says which have a face and no finding so far;
    `fit`, float (n,), how far each of those is from the centre of its identity's others, or inf.
    `left` counts the faces of each identity once the findings so far are corrected.
    """

    identities: np.ndarray
    seen: Observations
    sound: np.ndarray
    fit: np.ndarray
    left: Counter[int]


def find(rows: Sequence[IdentityRow], seen: Observations, limits: Limits) -> list[Finding]:
    """All findings, the worst kind first and in the order of the rows, no row twice."""
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
    """How far each vector is from the mean of the others of its identity, float64 (n,).

    Only `sound` rows count; inf for the rest, and for one that has no others.
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
    """All pairs of rows that are closer than `limit`: indices (pairs, 2), distances (pairs,).

    A row stands for one photo, or for several by their centre: `spreads` (n,) is their mean
    squared distance from it, and the distance the root mean square of that between the photos.
    In blocks: memory does not grow with the square of the rows.
    """
    squares = np.einsum("ij,ij->i", vectors, vectors) + spreads
    pairs = [np.empty((0, 2), int)]
    for top in range(0, len(vectors), BLOCK):
        rows = slice(top, top + BLOCK)
        for left in range(top, len(vectors), BLOCK):
            columns = slice(left, left + BLOCK)
            near = squares[rows, None] + squares[columns] - 2 * vectors[rows] @ vectors[columns].T
            # Rounding makes it up to 1e-5 too large or small: the distance is computed again.
            found = np.argwhere(near < limit**2 + 1e-4) + np.array([top, left])
            pairs.append(found[found[:, 0] < found[:, 1]])
    every = np.concatenate(pairs)
    first, second = (vectors[side].astype(np.float64) for side in every.T)
    distances = np.sqrt(np.square(first - second).sum(axis=1) + spreads[every].sum(axis=1))
    return every[distances < limit], distances[distances < limit]


def _sums(vectors: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The sum of the vectors of each place, float64."""
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
    """How alike the pictures of each pair are, -1 .. 1.

    Whatever their brightness and contrast, and if one of them is mirrored.
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
        # The one with the most photos stays.
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
    """For each row the other identity whose photos are nearest, and how far; inf for none."""
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
