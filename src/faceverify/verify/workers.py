"""Threads that stay, for the work on photos.

dlib and OpenCV keep memory for each thread that ever used them and do not give it back when the
thread ends: a server that takes a new thread for each request would grow without end.
"""

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

# At least two: a comparison has two photos.
THREADS = max(os.cpu_count() or 1, 2)
_thread = threading.local()


def submit(function: Callable, *arguments: Any, **options: Any) -> Future:
    """Have one of the THREADS call a function."""
    return _pool(os.getpid()).submit(function, *arguments, **options)


def call(function: Callable, *arguments: Any, **options: Any) -> Any:
    """Have one of the threads call a function and wait for it; one of them calls it itself."""
    if getattr(_thread, "stays", False):
        return function(*arguments, **options)
    return submit(function, *arguments, **options).result()


def each(function: Callable, items: Iterable) -> list:
    """Have the threads call a function with each item; one of them calls it itself."""
    if getattr(_thread, "stays", False):
        return [function(item) for item in items]
    return [job.result() for job in [submit(function, item) for item in items]]


def results(function: Callable, items: Iterable) -> Iterator[Any]:
    """What a function gives for each item, in order, while the threads are some items ahead.

    Not for one of the threads. Close it where it may not be read to its end: the threads stop then.
    """
    on_their_way: deque[Future] = deque()
    try:
        for item in items:
            on_their_way.append(submit(function, item))
            if len(on_their_way) > 2 * THREADS:
                yield on_their_way.popleft().result()
        while on_their_way:
            yield on_their_way.popleft().result()
    finally:
        for job in on_their_way:
            job.cancel()
        wait(on_their_way)


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of a process: one that was forked has none of its parent's."""
    return ThreadPoolExecutor(
        THREADS,
        "faceverify",
        initializer=setattr,
        initargs=(_thread, "stays", True),
    )
