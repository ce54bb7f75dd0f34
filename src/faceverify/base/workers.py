"""Image work spread over the cores of this machine, or over the workers of a Dask cluster."""

import functools
import importlib.metadata
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import joblib

from faceverify.base.digests import sha256
from faceverify.base.errors import InputError, children_ignore_interrupts
from faceverify.base.packages import RESULTS

LOCAL = "loky"
# Seconds for a scheduler to answer, and for a first worker to be there.
PATIENCE = 10
# Seconds for lost workers to come back, on a cluster whose scheduler would wait for ever.
LOST_AFTER = 60
# How many calls a cluster has at once.
AHEAD = 10_000
OTHER_CODE = (
    "has other code or packages than this machine; bring the same commit and requirements.txt "
    "there and start it again"
)

# dlib's face detector keeps its state in itself, and a worker that comes later may have threads.
_ONE_AT_A_TIME = threading.Lock()

Job = tuple[Callable, tuple, dict]  # a call, as `joblib.delayed` gives it


def results(jobs: Iterable[Job], workers: str) -> Iterator[Any]:
    """Run `joblib.delayed` calls and give what they return, in their order.

    `workers` is LOCAL, all cores of this machine, or the address of a Dask scheduler
    ("tcp://host:8786"), all workers of its cluster. These run the calls with the paths that the
    calls name, so they stand in a folder like this one; what a lost worker had is done by another.
    Raises InputError when the scheduler or all workers are not there, are lost, or would give
    other results than this machine.
    """
    if workers == LOCAL:
        with children_ignore_interrupts():
            found = joblib.Parallel(n_jobs=-1, return_as="generator")(jobs)
        yield from found
        return
    with _cluster(workers) as client:
        yield from _on_cluster(client, iter(jobs))


def _on_cluster(client, jobs: Iterator[Job]) -> Iterator[Any]:
    # Not by joblib's backend for Dask: it waits for ever when the workers are lost.
    expected = foundation()
    on_their_way: deque = deque()
    while True:
        for job in islice(jobs, AHEAD - len(on_their_way)):
            on_their_way.append(client.submit(call, expected, job, pure=False))
        if not on_their_way:
            return
        yield on_their_way.popleft().result()


def call(expected: str, job: Job) -> Any:
    """Run a call on a worker; InputError on one that came later and has not this `foundation`."""
    if foundation() != expected:
        raise InputError(f"workers: one that came meanwhile {OTHER_CODE}")
    function, arguments, options = job
    with _ONE_AT_A_TIME:
        return function(*arguments, **options)


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """The client of a cluster whose workers are fit for the work."""
    import distributed  # a second to import, and of no use on one machine
    from distributed.scheduler import NoValidWorkerError, NoWorkerError

    # What they have to say comes as one line.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address.startswith("tls://"):
        _check_certificates(address)
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"workers: no Dask scheduler answers at {address} ({error})") from None
    try:
        _check_cluster(client, address)
        yield client
    except (distributed.KilledWorker, NoValidWorkerError, NoWorkerError):
        raise InputError(
            f"workers: {address} lost its workers; see in their logs why, start them again, "
            "and run the same command again"
        ) from None
    except Exception as error:
        of_connection = isinstance(error, OSError) and error.errno is None
        cancelled = isinstance(error, distributed.CancelledError)
        # A client fails in other ways, too, once it has lost its scheduler.
        if client.status == "running" and not (of_connection or cancelled):
            raise
        raise InputError(
            f"workers: {address} lost its scheduler; start it again, and run the same command again"
        ) from None
    finally:
        with suppress(Exception):  # of one without a scheduler; all results are here
            client.close()


def _check_certificates(address: str) -> None:
    # A client without them fails late, and once more when it is taken down.
    from distributed import Security

    try:
        found = Security().get_connection_args("client")["ssl_context"]
    except (OSError, ValueError) as error:
        raise InputError(
            f"workers: the certificates for {address} that Dask's configuration names under "
            f"distributed.comm.tls cannot be used ({error})"
        ) from None
    if found is None:
        raise InputError(
            f"workers: {address} needs certificates: name them in Dask's configuration, "
            "distributed.comm.tls.ca-file, .client.cert and .client.key"
        )


def _check_cluster(client, address: str) -> None:
    _check_code({address: _of_scheduler(client)})
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        remedy = f"start one in this folder: PYTHONPATH=src dask worker --nthreads 1 {address}"
        raise InputError(f"workers: {address} has no worker; {remedy}") from None
    # Threads would only wait for each other.
    for worker, found in client.scheduler_info(n_workers=-1)["workers"].items():
        if found["nthreads"] != 1:
            raise InputError(f"workers: {worker} has several threads; start it with --nthreads 1")
    _check_code(client.run(foundation, on_error="return"))
    client.run_on_scheduler(_limit_waiting)


def _limit_waiting(dask_scheduler) -> None:
    # For all who use it, and for good: a second run may be at work when this one ends.
    if dask_scheduler.no_workers_timeout is None:
        dask_scheduler.no_workers_timeout = LOST_AFTER


def _of_scheduler(client) -> str | Exception:
    """The scheduler's `foundation`: it takes the calls apart before it hands them on."""
    try:
        return client.run_on_scheduler(foundation)
    except Exception as error:  # what the scheduler has raised, of any kind
        return error


def _check_code(foundations: dict[str, str | Exception]) -> None:
    """Refuse processes of the cluster, by address, that would give other results, or none."""
    expected = foundation()
    for process, found in foundations.items():
        if isinstance(found, Exception):
            raise InputError(
                f"workers: {process} is not fit for the work ({found}); start it with "
                "PYTHONPATH=src in a copy of the repository, with the packages of requirements.txt"
            )
        if found != expected:
            raise InputError(f"workers: {process} {OTHER_CODE}")


@functools.cache
def foundation() -> str:
    """The hash of the code and the packages that a result stands on."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in RESULTS.values()]
    package = Path(__file__).parents[1]
    code = {path.relative_to(package).as_posix(): path for path in sorted(package.rglob("*.py"))}
    return sha256(*versions, *code, *code.values())
