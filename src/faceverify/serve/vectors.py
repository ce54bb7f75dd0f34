"""Embeddings as JSON: told to a client, read from one, compared."""

from typing import Any

import numpy as np

from faceverify.serve.faults import RequestError
from faceverify.verify.verifier import ACCEPT, REJECT, Embedding, Verifier


def told(verifier: Verifier, embedding: Embedding) -> dict[str, Any]:
    """An embedding as JSON: `vector`, and the SHA-256 of the model that gave it."""
    return {
        "model": verifier.description.model.sha256,
        "vector": [float(number) for number in embedding.vector],
    }


def read(verifier: Verifier, sent: dict[str, Any], name: str) -> np.ndarray:
    """The embedding of this name in what a client sent, float32 (N,).

    Raises RequestError: 400 for what is no embedding, 422 for one of another model.
    """
    embedding = sent.get(name)
    if not isinstance(embedding, dict) or set(embedding) != {"model", "vector"}:
        raise RequestError(400, "malformed", f"send {name} as /v1/embed gave it: model and vector")
    if embedding["model"] != verifier.description.model.sha256:
        raise RequestError(
            422, "other_model", f"{name} is an embedding of another model; embed the photo again",
            {"card": "first", "live": "second"}[name],
        )  # fmt: skip
    numbers, size = embedding["vector"], verifier.network.units
    if (
        not isinstance(numbers, list)
        or len(numbers) != size
        or not all(type(number) in (int, float) and abs(number) < 1e6 for number in numbers)
    ):
        raise RequestError(400, "malformed", f"the vector of {name} is not {size} numbers")
    return np.array(numbers, np.float32)


def compare(verifier: Verifier, card: np.ndarray, live: np.ndarray) -> dict[str, Any]:
    """The decision on two embeddings, float32 (N,) each; angles in radians."""
    (theta,), _ = verifier.network.compare(card[None], live[None])
    threshold = verifier.description.threshold
    return {
        "decision": ACCEPT if theta < threshold else REJECT,
        "theta": round(float(theta), 6),
        "threshold": threshold,
    }
