"""The interpreters of a model file: lent to one thread at a time, at most one a core."""

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from faceverify.verify.face_networks import SIDE, Finder, Mesh, paths
from faceverify.verify.interpreters import PATIENCE, Interpreters
from helpers import ROOT

CORES = os.cpu_count()


@pytest.fixture(scope="module")
def models(sample):
    return [path.read_bytes() for path in paths(sample)]


def squares(count):
    return np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def test_threads_at_once_get_what_one_gets(models):
    finder, mesh = Finder(models[0]), Mesh(models[1])

    def both(square):
        points, score = mesh.read(square)
        return b"".join(part.tobytes() for part in (*finder.find(square), points)), score

    views = squares(40)
    alone = [both(view) for view in views]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(both, views)) == alone


def lent(pool, threads, times):
    """The interpreters that threads at once are lent, and the most at a time."""
    seen, held, most = set(), Counter(), 0

    def borrow(_):
        nonlocal most
        with pool.borrowed() as interpreter:
            seen.add(id(interpreter))
            held[id(interpreter)] += 1
            most = max(most, max(held.values()))
            time.sleep(0.002)
            held[id(interpreter)] -= 1
        time.sleep(0.002)

    with ThreadPoolExecutor(threads) as working:
        list(working.map(borrow, range(threads * times)))
    return len(seen), most


def test_a_comparison_makes_do_with_one(models):
    assert lent(Interpreters(models[1]), 2, PATIENCE // 2) == (1, 1)


def test_at_most_one_a_core_is_made_and_each_has_one_borrower(models):
    assert lent(Interpreters(models[1]), 2 * CORES, 50 * CORES) == (CORES, 1)


def test_an_error_of_a_borrower_gives_the_interpreter_back(models):
    pool = Interpreters(models[1])
    for _ in range(CORES + 1):
        with pytest.raises(ZeroDivisionError), pool.borrowed():
            raise ZeroDivisionError
    with pool.borrowed():
        pass


def test_what_is_no_model_is_told():
    with pytest.raises((ValueError, RuntimeError)):
        Interpreters(b"no model")


MEASURED = r"""
import re, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from faceverify.verify.face_networks import SIDE, Finder

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

finder = Finder(Path(sys.argv[1]).read_bytes())
square = np.zeros((SIDE, SIDE, 3), np.uint8)
with ThreadPoolExecutor(8) as threads:
    for _ in range(3):  # the first makes what there is once
        list(threads.map(finder.find, [square] * 400))
        print(peak())
"""


def test_memory_stays_flat_under_threads(sample):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, paths(sample)[0]],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, _, last = map(int, result.stdout.split())
    assert last - first < 4000  # kB; another interpreter takes twice that
