"""Two photos in, a decision out: the exported verifier as a library, without TensorFlow."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.faces.aligned_photos import PHOTO_HEIGHT, PHOTO_WIDTH, to_canvas
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.verify import camera_photos, verifier_file
from faceverify.verify.camera_photos import Photo
from faceverify.verify.capture import FoundFace, face_at, find_face
from faceverify.verify.face_networks import FaceNetworks
from faceverify.verify.refusals import CaptureError

# What the two photos of a comparison are called (first the identity card's, then the live one),
# and the two decisions.
SLOTS = ("first", "second")
ACCEPT, REJECT = "accept", "reject"


class Embedding(NamedTuple):
    """A photo's embedding, which can be compared with others.

    `vector`: float32 (N,), the members' tails one after the other. `face`: the face that was
    embedded. `digest`: SHA-256 of the photo file.
    """

    vector: np.ndarray
    face: FoundFace
    digest: str


class Comparison(NamedTuple):
    """Two photos compared.

    `theta`: the ensemble's angle in radians, [0, pi], low for one person; `thetas` by member.
    `accepted`: theta < `threshold`. `identical`: both photos are one file, byte by byte, which
    says nothing about two photos of a person.
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
        self, photo: Path | str | bytes, *, any_side: bool = False, allow_several: bool = False
    ) -> Embedding:
        """Find, align and embed the face of a photo: a file's path, or its bytes.

        With `any_side` a face that lies on its side or upside down is found too, as on an
        identity card. With `allow_several` the largest of several faces is taken. Raises the
        CaptureError that says why the photo cannot be used (`faceverify.verify.refusals`).
        """
        data = photo if isinstance(photo, bytes) else camera_photos.read_bytes(Path(photo))
        limits = self.description.capture
        face = find_face(
            camera_photos.decode(data),
            self.faces,
            limits,
            any_side=any_side,
            allow_several=allow_several,
        )
        return self._embedded(face, data)

    def embed_points(self, photo: Path | str | bytes, points: np.ndarray) -> Embedding:
        """Embed the face of a photo whose five points the caller has found.

        `points`: (5, 2) as (x, y), in pixels of the upright photo at its full size: the person's
        right and left eye centre, the nose tip, the right and left mouth corner. Raises
        WrongPointsError where they do not lie as a face's do, ValueError for another shape, and
        CaptureError as `embed` does.
        """
        points = np.asarray(points, float)
        if points.shape != CANONICAL_POINTS.shape:
            raise ValueError(f"points must be {CANONICAL_POINTS.shape}, not {points.shape}")
        data = photo if isinstance(photo, bytes) else camera_photos.read_bytes(Path(photo))
        decoded = camera_photos.decode(data)
        # Pixel centres lie at whole numbers in both pictures.
        places = (points + 0.5) / decoded.scale - 0.5
        return self._embedded(face_at(decoded, places, self.description.capture), data)

    def embed_aligned(self, aligned: np.ndarray) -> Embedding:
        """Embed a face that the caller has aligned as `verifier.json` says.

        `aligned`: uint8 RGB (218, 178, 3), else ValueError is raised. Raises CaptureError for one
        that is too dark, washed out or blurred.
        """
        if aligned.shape != (PHOTO_HEIGHT, PHOTO_WIDTH, 3) or aligned.dtype != np.uint8:
            raise ValueError(
                f"an aligned face must be uint8 ({PHOTO_HEIGHT}, {PHOTO_WIDTH}, 3), "
                f"not {aligned.dtype} {aligned.shape}"
            )
        face = face_at(Photo(aligned, 1), CANONICAL_POINTS, self.description.capture)
        return self._embedded(face, aligned.tobytes())

    def _embedded(self, face: FoundFace, data: bytes) -> Embedding:
        (vector,) = self.network.embed(to_canvas(face.aligned)[None])
        return Embedding(vector, face, hashlib.sha256(data).hexdigest())

    def compare(
        self,
        first: Path | str | bytes | Embedding,
        second: Path | str | bytes | Embedding,
        *,
        threshold: float | None = None,
        allow_several: bool = False,
    ) -> Comparison:
        """Decide whether the photo of an identity card and a live photo show one person.

        Each is a file's path, its bytes, or what `embed` gave. `first`, the card, may lie on any
        side. `threshold`: radians, [0, pi]; without it the one of `verifier.json`. Raises
        CaptureError as `embed` does, with `slot` "first" or "second".
        """
        if threshold is None:
            threshold = self.description.threshold
        with ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(self._slot, slot, photo, allow_several)
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
            identical=one.digest == other.digest,
            first=one,
            second=other,
        )

    def _slot(
        self, slot: str, photo: Path | str | bytes | Embedding, allow_several: bool
    ) -> Embedding:
        if isinstance(photo, Embedding):
            return photo
        try:
            return self.embed(photo, any_side=slot == "first", allow_several=allow_several)
        except CaptureError as error:
            error.slot = slot
            raise
