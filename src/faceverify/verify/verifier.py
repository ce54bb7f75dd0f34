"""Two photos in, a decision out: the exported verifier as a library, without TensorFlow."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base import digests, files
from faceverify.base.errors import GivenFileError, InputError
from faceverify.faces import landmarks
from faceverify.faces.aligned_photos import to_canvas
from faceverify.verify import face_search, nearest, photo_sources, verifier_file, workers
from faceverify.verify.capture import find_face
from faceverify.verify.embedding import Embedding
from faceverify.verify.photo_sources import Source
from faceverify.verify.refusals import CaptureError, DoubtfulError

# Where the landmark model lies, seen from verifier.json: beside it in an app, or as in the
# repository.
LANDMARK_FOLDERS = (".", "../data")
# What the two photos of a comparison are called (first the identity card's, then the live one),
# and the two decisions.
SLOTS = ("first", "second")
ACCEPT, REJECT = "accept", "reject"
# Below this theta, in radians, one photo is taken for a copy of the other. Measured with the
# shipped verifier on photos of CelebA and RMFRD: 97.8% of 2,404 copies (turned, scaled, brightened,
# encoded again) were below it; of 1,848 pairs of photos of one person two, each one photo in two
# colourings, and the lowest theta of what may be two shots was 0.197.
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
