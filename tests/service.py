"""A running `faceverify serve`, for the tests that ask it."""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from helpers import ROOT

KEY = "a-key-of-the-tests"
COMMAND = (sys.executable, "-m", "faceverify")


def named(app: Path) -> tuple[str, str]:
    """The option that names an app's verifier."""
    return "--verifier", str(app / "models/verifier.json")


class Service:
    """A running `faceverify serve`; once it listens, it cannot write a byte to any file."""

    def __init__(self, folder: Path, app: Path, *options: str, key: str | None = KEY) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        environment.pop("FACEVERIFY_API_KEY", None)
        if key:
            environment["FACEVERIFY_API_KEY"] = key
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", *options, *named(app)],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.out: list[str] = []
        self.err: list[str] = []
        for pipe, kept in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=kept.extend, args=(pipe,), daemon=True).start()
        self.port = self.line(event="listening")["port"]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0, 0))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60
        )

    def lines(self) -> list[dict]:
        """The lines of its log so far."""
        return [json.loads(line) for line in list(self.out)]

    def line_of(self, answer: httpx.Response) -> dict:
        """The log line of a request, which may come a little after the answer."""
        return self.line(request=answer.headers["x-request-id"])

    def line(self, **values: object) -> dict:
        """The first log line with these values, which may yet have to come."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            for line in self.lines():
                if values.items() <= line.items():
                    return line
            time.sleep(0.05)
        raise AssertionError(f"no line has {values}: {self.out} {self.err}")

    def stop(self) -> int:
        """Ask it to stop; gives its exit code."""
        self.client.close()
        self.process.terminate()
        return self.process.wait(60)
