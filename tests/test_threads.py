"""The threads that stay: results in order, and nothing goes on when the caller has stopped."""

import threading
import time
from contextlib import closing

import pytest

from faceverify.verify import workers


def test_results_come_in_the_order_of_the_items_whatever_takes_longer():
    def doubled(item: int) -> int:
        time.sleep(0.02 * (item % 3 == 0))
        return 2 * item

    assert list(workers.results(doubled, range(40))) == list(range(0, 80, 2))


def test_a_caller_that_stops_leaves_nothing_at_work():
    begun, gate = [], threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item:
            gate.wait(30)
        return item

    with closing(workers.results(work, range(1000))) as found:
        assert next(found) == 0
        threading.Timer(0.2, gate.set).start()  # while the end of the block waits for the threads
    seen = len(begun)
    assert seen <= 1 + workers.THREADS  # what they had begun, and nothing that was in line
    assert workers.call(lambda: len(begun)) == seen


def test_the_first_error_is_raised_and_ends_the_work():
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("the fourth")
        return item

    with pytest.raises(ValueError, match="the fourth"):
        list(workers.results(work, range(1000)))
    assert len(begun) <= 3 + 2 * workers.THREADS + 1
