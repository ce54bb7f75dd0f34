"""Bodies of requests, read into memory within limits; nothing of them touches a disk."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from faceverify.base.files import parse_json
from faceverify.serve.faults import RequestError
from faceverify.serve.line import hung_up

# The most bytes of a body, and the seconds within which it must have come.
MAX_BODY = 32 * 2**20
READ_LIMIT = 10.0
FORM, JSON = "multipart/form-data", "application/json"


class _InMemory(MultiPartParser):
    """Starlette's parser writes parts of more than a megabyte to a file; this one never does."""

    spool_max_size = MAX_BODY + 1


def declared_size(request: Request) -> int:
    """The bytes that a body may have: as many as it declares, or MAX_BODY.

    Raises RequestError 413 where it declares more.
    """
    declared = request.headers.get("content-length")
    size = int(declared) if declared is not None else MAX_BODY
    if size > MAX_BODY:
        raise _too_large()
    return size


async def photos(request: Request, names: Sequence[str]) -> dict[str, bytes]:
    """The photos of a body by name: files of a form, or base64 in JSON.

    At least one, and none of a name beyond `names`. Raises RequestError: 400,
    408, 413, 415 or 499.
    """
    kind = _kind(request)
    if kind == FORM:
        found = await _in_time(_form(request))
    elif kind == JSON:
        found = {name: _decoded(name, text) for name, text in (await values(request)).items()}
    else:
        raise RequestError(415, "media_type", f"send {FORM} or {JSON}")
    if unknown := sorted(set(found) - set(names)):
        raise _malformed(f"{unknown[0][:40]!r} is not one of {', '.join(names)}")
    return found


async def values(request: Request) -> dict[str, Any]:
    """The object of a JSON body. Raises RequestError: 400, 408, 413, 415, or 499."""
    if _kind(request) != JSON:
        raise RequestError(415, "media_type", f"send {JSON}")
    data = await _in_time(_whole(request))
    try:
        found = parse_json(data)
    except ValueError:
        raise _malformed("the body is not valid JSON") from None
    if not isinstance(found, dict):
        raise _malformed("the body is no JSON object")
    return found


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _in_time(reading: Any) -> Any:
    try:
        async with asyncio.timeout(READ_LIMIT):
            return await reading
    except TimeoutError:
        raise RequestError(
            408, "slow", f"the body did not come within {READ_LIMIT:g} seconds; send it again"
        ) from None
    except ClientDisconnect:
        raise hung_up() from None


async def _limited(request: Request) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()
        yield chunk


async def _whole(request: Request) -> bytes:
    return b"".join([chunk async for chunk in _limited(request)])


async def _form(request: Request) -> dict[str, bytes]:
    parser = _InMemory(request.headers, _limited(request), max_files=2, max_fields=2)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise _malformed("the form is damaged, or has more than two files") from None
    found: dict[str, bytes] = {}
    for name, part in form.multi_items():
        if not isinstance(part, UploadFile) or name in found:
            raise _malformed(f"send {name[:40]!r} once, as a file")
        found[name] = await part.read()
    return found


def _decoded(name: str, text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _malformed(f"{name[:40]!r} is not base64") from None


def _too_large() -> RequestError:
    return RequestError(413, "too_large", f"the body has more than {MAX_BODY // 2**20} MB")


def _malformed(message: str) -> RequestError:
    return RequestError(400, "malformed", message)
