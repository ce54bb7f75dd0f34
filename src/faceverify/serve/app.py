"""The HTTP interface: routes, the key, and a handler for each question about faces."""

import asyncio
import contextlib
import hmac
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from faceverify import __version__
from faceverify.serve import api, bodies, vectors
from faceverify.serve.faults import RequestError
from faceverify.serve.line import Line
from faceverify.serve.telemetry import Figures, Telemetry
from faceverify.verify.command import report
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import Verifier

PHOTOS = ("card", "live")
_bearer = HTTPBearer(auto_error=False, description="the key that the service was started with")
_open, _keyed = APIRouter(), APIRouter(prefix="/v1", responses=api.FAULTS)


def make_app(verifier: Verifier, key: str | None) -> FastAPI:
    """The service as an ASGI application; with a `key`, `/v1` is for those who send it."""
    line = Line(len(os.sched_getaffinity(0)))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        line.close()

    app = FastAPIOffline(
        redoc_url=None, title="faceverify", version=__version__, lifespan=lifespan,
        description=api.DESCRIPTION,
    )  # fmt: skip
    figures = Figures(line)
    app.state.verifier, app.state.line, app.state.figures = verifier, line, figures
    app.state.key = key
    app.add_middleware(Telemetry, figures=figures)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _not_there)
    app.add_exception_handler(Exception, _crashed)
    app.include_router(_open)
    app.include_router(_keyed, dependencies=[Depends(_with_key)])
    return app


def _with_key(
    request: Request,
    sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    key = request.app.state.key
    if key is None:
        return
    # Bytes, because compare_digest takes no text beyond ASCII.
    if not hmac.compare_digest((sent.credentials if sent else "").encode(), key.encode()):
        raise RequestError(401, "key", "send the service's key: Authorization: Bearer KEY")


async def _refused(request: Request, fault: RequestError) -> JSONResponse:
    request.state.told["code"] = fault.code
    return JSONResponse(fault.body(), fault.status, fault.headers)


async def _not_there(request: Request, error: HTTPException) -> JSONResponse:
    fault = RequestError(error.status_code, "http", str(error.detail))
    request.state.told["code"] = fault.code
    return JSONResponse(fault.body(), fault.status, error.headers)


async def _crashed(_request: Request, _error: Exception) -> JSONResponse:
    fault = RequestError(500, "crash", "a fault of the service itself")
    return JSONResponse(fault.body(), fault.status)


async def _worked(request: Request, work: Callable, *given: object) -> Any:
    """What `work(*given)` gives, done in the line; RequestError as `Line.done`, 422 for a photo."""
    seconds = request.app.state.figures.work.labels(request.scope["route"].path)

    def timed() -> Any:
        start = time.perf_counter()
        try:
            return work(*given)
        finally:
            spent = time.perf_counter() - start
            seconds.observe(spent)  # here, because the client may have gone
            request.state.told["work"] = round(spent, 4)

    gone = asyncio.ensure_future(request.receive())  # the body is read: what comes is the end
    try:
        return await request.app.state.line.done(gone, timed)
    except CaptureError as error:
        raise RequestError(422, error.code, str(error), error.slot) from None
    finally:
        gone.cancel()


@contextlib.asynccontextmanager
async def _photos(request: Request) -> AsyncIterator[dict[str, bytes]]:
    """The photos of a request's body, for which there is room meanwhile."""
    size = bodies.declared_size(request)
    with request.app.state.line.room(size):
        found = await bodies.photos(request, PHOTOS)
        request.state.told["bytes"] = sum(map(len, found.values()))
        yield found


@_keyed.post("/verify", openapi_extra=api.VERIFY, responses=api.VERIFIED)
async def verify(request: Request) -> Response:
    """Decide whether the photo of an identity card and a live photo show one person."""
    state = request.app.state
    async with _photos(request) as found:
        if len(found) < len(PHOTOS):
            raise RequestError(400, "malformed", "send two photos, card and live")
        compared = await _worked(request, state.verifier.compare, *(found[name] for name in PHOTOS))
    state.figures.decisions.labels(compared.decision).inc()
    return _json(report(compared))


@_keyed.post("/embed", openapi_extra=api.EMBED, responses=api.EMBEDDED)
async def embed(request: Request) -> Response:
    """Embed the face of one photo, `card` (which may lie on any side) or `live`."""
    verifier = request.app.state.verifier
    async with _photos(request) as found:
        if len(found) != 1:
            raise RequestError(400, "malformed", "send one photo, card or live")
        ((name, photo),) = found.items()

        def work() -> Any:
            return verifier.embed(photo, any_side=name == "card")

        embedded = await _worked(request, work)
    return _json(vectors.told(verifier, embedded))


@_keyed.post("/compare", openapi_extra=api.COMPARE, responses=api.COMPARED)
async def compare(request: Request) -> Response:
    """Compare two embeddings that this model gave."""
    state = request.app.state
    with state.line.room(bodies.declared_size(request)):
        sent = await bodies.values(request)
        pair = [vectors.read(state.verifier, sent, name) for name in PHOTOS]
        found = await _worked(request, vectors.compare, state.verifier, *pair)
    state.figures.decisions.labels(found["decision"]).inc()
    return _json(found)


@_keyed.get("/about")
async def about(request: Request) -> dict[str, Any]:
    """The version, and all that the verifier's description says: hashes, thresholds, limits."""
    description = request.app.state.verifier.description
    return {"version": __version__, "verifier": description.model_dump(mode="json")}


@_open.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@_open.get("/readyz", responses={503: {"description": "the line is full"}})
async def readyz(request: Request) -> dict[str, str]:
    """Say whether another photo would be taken now."""
    if request.app.state.line.is_full:
        raise RequestError(503, "busy", "the line is full; try again later")
    return {"status": "ok"}


@_open.get("/metrics")
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    figures = request.app.state.figures
    return Response(
        generate_latest(figures.registry), headers={"content-type": CONTENT_TYPE_LATEST}
    )


def _json(values: dict[str, Any]) -> Response:
    return Response(json.dumps(values, allow_nan=False), media_type="application/json")
