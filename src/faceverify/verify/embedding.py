"""A photo's embedding: what is stored of a photo, and compared without it."""

import base64
import binascii
import json
import re
from typing import Any, NamedTuple

import numpy as np

from faceverify.base.errors import InputError
from faceverify.verify.capture import FoundFace

_SHA256 = re.compile("[0-9a-f]{64}")


class Embedding(NamedTuple):
    """A photo's embedding, which can be compared with others.

    `vector`: float32 (N,), the members' tails one after the other. `model`: SHA-256 of the model
    file that made it; it cannot be compared with those of another. `digest`: SHA-256 of the photo
    file, empty where there was none. `face`: the face that was embedded, and `quality` how far it
    is believed to be one, [0, 1]; both None in what was stored: neither pickle nor JSON keeps them.
    """

    vector: np.ndarray
    model: str
    digest: str = ""
    face: FoundFace | None = None
    quality: float | None = None

    @classmethod
    def from_vector(cls, vector: np.ndarray, model: str, digest: str = "") -> "Embedding":
        """An embedding of what was stored of one: its `vector`, its `model` and its `digest`.

        Raises InputError for numbers that are no vector, and for a `model` or `digest` that is
        no SHA-256.
        """
        found = np.asarray(vector)
        if found.ndim != 1 or found.dtype.kind not in "fi" or not np.isfinite(found).all():
            raise InputError("the vector of an embedding must be finite numbers in one row")
        if not _is_digest(model) or not (digest == "" or _is_digest(digest)):
            raise InputError("the model and the digest of an embedding must be SHA-256 in hex")
        return cls(np.array(found, np.float32), model, digest)

    def to_json(self) -> str:
        """The embedding as JSON, about 1.4 times as many characters as its vector has bytes."""
        data = np.asarray(self.vector, "<f4").tobytes()
        vector = base64.b64encode(data).decode("ascii")
        return json.dumps({"model": self.model, "digest": self.digest, "vector": vector})

    @classmethod
    def from_json(cls, text: str) -> "Embedding":
        """The embedding that `to_json` wrote; InputError for any other text."""
        try:
            values = json.loads(text)
            data = base64.b64decode(values["vector"], validate=True)
            vector = np.frombuffer(data, "<f4")
            model, digest = values["model"], values["digest"]
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
            raise InputError("this is not the JSON of an embedding") from None
        return cls.from_vector(vector, model, digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what can be compared, without the picture of the face."""
        return Embedding, (self.vector, self.model, self.digest)

    def check_model(self, model: str, size: int) -> None:
        """Raise InputError unless the model of this SHA-256 made this vector, of `size` numbers."""
        if self.model != model:
            raise InputError(
                f"the embedding is of another model ({self.model[:12]}) than this verifier's "
                f"({model[:12]}); embed the photo again"
            )
        if self.vector.shape != (size,):
            raise InputError(f"the embedding has {len(self.vector)} numbers, not {size}")


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None
