"""What the service bears: rates and times by clients, memory, too much load, bad clients.

Run it from the repository's root on a quiet machine, when the verifier has been made:
`python benchmarks/bench_service.py` writes benchmarks/service.json. The clients are locust's
(service_load.py), on the same machine, so that they take their share of its cores. The photos are
those of 600 pixels of bench_verify.py; dlib decides on the same ones beside it, and so do the calls
of the package face_recognition where it is installed, which dlib-bin's dlib suffices for:
`pip install --no-deps face_recognition face_recognition_models 'setuptools<81'`.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import dlib_route
from bench_verify import make_photos
from faceverify.serve import bodies, line
from measuring import machine, peak_memory

OUT = ROOT / "benchmarks/service.json"
CLIENTS = (1, 4, 16, 64)
PHOTOS, BAD_CLIENTS = 40, 32
# What is sent but for its end: a request that never becomes whole.
HEAD = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Asked:
    """A running service, by its process and the port at which it listens."""

    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process, self.port = process, port
        self.url = f"http://127.0.0.1:{port}"

    def figure(self, name: str) -> float:
        """A figure of /metrics: the sum of all whose name and labels begin so."""
        text = urllib.request.urlopen(f"{self.url}/metrics", timeout=60).read().decode()
        rows = (row.rpartition(" ") for row in text.splitlines() if row.startswith(name))
        return sum(float(value) for _, _, value in rows)

    def memory(self) -> float:
        """Megabytes that it has now."""
        return round(self.figure("process_resident_memory_bytes") / 2**20, 1)


def started() -> Asked:
    """Start `faceverify serve`, without a key; its log is read and thrown away."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faceverify", "serve", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE,
    )  # fmt: skip
    port = json.loads(process.stdout.readline())["port"]
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return Asked(process, port)


def load(url: str, photos: Path, clients: int, seconds: float) -> subprocess.Popen:
    """Start so many clients for so many seconds."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "locust", "--locustfile", "benchmarks/service_load.py",
            "--headless", "--json", "--host", url, "--users", str(clients),
            "--spawn-rate", str(clients), "--run-time", f"{math.ceil(seconds)}s",
            "--stop-timeout", "30", "--exit-code-on-error", "0",
        ],
        cwd=ROOT, env={**os.environ, "PHOTOS": str(photos)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def told(loading: subprocess.Popen) -> dict[str, object]:
    """What the clients saw: answers by status, and rate and times, in ms, of the decisions."""
    entries = {entry["name"]: entry for entry in json.loads(loading.communicate()[0])}
    seen: dict[str, object] = {
        "answers": {name: entry["num_requests"] for name, entry in sorted(entries.items())}
    }
    if decided := entries.get("200"):
        span = decided["last_request_timestamp"] - decided["start_time"]
        seen["decisions/s"] = round(decided["num_requests"] / span, 2)
        times = sorted(
            itertools.chain.from_iterable(
                [float(ms)] * count for ms, count in decided["response_times"].items()
            )
        )
        for share in (50, 95, 99):
            seen[f"p{share}, ms"] = times[min(len(times) * share // 100, len(times) - 1)]
    return seen


def by_clients(service: Asked, photos: Path, seconds: float) -> dict[str, object]:
    """Rates and times at each number of clients."""
    return {str(n): told(load(service.url, photos, n, seconds)) for n in CLIENTS}


def over_requests(service: Asked, photos: Path, requests: int) -> dict[str, float]:
    """Memory, MB, as the requests are counted: after a tenth of them and after all."""
    found = {}
    for count in (requests // 10, requests):
        while (done := service.figure("faceverify_decisions_total")) < count:
            rate = 10  # a guess, for how long to ask on; a fast service is counted again soon
            told(load(service.url, photos, 4, min(max((count - done) / rate, 2), 60)))
        found[f"after {int(done)} decisions, MB"] = service.memory()
    return found | {"peak, MB": round(peak_memory(service.process.pid), 1)}


def too_much(service: Asked, photos: Path, seconds: float) -> dict[str, object]:
    """Twice as many clients as there are places: who is served, how long the line grows."""
    loading = load(service.url, photos, 2 * line.PLACES, seconds)
    longest, slowest = 0.0, 0.0
    while loading.poll() is None:
        start = time.monotonic()
        longest = max(longest, service.figure("faceverify_jobs"))
        slowest = max(slowest, time.monotonic() - start)
        time.sleep(0.5)
    return told(loading) | {
        "longest line": longest,
        "slowest /metrics, s": round(slowest, 2),
        "memory, MB": service.memory(),
    }


@contextlib.contextmanager
def slow_clients(service: Asked) -> Iterator[None]:
    """Connections that begin a body and send no more of it, as many as BAD_CLIENTS."""
    with contextlib.ExitStack() as links:
        for _ in range(BAD_CLIENTS):
            link = links.enter_context(socket.create_connection(("127.0.0.1", service.port), 60))
            link.sendall(HEAD + b"Content-Length: 100000\r\n\r\n{")
        yield


def beside_slow_ones(service: Asked, photos: Path, seconds: float) -> dict[str, object]:
    """What four clients get while others are slow, and how many of these were ended."""
    ended = 'faceverify_requests_total{code="slow"'
    before = service.figure(ended)
    with slow_clients(service):
        seen = told(load(service.url, photos, 4, max(seconds, bodies.READ_LIMIT + 2)))
    return seen | {"slow clients": BAD_CLIENTS, "ended": service.figure(ended) - before}


def hung_up(service: Asked, photos: Path) -> dict[str, float]:
    """Clients that send a whole request and go: how much of their work is done nevertheless."""
    one, other = (path.read_bytes() for path in sorted(photos.iterdir())[:2])
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n' % part
        for part in ((b"card", one), (b"live", other))
    ]
    body = b"".join(parts) + b"--b--\r\n"
    kind = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b"
    worked = service.figure("faceverify_work_seconds_count")
    for _ in range(BAD_CLIENTS):
        with socket.create_connection(("127.0.0.1", service.port), 60) as link:
            link.sendall(kind + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.01)  # it is in the line
    while service.figure("faceverify_jobs"):
        time.sleep(0.1)
    return {
        "clients": BAD_CLIENTS,
        "jobs begun": service.figure("faceverify_work_seconds_count") - worked,
    }


def killed(service: Asked, photos: Path) -> dict[str, object]:
    """SIGKILL under load: what clients see, and how soon the next process answers."""
    before = service.figure("faceverify_decisions_total")
    loading = load(service.url, photos, 4, 10)
    while loading.poll() is None and service.figure("faceverify_decisions_total") < before + 8:
        time.sleep(0.1)
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    seen = told(loading)
    start = time.monotonic()
    again = started()
    listens = time.monotonic() - start
    again.process.terminate()
    return seen | {
        "next one listens after, s": round(listens, 2),
        "its end": again.process.wait(60),
    }


def by_face_recognition(first: str, second: str) -> float | None:
    """How far two photos' faces are apart by that package's calls; None where it sees none."""
    import face_recognition

    photos = map(face_recognition.load_image_file, (first, second))
    one, other = map(face_recognition.face_encodings, photos)
    return float(face_recognition.face_distance(one[:1], other[0])[0]) if one and other else None


def decides(distance: Callable[[str, str], float | None], photos: Path) -> dict[str, float]:
    """Decisions a second of such a function on the same pairs, on all cores."""
    paths = [str(path) for path in sorted(photos.iterdir())]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(distance, paths[:2], paths[:2]))  # not timed: models load
        start = time.perf_counter()
        count = len(list(pool.map(distance, paths[0::2], paths[1::2])))
    return {"decisions/s": round(count / (time.perf_counter() - start), 2)}


def measured(service: Asked, photos: Path, given: argparse.Namespace) -> dict[str, object]:
    """All that is asked of one process, which is killed at the end."""
    return {
        "clients": by_clients(service, photos, given.seconds),
        "memory": over_requests(service, photos, given.requests),
        "twice the load": too_much(service, photos, given.seconds),
        "slow clients": beside_slow_ones(service, photos, given.seconds),
        "hanging up": hung_up(service, photos),
        "killed": killed(service, photos),
    }


def main() -> None:
    """Measure all, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30, help="of each load; %(default)s")
    parser.add_argument("--requests", type=int, default=10_000, help="for memory; %(default)s")
    given = parser.parse_args()
    found: dict[str, object] = {"machine": machine(), "run": vars(given)}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "600 pixels"
        make_photos(photos, PHOTOS)
        service = started()
        try:
            found |= measured(service, photos, given)
        finally:
            service.process.kill()
        found["dlib alone"] = decides(dlib_route.distance, photos)
        if importlib.util.find_spec("face_recognition"):
            found["face_recognition"] = decides(by_face_recognition, photos)
    found["load at its end"] = machine()["load"]
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
