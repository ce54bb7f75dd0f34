"""What the OpenAPI page says of bodies and answers, with an example of each."""

from typing import Any

DESCRIPTION = (
    "Do an identity card and a live photo show one person? Photos are JPEG, PNG, WebP, BMP or "
    "TIFF, 32 MB a request; none is kept. A decision is 200, a photo that cannot be used 422."
)
_PHOTO = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "format": "byte"}
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_EMBEDDING = {"model": _DIGEST, "vector": [0.12, -0.03]}


def _photos(required: list[str]) -> dict[str, Any]:
    def schema(photo: dict[str, str]) -> dict[str, Any]:
        names = {"card": photo, "live": photo}
        return {"type": "object", "properties": names, "required": required}

    example = dict.fromkeys(required or ["live"], "/9j/4AAQSkZJRg==")
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": schema(_PHOTO)},
                "application/json": {"schema": schema(_BASE64), "example": example},
            },
        }
    }


def _answer(description: str, example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


def _fault(description: str, code: str, message: str, slot: str | None = None) -> dict[str, Any]:
    return _answer(description, {"error": {"photo": slot, "code": code, "message": message}})


FAULTS: dict[int | str, dict[str, Any]] = {
    400: _fault("the body is not as described", "malformed", "send two photos, card and live"),
    401: _fault("no key, or a wrong one", "key", "send the service's key"),
    408: _fault("the body came too slowly", "slow", "the body did not come within 10 seconds"),
    413: _fault("the body is too large", "too_large", "the body has more than 32 MB"),
    415: _fault("another kind of body", "media_type", "send application/json"),
    422: _fault("a photo that cannot be used", "no_face", "no face was found", "first"),
    429: _fault("the line is full; see Retry-After", "busy", "try again later"),
    503: _fault("it took too long; see Retry-After", "timeout", "no decision in time"),
}
VERIFY, EMBED = _photos(["card", "live"]), _photos([])
COMPARE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["card", "live"]},
                "example": {"card": _EMBEDDING, "live": _EMBEDDING},
            }
        },
    }
}
_FACE = {"sha256": _DIGEST, "turns": 0, "interocular": 118.25, "faces": 1}
VERIFIED: dict[int | str, dict[str, Any]] = {
    200: _answer(
        "the decision, as `faceverify verify --json` prints it",
        {
            "decision": "accept", "theta": 0.31, "threshold": 0.6, "members": {"ja": 0.31},
            "first": _FACE, "second": _FACE, "warnings": [],
        },
    )
}  # fmt: skip
EMBEDDED: dict[int | str, dict[str, Any]] = {200: _answer("the embedding", _EMBEDDING)}
COMPARED: dict[int | str, dict[str, Any]] = {
    200: _answer("the decision", {"decision": "accept", "theta": 0.31, "threshold": 0.6})
}
