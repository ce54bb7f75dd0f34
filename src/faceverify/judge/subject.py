"""The verifier as it is judged: first photos on cards where wanted, dlib's descriptor beside it."""

import hashlib
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.cards.effects import Effects
from faceverify.cards.phone import photographed_card
from faceverify.faces import dlib_descriptor
from faceverify.verify import camera_photos
from faceverify.verify.capture import find_face
from faceverify.verify.embedding import Embedding
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import Verifier
from faceverify.verify.verifier_file import Network

# A turn all the way round: the face is upright, yet was not found in the photo as it is.
FULL_TURN = 4
# dlib's detector and network keep their state in themselves.
_describing = threading.Lock()


class CardPrinter(NamedTuple):
    """What decides how a first photo looks on a card.

    The card of a photo is drawn from `seed` and the photo's name in `folder`.
    """

    effects: Effects
    seed: int
    folder: Path


class DlibModels(NamedTuple):
    """The files of dlib's landmark model and of its face descriptor network."""

    predictor: Path
    network: Path


class NoCardError(CaptureError):
    """The photo has no face that could be printed on a card."""

    code = "no_card"


class Subject(Verifier):
    """A verifier for a list of pairs; compares `distances` beside its angles where wanted."""

    def __init__(
        self, verifier: Verifier, printer: CardPrinter | None, dlib: DlibModels | None
    ) -> None:
        """Judge `verifier`: with cards by `printer`, and beside dlib where its models are named."""
        network = verifier.network
        if dlib is not None:
            network = _NetworkBeside(network)
        super().__init__(verifier.description, network, verifier.faces)
        self.printer = printer
        self.dlib = dlib

    def settings(self) -> str:
        """All that scores depend on beside the photos: verifier, cards, and what is beside it."""
        printer = self.printer and (self.printer.effects.model_dump_json(), self.printer.seed)
        beside = self.dlib is not None
        return repr((self.description.model_dump_json(), printer, beside))

    def embed(
        self, photo: Path | str | bytes, *, any_side: bool = False, allow_several: bool = False
    ) -> Embedding:
        """Embed a photo as `Verifier.embed` does; `any_side` is true for first photos alone.

        The digest is that of the photo's own file, also where it was put on a card. dlib's
        descriptor follows the verifier's own numbers in the vector.
        """
        own = camera_photos.read_bytes(Path(photo))
        seen = self._as_seen(own, str(photo), any_side)
        found = super().embed(seen, any_side=any_side, allow_several=allow_several)
        face, vector = found.face, found.vector
        if self.dlib is not None:
            vector = np.concatenate([vector, self._descriptor(face.aligned)])
        if seen is not own:
            # The same photo in the other slot is another picture.
            face = face._replace(turns=face.turns + FULL_TURN)
        return found._replace(vector=vector, face=face, digest=hashlib.sha256(own).hexdigest())

    def aligned(self, photo: str, *, first: bool) -> np.ndarray:
        """The face of a first or second photo as the network sees it, uint8 RGB (218, 178, 3).

        Raises CaptureError as `embed` does.
        """
        seen = self._as_seen(camera_photos.read_bytes(Path(photo)), photo, first)
        limits = self.description.capture
        decoded = camera_photos.decode(seen)
        return find_face(decoded, self.faces, limits, any_side=first).aligned

    def _as_seen(self, data: bytes, photo: str, first: bool) -> bytes:
        """The file that the verifier gets: the photo's own, or a photo of a card."""
        if self.printer is None or not first:
            return data
        try:
            limits = self.description.capture
            face = find_face(camera_photos.decode(data), self.faces, limits)
        except CaptureError as error:
            raise NoCardError(f"no card can be made of the photo: {error}") from None
        name = Path(photo).relative_to(self.printer.folder).as_posix()
        return photographed_card(face.aligned, self.printer.effects, self.printer.seed, name)

    def _descriptor(self, aligned: np.ndarray) -> np.ndarray:
        with _describing:
            points = dlib_descriptor.landmarks_of_aligned(aligned, self.dlib.predictor)
            return dlib_descriptor.describe(aligned, points, self.dlib.network)


class _NetworkBeside:
    """A network that notes the distances of dlib's descriptors, which follow its own numbers."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.distances: list[np.ndarray] = []

    def embed(self, canvases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.network.embed(canvases)

    def compare(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [np.split(vectors, [self.network.units], axis=1) for vectors in (first, second)]
        (one, one_descriptor), (other, other_descriptor) = parts
        self.distances.append(np.linalg.norm(one_descriptor - other_descriptor, axis=1))
        return self.network.compare(np.ascontiguousarray(one), np.ascontiguousarray(other))
