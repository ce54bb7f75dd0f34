"""What the benchmarks share: processes of their own, repeated times, memory, the machine."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

REPEATS = 3


class Rate(NamedTuple):
    """The median of some repeats, and how far the extremes are apart as a share of it."""

    median: float
    spread: float


class Apart(NamedTuple):
    """What a function gave in a process of its own, and the most memory of that process in MB."""

    result: object
    peak: float


def rate(work: Callable[[], int], repeats: int = REPEATS) -> Rate:
    """Units a second of `work`, which gives how many it did."""
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - start))
    median = statistics.median(rates)
    return Rate(median, (max(rates) - min(rates)) / median)


def apart(function: Callable, *arguments: object) -> Apart:
    """Call a function of a module in a fresh process: nothing is warm, all memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_with_peak, function, arguments).result()


def _with_peak(function: Callable, arguments: tuple) -> Apart:
    return Apart(function(*arguments), peak_memory(os.getpid()))


def peak_memory(pid: int) -> float:
    """Megabytes that a process has had at most; what `wait4` tells has its parent's in it."""
    status = Path(f"/proc/{pid}/status").read_text()
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) / 1024 if peaks else 0.0  # none when it has just ended


def machine() -> dict[str, object]:
    """The processor's name as Linux tells it, the cores, and how busy they are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 2),
    }


class Comparison(NamedTuple):
    """One figure of ours beside another way's, on the same photos in the same run.

    `unit` ends in "/s" where more is better; of all else less is. `target` is the least ratio,
    above 1 in our favour; `met` says what holds where the target is not about the ratio.
    """

    name: str
    unit: str
    ours: Rate
    theirs: Rate | None
    way: str
    target: float | None = None
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        if self.theirs is None or min(self.ours.median, self.theirs.median) <= 0:
            return None
        ratio = self.ours.median / self.theirs.median
        return ratio if self.unit.endswith("/s") else 1 / ratio

    def entry(self) -> dict[str, object]:
        """What results.json holds of it."""
        key = "original" if self.way == "original" else "peer"
        theirs = {} if self.theirs is None else {key: round(self.theirs.median, 3)}
        spread = {"ours": self.ours} | ({key: self.theirs} if self.theirs else {})
        met = self.met if self.target is None else self.ratio >= self.target
        return {
            "unit": self.unit,
            "ours": round(self.ours.median, 3),
            **theirs,
            "beside": self.way,
            "ratio": self.ratio and round(self.ratio, 2),
            "spread": {way: round(value.spread, 3) for way, value in spread.items()},
            "target": self.target,
            "met": met,
        }
