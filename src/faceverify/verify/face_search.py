"""Find a photo's main face: where its mesh lies, and which quarter turns bring it upright."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from faceverify.faces.aligned_photos import resized
from faceverify.faces.alignment import warped
from faceverify.verify.face_networks import SIDE, FaceNetworks, Finder, Mesh, five_points

# Of a box that scores less, the finder is asked again about the face brought upright. A tilted
# face scores little, and so does what is none; upright, a face scores more than the second, and
# more than upside down.
CLEAR_SCORE, UPRIGHT_SCORE = 0.7, 0.5
# The least that the mesh's own score is for a face.
MESH_SCORE = 0.8
# Sides of the squares around a face, in sides of its box: the mesh's (MediaPipe's), the finder's.
MESH_ROOM, FINDER_ROOM = 1.5, 2.5
# Reads of the mesh, at least (the first view is the finder's, which is coarse) and at most, and the
# roll, in radians, within which the last one counts as upright.
LEAST_READS, READS, LEVEL = 2, 6, np.radians(2)
# Where the first read scores less than the first of these, or no read as much as the second after
# LEAST_READS, no more are made. On 3,000 searches in photos that were turned by any angle, scaled,
# and most of them blurred, noisy or dark, the first read scored less in 2 of 3,160 faces; of the
# boxes that are no face, the first ends a quarter there, and three quarters on plain walls.
HOPELESS_SCORES = (0.0001, 0.001)
# Boxes of one view that are looked at, the likeliest first: it bounds the time of a crowd.
MOST_BOXES = 6
# Sides of further squares around the middle, as shares of the photo's longest side: with a border,
# for a face that touches the frame, and closer, for a small one.
ZOOMS = (1.5, 0.6, 0.35)
# The least side, in pixels, of a closer view. Of a smaller photo the whole shows enough: at 600
# pixels 98.9% of 1,299 faces with 18 to 20 pixels between the eyes were found without a closer view
# and 99.8% with, at 640 pixels 97.8% and 99.8%; the closest alone found 4 of 500 at 720 pixels, and
# 2 at 800. The closer views are what a photo without a face pays most for.
LEAST_CLOSER = 370
# A view is cut out of a photo along a grid of so many pixels: most photos are a whole number of
# them wide and high, and what is cut out can then be halved three times, which is fast.
GRID = 8
# How far a head in a live photo may lean, in radians: farther, it lies, or the photo does.
MOST_ROLL = np.radians(75)


class Located(NamedTuple):
    """The main face of a photo, in pixels of the photo after `turns` quarter turns.

    `turns` counter-clockwise bring it upright, to within half a quarter. `mesh`: its points, float
    (468, 2) as (x, y). `others`: how many further faces of comparable size there are.
    """

    turns: int
    mesh: np.ndarray
    others: int


class View(NamedTuple):
    """A square of a photo, turned: its middle (x, y), side and roll, in pixels and radians.

    A face whose eyes lie on a line that rises by `roll`, clockwise, is upright in it.
    """

    centre: np.ndarray
    side: float
    roll: float

    def of(self, photo: np.ndarray) -> np.ndarray:
        """What it shows of a photo, uint8 (height, width, 3), as uint8 (SIDE, SIDE, 3).

        Where it shrinks, the photo is resized by area, so that fine detail does not alias.
        Outside the photo its border pixels are repeated.
        """
        size = np.array(photo.shape[1::-1])
        low = np.clip(GRID * np.floor((self.centre - self.side) / GRID), 0, size - 1).astype(int)
        high = np.clip(GRID * np.ceil((self.centre + self.side) / GRID), low + 1, size).astype(int)
        part = photo[low[1] : high[1], low[0] : high[0]]
        shrunk = _halved_first(part, min(SIDE / self.side, 1.0))
        ratio = np.array(shrunk.shape[1::-1]) / part.shape[1::-1]
        # Each pixel's place is the sum of what its row and its column add: one of each tells all.
        counts, middle = np.arange(SIDE), np.full(SIDE, (SIDE - 1) / 2)
        row = self.out(np.stack([counts, middle], axis=-1))
        column = self.out(np.stack([middle, counts], axis=-1)) - self.centre
        # Pixel centres lie at whole numbers in both pictures.
        row, column = (row - low + 0.5) * ratio - 0.5, column * ratio

        def places(rows: slice) -> tuple[np.ndarray, np.ndarray]:
            if self.roll == 0:  # a column adds nothing to x, a row nothing to y
                return row[None, :, 0], row[0, 1] + column[rows, 1, None]
            return tuple(row[:, axis] + column[rows, axis, None] for axis in (0, 1))

        return warped(shrunk, (SIDE, SIDE), places)

    def out(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the view's pixels in pixels of the photo."""
        cosine, sine, scale = np.cos(self.roll), np.sin(self.roll), self.side / SIDE
        x, y = np.moveaxis(points - (SIDE - 1) / 2, -1, 0)
        turned = np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1)
        return self.centre + turned * scale


def _halved_first(part: np.ndarray, factor: float) -> np.ndarray:
    """What `resized` gives, nearly, in less time: first by means of 2 x 2 pixels, while they fit.

    What is mixed in from beyond the areas is fine detail, which no search for a face asks for.
    """
    height, width = part.shape[:2]
    while factor <= 0.5 and width % 2 == height % 2 == 0:
        width, height, factor = width // 2, height // 2, 2 * factor
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    return resized(part, factor)


class _Face(NamedTuple):
    """A face: its mesh (468, 2) in pixels of the photo, its roll, and the side of its box."""

    mesh: np.ndarray
    roll: float
    side: float


def locate(
    photo: np.ndarray, networks: FaceNetworks, second_face: float, *, any_side: bool
) -> Located | None:
    """Find the largest face of a photo, uint8 RGB (height, width, 3); None where there is none.

    Another face counts when its side is at least `second_face`, 0 .. 1, of the largest one's. A
    head may lean by MOST_ROLL; with `any_side` a face that lies on its side or upside down is
    found too. May be called from several threads at once.
    """
    faces, turns = _search(photo, networks, any_side), 0
    if not faces:
        return None
    if any_side:
        turns = round(_main(faces).roll / (np.pi / 2)) % 4
        if turns:  # a card on its side gives the face of an upright one
            photo = np.ascontiguousarray(np.rot90(photo, turns))
            faces = _search(photo, networks, False)
            if not faces:
                return None
    main = _main(faces)
    others = sum(face.side >= second_face * main.side for face in faces if face is not main)
    return Located(turns, main.mesh, others)


def _main(faces: list[_Face]) -> _Face:
    return max(faces, key=lambda face: face.side)


def _search(photo: np.ndarray, networks: FaceNetworks, any_side: bool) -> list[_Face]:
    """The faces of the first view that shows any."""
    for view, square in _views(photo, any_side):
        faces = _faces(photo, view, square, networks, np.pi if any_side else MOST_ROLL)
        if faces:
            return faces
    return []


def _views(photo: np.ndarray, any_side: bool) -> Iterator[tuple[View, np.ndarray]]:
    """Where faces are searched, and what each view shows.

    First the whole photo, with `any_side` on each side, then with a border, then the middle of a
    large one.
    """
    centre = (np.array(photo.shape[1::-1]) - 1) / 2
    side = float(max(photo.shape))
    whole = View(centre, side, 0.0).of(photo)
    for quarters in (0, 2, 1, 3) if any_side else (0,):
        # Turned by a quarter, a square has the same pixels in other places.
        turned = np.ascontiguousarray(np.rot90(whole, quarters))
        yield View(centre, side, quarters * np.pi / 2), turned
    for zoom in ZOOMS:
        if zoom > 1 or zoom * side >= LEAST_CLOSER:
            view = View(centre, zoom * side, 0.0)
            yield view, view.of(photo)


def _faces(
    photo: np.ndarray, view: View, square: np.ndarray, networks: FaceNetworks, most_roll: float
) -> list[_Face]:
    """The faces that the finder sees in a view's square and the mesh takes for faces, too."""
    boxes = networks.finder.find(square)
    found: list[_Face] = []
    for corners, eyes, score in list(zip(*boxes, strict=True))[:MOST_BOXES]:
        # The finder counts from a pixel's corner, the library from its middle.
        centre = view.out((corners[:2] + corners[2:]) / 2 - 0.5)
        side = max(corners[2:] - corners[:2]) * view.side / SIDE
        face = _read(photo, View(centre, MESH_ROOM * side, _roll(view.out(eyes))), networks.mesh)
        if face is None or abs(face.roll) > most_roll:
            continue
        if score < CLEAR_SCORE and not _is_clear(photo, face, networks.finder):
            continue
        if all(_apart(face, other) for other in found):
            found.append(face)
    return found


def _read(photo: np.ndarray, view: View, mesh: Mesh) -> _Face | None:
    """The face in a view: read, turned upright by what was read, and read again until level."""
    best = 0.0
    for read in range(1, READS + 1):
        points, score = mesh.read(view.of(photo))
        best = max(best, score)
        low, high = points.min(axis=0), points.max(axis=0)
        placed = view.out(points)
        roll = _roll(five_points(placed))
        side = max(high - low) * view.side / SIDE
        level = score >= MESH_SCORE and abs(_turned(roll - view.roll)) < LEVEL
        enough = read >= LEAST_READS
        if enough and level:
            return _Face(placed, roll, side)
        if best < HOPELESS_SCORES[1 if enough else 0]:
            return None
        view = View(view.out((low + high) / 2), MESH_ROOM * side, roll)
    return None


def _is_clear(photo: np.ndarray, face: _Face, finder: Finder) -> bool:
    """Whether the finder, too, takes a face for one, and for one that is this way up."""
    centre = (face.mesh.min(axis=0) + face.mesh.max(axis=0)) / 2
    upright, upside_down = (
        finder.find(View(centre, FINDER_ROOM * face.side, face.roll + turn).of(photo)).scores
        for turn in (0, np.pi)
    )
    best = max(upright, default=0)
    return best >= max([UPRIGHT_SCORE, *upside_down])


def _apart(one: _Face, other: _Face) -> bool:
    """Whether two faces are not one, found twice."""
    distance = np.linalg.norm(one.mesh.mean(axis=0) - other.mesh.mean(axis=0))
    return distance > max(one.side, other.side) / 2


def _roll(eyes: np.ndarray) -> float:
    """By how much the line from the first eye to the second falls, in radians, clockwise."""
    x, y = eyes[1] - eyes[0]
    return float(np.arctan2(y, x))


def _turned(angle: float) -> float:
    """An angle in (-pi, pi]."""
    return float(np.pi - (np.pi - angle) % (2 * np.pi))
