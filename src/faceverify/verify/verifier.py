"""Two photos in, a decision out: the exported verifier as a library, without TensorFlow."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base import digests, files
from faceverify.base.errors import GivenFileError, InputError
from faceverify.faces import landmarks
from faceverify.faces.aligned_photos import to_canvas
from faceverify.verify import camera_photos, face_search, verifier_file
from faceverify.verify.capture import FoundFace, find_face
from faceverify.verify.refusals import CaptureError, DoubtfulError

# Where the landmark model lies, seen from verifier.json: beside it in an app, or as in the
# repository.
LANDMARK_FOLDERS = (".", "../data")
# What the two photos of a comparison are called (first the identity card's, then the live one),
# and the two decisions.
SLOTS = ("first", "second")
ACCEPT, REJECT = "accept", "reject"


class Embedding(NamedTuple):
    """A photo's embedding, which can be compared with others.

    `vector`: float32 (N,), the members' tails one after the other. `face`: the face that was
    embedded. `digest`: SHA-256 of the photo file. `quality`: how far the face is believed to be
    one, [0, 1].
    """

    vector: np.ndarray
    face: FoundFace
    digest: str
    quality: float


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
        landmark_model: Path,
    ) -> None:
        self.description = description
        self.network = network
        self.landmark_model = landmark_model

    @classmethod
    def load(cls, path: Path | str) -> "Verifier":
        """Load a `verifier.json` and the two models that it names.

        The model lies beside it; dlib's landmark model beside it or in `../data`. Raises
        InputError, in one line, when a file is missing or is not the one that `verifier.json`
        describes.
        """
        path = Path(path)
        named = verifier_file.read(path).landmark_model
        places = [
            files.path_inside(path.parent / folder, named.file) for folder in LANDMARK_FOLDERS
        ]
        landmark_model = next((place for place in places if place.is_file()), None)
        if landmark_model is None:
            raise GivenFileError(f"{places[0]} is missing; put dlib's landmark model there")
        # dlib holds Python's lock while it loads; all else is done meanwhile or in between.
        with ThreadPoolExecutor(2) as pool:
            digest = pool.submit(digests.digest, landmark_model)
            loaded = pool.submit(verifier_file.load, path)
            face_search.detector()
            if digest.result() != named.sha256:
                raise InputError(f"{landmark_model} is not the file that {path.name} describes")
            landmarks.predictor(landmark_model)
            return cls(*loaded.result(), landmark_model)

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
            self.landmark_model,
            limits,
            any_side=any_side,
            allow_several=allow_several,
        )
        (vector,), (quality,) = self.network.embed(to_canvas(face.aligned)[None])
        if not quality >= limits.min_quality:
            raise DoubtfulError(
                "hardly to be seen as a face; show your own, from the front, in even light"
            )
        return Embedding(vector, face, hashlib.sha256(data).hexdigest(), float(quality))

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
