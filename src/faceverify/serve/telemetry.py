"""What is told of a request: a line of JSON, and figures for Prometheus; never what it held."""

import json
import sys
import time
import uuid
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faceverify.serve.line import Line

# Seconds; a comparison takes about a tenth.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
UNKNOWN = "other"  # in place of a path that is none of the service's


class Figures:
    """The service's figures, in a registry of their own."""

    def __init__(self, line: Line) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "faceverify_requests", "Requests answered", ["path", "status", "code"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "faceverify_request_seconds", "Seconds from a request's head to its answer", ["path"],
            buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.work = Histogram(
            "faceverify_work_seconds", "Seconds of a thread's work", ["path"],
            buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.decisions = Counter(
            "faceverify_decisions", "Decisions given", ["decision"], registry=self.registry
        )
        jobs = Gauge("faceverify_jobs", "Jobs done or waiting", registry=self.registry)
        jobs.set_function(lambda: line.jobs)


class Telemetry:
    """ASGI middleware: gives each request an identifier and tells of it when it has ended.

    Handlers add to `request.state.told`: `code`, `bytes`, and `work`, in seconds.
    """

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self.app, self.figures = app, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        told: dict[str, Any] = {"request": uuid.uuid4().hex, "status": 499, "code": ""}
        scope.setdefault("state", {})["told"] = told

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                message["headers"].append((b"x-request-id", told["request"].encode()))
            await send(message)

        try:
            await self.app(scope, receive, answering)
        except Exception:
            told.update(status=500, code="crash")
            raise
        finally:
            self._tell(scope, told, time.perf_counter() - start)

    def _tell(self, scope: Scope, told: dict[str, Any], seconds: float) -> None:
        path = getattr(scope.get("route"), "path", UNKNOWN)  # the client's own may hold anything
        self.figures.requests.labels(path, told["status"], told["code"]).inc()
        self.figures.seconds.labels(path).observe(seconds)
        tell(told | {"path": path, "seconds": round(seconds, 4)})


def tell(values: dict[str, Any]) -> None:
    """Print a line of JSON, with the time in seconds since 1970."""
    sys.stdout.write(json.dumps({"time": round(time.time(), 3)} | values) + "\n")
    sys.stdout.flush()
