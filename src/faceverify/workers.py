"""Image work spread over the cores of this machine, or over the workers of a Dask cluster."""

import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib

from faceverify.errors import InputError, unheard_by_children
from faceverify.files import sha256

LOCAL = "loky"
# What decides the bits of a result, beside the library's own code.
PACKAGES = ("dlib-bin", "numpy", "opencv-python-headless")
# Seconds for a scheduler to answer, and for a first worker to be there.
PATIENCE = 10


def results(jobs: Iterable[tuple[Callable, tuple, dict]], workers: str) -> Iterator[Any]:
    """Run `joblib.delayed` calls and give what they return, in their order.

    `workers` is LOCAL, all cores of this machine, or the address of a Dask scheduler
    ("tcp://host:8786"), all workers of its cluster. These run the calls with the paths that the
    calls name, so they stand in a folder like this one. Raises InputError when the scheduler or
    its workers are not there, are lost, or would give other results than this machine.
    """
    if workers == LOCAL:
        with unheard_by_children():
            found = joblib.Parallel(n_jobs=-1, return_as="generator")(jobs)
        yield from found
        return
    with _cluster(workers) as pool:
        yield from pool(jobs)


@contextmanager
def _cluster(address: str) -> Iterator[joblib.Parallel]:
    """joblib on a cluster whose workers are fit for the work."""
    import distributed  # a second to import, and of no use on one machine

    # What it has to say comes as one line.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"workers: no Dask scheduler answers at {address} ({error})") from None
    with client:
        _check_code({address: _of_scheduler(client)})
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            remedy = f"start one in this folder: PYTHONPATH=src dask worker --nthreads 1 {address}"
            raise InputError(f"workers: {address} has no worker; {remedy}") from None
        # dlib's face detector keeps its state in itself; threads would share it.
        for worker, found in client.scheduler_info(n_workers=-1)["workers"].items():
            if found["nthreads"] != 1:
                remedy = "start it with --nthreads 1"
                raise InputError(f"workers: {worker} has several threads; {remedy}")
        _check_code(client.run(foundation, on_error="return"))
        with joblib.parallel_config(backend="dask", client=client):
            pool = joblib.Parallel(n_jobs=-1, return_as="generator")
        try:
            yield pool
        except (distributed.KilledWorker, distributed.CancelledError) as error:
            raise InputError(f"workers: {address} lost its workers or scheduler: {error}") from None


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
            raise InputError(
                f"workers: {process} has other code or packages than this machine; bring the same "
                "commit and requirements.txt there and start it again"
            )


def foundation() -> str:
    """The hash of the code and the packages that a result stands on."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return sha256(*versions, *sorted(Path(__file__).parent.glob("*.py")))
