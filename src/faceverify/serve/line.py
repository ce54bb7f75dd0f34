"""The bounded line of work: who waits, who is turned away, who waits no longer."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from faceverify.serve.faults import RequestError

# Jobs that are done or wait; more are turned away.
PLACES = 64
# Bytes of all bodies that are held at a time.
ROOM = 256 * 2**20
# Seconds that a job may wait and take.
TIME_LIMIT = 20.0


class Line:
    """Jobs for some threads: PLACES at a time, waiting included, and ROOM bytes of bodies.

    To be used from one event loop.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="work")
        self._places = threading.BoundedSemaphore(PLACES)
        self._lock = threading.Lock()
        self._room = ROOM
        self.jobs = 0

    @property
    def is_full(self) -> bool:
        """Whether the next job would be turned away."""
        return self.jobs >= PLACES

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Hold room for a body of so many bytes; RequestError 429 where there is none."""
        if size > self._room:
            raise _full()
        self._room -= size
        try:
            yield
        finally:
            self._room += size

    async def done(self, gone: asyncio.Future, work: Callable, *given: object) -> Any:
        """What `work(*given)` gives, done by a thread.

        Raises RequestError: 429 where the line is full, 503 after TIME_LIMIT seconds, 499 where
        `gone` is done first. A job that nobody waits for is not begun; one that was begun keeps its
        place until it ends, because a thread cannot be stopped.
        """
        job = asyncio.wrap_future(self._submitted(work, *given))
        await asyncio.wait({job, gone}, timeout=TIME_LIMIT, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        job.cancel()
        if gone.done():
            raise hung_up()
        raise RequestError(503, "timeout", f"no decision within {TIME_LIMIT:g} seconds; try again")

    def close(self) -> None:
        """Wait for what was begun, drop what waits."""
        self._pool.shutdown(cancel_futures=True)

    def _submitted(self, work: Callable, *given: object) -> Future:
        if not self._places.acquire(blocking=False):
            raise _full()
        self._count(1)
        job = self._pool.submit(work, *given)
        job.add_done_callback(self._leave)
        return job

    def _leave(self, _job: Future) -> None:
        self._count(-1)
        self._places.release()

    def _count(self, change: int) -> None:
        with self._lock:
            self.jobs += change


def hung_up() -> RequestError:
    """The fault of a client that does not wait for its answer; 499 is a custom of web servers."""
    return RequestError(499, "hung_up", "the client hung up")


def _full() -> RequestError:
    return RequestError(429, "busy", "more requests than can be served; try again later")
