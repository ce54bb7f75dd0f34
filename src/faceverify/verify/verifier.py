"""Two photos in, a decision out: the exported verifier as a library, without TensorFlow."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH, to_canvas
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.verify import nearest, photo_sources, verifier_file, workers
from faceverify.verify.camera_photos import Photo
from faceverify.verify.capture import FoundFace, face_at, find_face
from faceverify.verify.embedding import Embedding
from faceverify.verify.face_networks import FaceNetworks
from faceverify.verify.photo_sources import Source
from faceverify.verify.refusals import CaptureError, DoubtfulError

# What the two photos of a comparison are called (first the identity card's, then the live one),
# and the two decisions.
SLOTS = ("first", "second")
ACCEPT, REJECT = "accept", "reject"
# Below this theta, in radians, one photo is taken for a copy of the other. Measured on photos of
# CelebA and RMFRD: 89% of 796 copies are below it (all that were turned by 7 degrees or twice as
# large, all but one turned by 90 or cropped; not all of 2/3 the size, a quarter brighter, or JPEGs
# of quality 70, half of those of 40), and 4 of 1,970 pairs of photos of one person, which may be
# one photo. Of the sample's 450 pairs, a person's shots in a row, 20 are.
COPY = 0.15


class Comparison(NamedTuple):
    """Two photos compared.

    `theta`: the ensemble's angle in radians, [0, pi], low for one person; `thetas` by member.
    `accepted`: theta < `threshold`. `identical`: both photos are one file, byte by byte, which
    says nothing about two photos of a person; nor do copies (`copied`).
    """

    accepted: bool
    theta: float
    threshold: float
    thetas: dict[str, float]
    identical: bool
    first: Embedding
    second: Embedding

    @property
    def decision(self) -> str:
        """ACCEPT or REJECT."""
        return ACCEPT if self.accepted else REJECT

    @property
    def copied(self) -> bool:
        """Whether one photo seems to be the other one, turned, scaled or encoded again."""
        return self.theta < COPY and not self.identical


class Nearest(NamedTuple):
    """The nearest of many embeddings: its row, its angle in radians, and whether it is accepted."""

    row: int
    theta: float
    accepted: bool


class Verifier:
    """An exported verifier; may be used from several threads at once."""

    def __init__(
        self,
        description: verifier_file.VerifierDescription,
        network: verifier_file.Network,
        faces: FaceNetworks,
    ) -> None:
        self.description = description
        self.network = network
        self.faces = faces

    @classmethod
    def load(cls, path: Path | str) -> "Verifier":
        """Load a `verifier.json` and the three models beside it that it names.

        Raises InputError, in one line, when a file is missing or is not the one that
        `verifier.json` describes.
        """
        return cls(*verifier_file.load(Path(path)))

    def embed(
        self, photo: Source, *, any_side: bool = False, allow_several: bool = False
    ) -> Embedding:
        """Find, align and embed the face of a photo.

        `photo`: a file's path, its bytes, an open binary file, an array uint8 RGB
        (height, width, 3), or an image of Pillow. With `any_side` a face that lies on its side or
        upside down is found too, as on an identity card. With `allow_several` the largest of
        several faces is taken. Raises the CaptureError that says why the photo cannot be used
        (`faceverify.verify.refusals`).
        """
        return workers.call(self._embed, photo, any_side, allow_several)

    def _embed(self, photo: Source, any_side: bool, allow_several: bool) -> Embedding:
        decoded, digest = photo_sources.decoded(photo)
        limits = self.description.capture
        face = find_face(
            decoded,
            self.faces,
            limits,
            any_side=any_side,
            allow_several=allow_several,
        )
        return self._embedded(face, digest)

    def embed_points(self, photo: Source, points: np.ndarray) -> Embedding:
        """Embed the face of a photo whose five points the caller has found.

        `points`: (5, 2) as (x, y), in pixels of the upright photo at its full size: the person's
        right and left eye centre, the nose tip, the right and left mouth corner. Raises
        WrongPointsError where they do not lie as a face's do, ValueError for another shape, and
        CaptureError as `embed` does.
        """
        points = np.asarray(points, float)
        if points.shape != CANONICAL_POINTS.shape:
            raise ValueError(f"points must be {CANONICAL_POINTS.shape}, not {points.shape}")
        decoded, digest = photo_sources.decoded(photo)
        # Pixel centres lie at whole numbers in both pictures.
        places = (points + 0.5) / decoded.scale - 0.5
        return self._embedded(face_at(decoded, places, self.description.capture), digest)

    def embed_aligned(self, aligned: np.ndarray) -> Embedding:
        """Embed a face that the caller has aligned as `verifier.json` says.

        `aligned`: uint8 RGB (218, 178, 3), else ValueError is raised. Raises CaptureError for one
        that is too dark, washed out, blurred, or hardly a face.
        """
        if aligned.shape != (PHOTO_HEIGHT, PHOTO_WIDTH, 3) or aligned.dtype != np.uint8:
            raise ValueError(
                f"an aligned face must be uint8 ({PHOTO_HEIGHT}, {PHOTO_WIDTH}, 3), "
                f"not {aligned.dtype} {aligned.shape}"
            )
        face = face_at(Photo(aligned, 1), CANONICAL_POINTS, self.description.capture)
        return self._embedded(face, hashlib.sha256(aligned.tobytes()).hexdigest())

    def _embedded(self, face: FoundFace, digest: str) -> Embedding:
        (vector,), (quality,) = self.network.embed(to_canvas(face.aligned)[None])
        if not quality >= self.description.capture.min_quality:
            raise DoubtfulError(
                "hardly to be seen as a face; show your own, from the front, in even light"
            )
        return Embedding(vector, self.description.model.sha256, digest, face, float(quality))

    def compare(
        self,
        first: Source | Embedding,
        second: Source | Embedding,
        *,
        threshold: float | None = None,
        allow_several: bool = False,
    ) -> Comparison:
        """Decide whether the photo of an identity card and a live photo show one person.

        Each is what `embed` takes, or an embedding. `first`, the card, may lie on any side.
        `threshold`: radians, [0, pi]; without it the one of `verifier.json`. Raises CaptureError
        as `embed` does, with `slot` "first" or "second", and InputError for an embedding of
        another model.
        """
        if threshold is None:
            threshold = self.description.threshold
        jobs = [
            workers.submit(self._slot, slot, photo, allow_several)
            for slot, photo in zip(SLOTS, (first, second), strict=True)
        ]
        one, other = (job.result() for job in jobs)
        theta, thetas = self.network.compare(one.vector[None], other.vector[None])
        names = [member.name for member in self.description.members]
        return Comparison(
            accepted=bool(theta[0] < threshold),
            theta=float(theta[0]),
            threshold=threshold,
            thetas=dict(zip(names, map(float, thetas[0]), strict=True)),
            identical=one.digest == other.digest != "",
            first=one,
            second=other,
        )

    def search(
        self, embedding: Embedding, vectors: np.ndarray, *, threshold: float | None = None
    ) -> Nearest:
        """Find the nearest of many embeddings of this model, float32 (M, N), to one.

        `threshold` as for `compare`. Raises InputError for an embedding of another model, and
        ValueError for `vectors` that are none.
        """
        self._check(embedding)
        if vectors.dtype != np.float32 or vectors.shape[1:] != (self.network.units,):
            raise ValueError(
                f"vectors must be float32 (M, {self.network.units}), "
                f"not {vectors.dtype} {vectors.shape}"
            )
        if not len(vectors):
            raise ValueError("there are no vectors to search")
        members = self.description.members
        thetas = nearest.thetas(
            embedding.vector,
            vectors,
            [member.tail for member in members],
            [member.weight for member in members],
        )
        row = int(thetas.argmin())  # of NaN, if there is one
        if np.isnan(thetas[row]):
            raise ValueError(f"vectors must be finite; row {row} is not")
        (theta,), _ = self.network.compare(embedding.vector[None], vectors[row : row + 1])
        threshold = self.description.threshold if threshold is None else threshold
        return Nearest(row, float(theta), bool(theta < threshold))

    def _check(self, embedding: Embedding) -> None:
        embedding.check_model(self.description.model.sha256, self.network.units)

    def _slot(self, slot: str, photo: Source | Embedding, allow_several: bool) -> Embedding:
        if isinstance(photo, Embedding):
            self._check(photo)
            return photo
        try:
            return self.embed(photo, any_side=slot == "first", allow_several=allow_several)
        except CaptureError as error:
            error.slot = slot
            raise
