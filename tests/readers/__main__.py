"""Every reader under fire: `python -m readers FOLDER APP CASES GROUP`, in a process of its own.

GROUP is one of the modules beside this one; APP is a folder with an exported verifier. The process
may use 2 GB more than it does when all is loaded, and 10 s of a processor a case, or it dies. What
it has done is printed as JSON; a case that failed stays in FOLDER.
"""

import faulthandler
import json
import re
import resource
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, settings

from faceverify.base.errors import InputError
from hostile import damaged
from readers.reader import Reader, readers_of

SECONDS, BYTES = 10, 2 * 2**30


class Trial:
    """The cases of one reader: how many were `accepted` and `refused`, and what failed."""

    def __init__(self, name: str, reader: Reader, folder: Path) -> None:
        self.name = name
        self.reader = reader
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        (folder / name).mkdir()
        self._path = folder / name / self.reader.file

    def run(self, cases: int) -> None:
        """Try the bombs, then damaged files, then those that are made up."""
        cases = round(cases * self.reader.share)
        for bomb in self.reader.bombs:
            self.try_out(bomb)
        left = max(cases - len(self.reader.bombs), cases // 3)
        drawn = max(left // 3, 1) if self.reader.seeds else left
        if self.reader.drawn is not None:
            every = list(HealthCheck)
            rules = settings(
                max_examples=drawn, derandomize=True, database=None, deadline=None,
                phases=[Phase.generate], suppress_health_check=every,
            )  # fmt: skip
            rules(given(self.reader.drawn)(self.try_out))()
            left -= drawn
        for number in range(left if self.reader.seeds else 0):
            rng = Random(f"{self.name} {number}")
            self.try_out(damaged(rng.choice(self.reader.seeds), rng))

    def try_out(self, data: bytes) -> None:
        """Read one file, which must give what its reader promises or one line that names it."""
        self._path.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            self.reader.read(self._path)
            result = "accepted"
        except InputError as error:
            line = str(error)
            result = "refused"
            if not (line.isprintable() and len(line) < 3000 and self._path.parent.name in line):
                result = self._failed(f"says {line!r}")
        except BaseException:
            result = self._failed(traceback.format_exc(limit=-4))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.counts[result] += 1

    def _failed(self, why: str) -> str:
        kept = self._path.with_name(f"failed-{len(self.failures)}-{self._path.name}")
        if len(self.failures) < 20:
            kept.write_bytes(self._path.read_bytes())
        self.failures.append(f"{kept}: {why}")
        return "failed"


def peak_memory() -> int:
    """Bytes that this process has had at most; what `getrusage` tells has its parent's in it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)[1])


def main() -> None:
    """Try the readers of the group that the command line names."""
    # The signal of a case that takes too long kills the process, wherever that is; this says where.
    faulthandler.register(signal.SIGPROF, chain=True)
    folder, app, cases, group = sys.argv[1:]
    folder = Path(folder)
    trials = []
    for name, make in readers_of(group).items():
        work = Path(app)
        if group != "app":
            work = folder / f"work-{name}"
            work.mkdir()
        trials.append(Trial(name, make(work), folder))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    for trial in trials:
        (folder / "running").write_text(trial.name)
        trial.run(int(cases))
        print(
            json.dumps(
                {
                    "reader": trial.name,
                    "counts": trial.counts,
                    "failures": trial.failures[:20],
                    "peak": peak_memory(),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
