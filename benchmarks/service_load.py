"""Clients of the service, for locust: each asks for one decision after the other.

PHOTOS names the folder of the photos. An answer is counted under its status. A client that is
turned away waits as long as it is told to, one that finds no service for a moment.
"""

import os
import random
from pathlib import Path

import gevent
from locust import HttpUser, task

PHOTOS = sorted(Path(os.environ["PHOTOS"]).iterdir())
PAIRS = [[path.read_bytes() for path in PHOTOS[k : k + 2]] for k in range(0, len(PHOTOS) - 1, 2)]


class Client(HttpUser):
    """A client that never rests."""

    @task
    def verify(self) -> None:
        """Send a pair of photos."""
        photos = dict(zip(("card", "live"), random.choice(PAIRS), strict=True))
        with self.client.post("/v1/verify", files=photos, catch_response=True) as answer:
            # 0 where there was no answer.
            answer.request_meta["name"] = str(answer.status_code)
            if answer.status_code in (200, 422):
                answer.success()
        if not answer.status_code:
            gevent.sleep(0.2)
        if "Retry-After" in (answer.headers or {}):
            gevent.sleep(float(answer.headers["Retry-After"]))
