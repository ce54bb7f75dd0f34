"""LiteRT's interpreters of a model file, lent to the threads that run it."""

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ai_edge_litert.interpreter import Interpreter

from faceverify.base.quiet import held_stderr

# How often threads wait for an interpreter before another one is made; a long wait counts again
# after so many seconds.
PATIENCE, LONGEST_WAIT = 4, 0.1
# `held_stderr` holds back the whole process: only one thread at a time may use it.
_making = threading.Lock()


class Interpreters:
    """A pool of interpreters of one model file, at most one a core, for any number of threads.

    Each has its own copy of the weights, and making one takes as long as running it several times,
    so another is made only when threads have waited PATIENCE times: a single comparison of two
    plain photos makes do with one.
    """

    def __init__(self, data: bytes) -> None:
        """Take a model file's bytes; ValueError or RuntimeError for those of no model."""
        self._data = data
        self._idle: queue.LifoQueue[Interpreter] = queue.LifoQueue()
        self._more = threading.Semaphore(os.cpu_count() or 1)
        self._waits = 0  # since the last one was made; that it is about right is enough
        self._idle.put(self._another())

    @contextmanager
    def borrowed(self) -> Iterator[Interpreter]:
        """An interpreter, its tensors allocated, that no other thread uses meanwhile."""
        interpreter = self._taken()
        try:
            yield interpreter
        finally:
            self._idle.put(interpreter)

    def _taken(self) -> Interpreter:
        with suppress(queue.Empty):
            return self._idle.get_nowait()
        while True:
            self._waits += 1
            if self._waits > PATIENCE and (another := self._another()):
                return another
            with suppress(queue.Empty):
                return self._idle.get(timeout=LONGEST_WAIT)

    def _another(self) -> Interpreter | None:
        """One interpreter more; None where there are as many as cores."""
        if not self._more.acquire(blocking=False):
            return None
        try:
            with _making, held_stderr():  # LiteRT tells of its processor delegate
                interpreter = Interpreter(model_content=self._data, num_threads=1)
                interpreter.allocate_tensors()
        except BaseException:
            self._more.release()
            raise
        self._waits = 0
        return interpreter
