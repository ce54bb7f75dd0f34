"""Stage 1 on a Dask cluster of real processes, and what is said when the cluster is not fit."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed
import pytest

from faceverify.base import workers
from faceverify.base.errors import InputError
from helpers import ROOT, error_line, run_script, write_parameters
from tiny import copy_people

pytestmark = pytest.mark.slow

DASK = Path(sys.executable).parent / "dask"
CODE = {"PYTHONPATH": str(ROOT / "src")}


@contextmanager
def dask(folder: Path, *arguments: str, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A process of the cluster, as a user starts it in a folder."""
    with (folder / f"{arguments[0]}.log").open("a") as log:
        process = subprocess.Popen(
            [DASK, *arguments, "--no-dashboard"],
            cwd=folder,
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def worker(folder: Path, address: str, threads: int = 1, environment: dict[str, str] = CODE):
    options = ["--nthreads", str(threads), "--no-nanny"]
    return dask(folder, "worker", *options, address, environment=environment)


def wait_for_workers(address: str, count: int) -> None:
    with distributed.Client(address, timeout=60, set_as_default=False) as client:
        deadline = time.monotonic() + 120
        while len(client.scheduler_info(n_workers=-1)["workers"]) != count:
            assert time.monotonic() < deadline, "the cluster did not come up"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def project(tmp_path_factory, sample) -> Path:
    folder = tmp_path_factory.mktemp("project")
    copy_people(sample, folder / "data")
    return folder


@pytest.fixture(scope="module")
def scheduler(project) -> Iterator[str]:
    port = str(free_port())
    with dask(project, "scheduler", "--host", "127.0.0.1", "--port", port, environment=CODE):
        yield f"tcp://127.0.0.1:{port}"


def select(project, workers):
    write_parameters(project, {"select.faces_per_identity": 4, "workers": workers})
    return run_script("select_faces.py", project)


def outs(project):
    roots = [project / "prepared", project / "metrics"]
    return {p.name: p.read_bytes() for root in roots for p in root.rglob("*") if p.is_file()}


def test_a_cluster_gives_the_bytes_of_one_machine(project, scheduler):
    assert select(project, "loky").returncode == 0
    expected = outs(project)
    (project / "prepared/selected.json").unlink()
    with worker(project, scheduler), worker(project, scheduler):
        wait_for_workers(scheduler, 2)
        result = select(project, scheduler)
        with distributed.Client(scheduler, set_as_default=False) as client:
            done = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert result.returncode == 0, result.stderr
    assert outs(project) == expected
    assert sum(done.values()) >= 12  # searches, one for each person


UNFIT = {
    "several threads": ({"threads": 2}, "has several threads; start it with --nthreads 1"),
    "no code": ({"environment": {"PYTHONPATH": ""}}, "No module named"),
    "other code": ({}, "has other code or packages than this machine; bring the same commit"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_worker_that_is_not_fit_is_refused_in_one_line(project, scheduler, tmp_path, kind):
    options, said = UNFIT[kind]
    if kind == "other code":
        library = shutil.copytree(ROOT / "src/faceverify", tmp_path / "faceverify")
        for path in library.rglob("*.py"):
            path.write_text(path.read_text() + "# of another commit\n")
        options = {"environment": {"PYTHONPATH": str(tmp_path)}}
    before = outs(project)
    with worker(project, scheduler, **options):
        wait_for_workers(scheduler, 1)
        line = error_line(select(project, scheduler))
    assert line.startswith("select_faces.py: error: workers: tcp://127.0.0.1:")
    assert said in line
    assert outs(project) == before


def test_a_scheduler_that_does_not_know_the_code_is_refused_in_one_line(project):
    port = str(free_port())
    bare = {"PYTHONPATH": ""}
    with dask(project, "scheduler", "--host", "127.0.0.1", "--port", port, environment=bare):
        wait_for_workers(f"tcp://127.0.0.1:{port}", 0)
        line = error_line(select(project, f"tcp://127.0.0.1:{port}"))
    assert f"workers: tcp://127.0.0.1:{port} is not fit for the work" in line
    assert "start it with PYTHONPATH=src in a copy of the repository" in line


def test_a_scheduler_that_is_not_there_is_named(project):
    address = f"tcp://127.0.0.1:{free_port()}"
    line = error_line(select(project, address))
    assert f"workers: no Dask scheduler answers at {address}" in line


@pytest.mark.parametrize(
    ("ca", "said"),
    [
        ("", "needs certificates: name them in Dask's configuration, distributed.comm.tls.ca-file"),
        ("/absent.pem", "cannot be used"),
    ],
)
def test_a_tls_address_without_certificates_is_refused_at_once(project, monkeypatch, ca, said):
    for name in ("CA_FILE", "CLIENT__CERT"):
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", ca)
    line = error_line(select(project, "tls://127.0.0.1:8786"))
    assert "workers: " in line
    assert said in line


def test_a_cluster_without_workers_says_how_to_start_one(project, scheduler):
    wait_for_workers(scheduler, 0)
    line = error_line(select(project, scheduler))
    assert f"{scheduler} has no worker; start one in this folder: PYTHONPATH=src dask wor" in line


# What is lost while the work is done


@contextmanager
def selecting(project: Path, address: str) -> Iterator[subprocess.Popen]:
    """The stage at work, some of its calls on their way."""
    write_parameters(project, {"select.faces_per_identity": 4, "workers": address})
    command = [sys.executable, ROOT / "src/select_faces.py"]
    with (
        distributed.Client(address, set_as_default=False) as client,
        subprocess.Popen(
            command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        while not any(client.processing().values()):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        yield process


def test_a_worker_that_dies_is_made_up_for(project, scheduler):
    assert select(project, "loky").returncode == 0
    expected = outs(project)
    (project / "prepared/selected.json").unlink()
    with worker(project, scheduler) as first, worker(project, scheduler):
        wait_for_workers(scheduler, 2)
        with selecting(project, scheduler) as process:
            first.kill()
            first.wait()
            assert process.poll() is None
            _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert outs(project) == expected


@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_a_cluster_that_is_lost_ends_in_one_line(project, lost):
    before = outs(project)
    port = str(free_port())
    address = f"tcp://127.0.0.1:{port}"
    patience = CODE | {"DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "1s"}
    start = ["scheduler", "--host", "127.0.0.1", "--port", port]
    with (
        dask(project, *start, environment=patience) as head,
        worker(project, address) as first,
        worker(project, address) as second,
    ):
        wait_for_workers(address, 2)
        with selecting(project, address) as process:
            for part in (first, second) if lost == "workers" else (head,):
                part.kill()
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"select_faces.py: error: workers: {address} lost its {lost}")
    assert outs(project) == before


SLEEPS = """
import sys, time
import distributed
from faceverify.base import errors, workers

def main():
    calls = ((time.sleep, (0.001,), {}) for _ in range(100_000))
    for _ in workers.results(calls, sys.argv[1]):
        print("done", flush=True)
        time.sleep(float(sys.argv[2]))

workers.PATIENCE = 5
close = distributed.Client.close
"""
SLOW_TO_CLOSE = """
def slow(client):
    distributed.Client.close = close
    close(client)
    raise TimeoutError

distributed.Client.close = slow
"""


@pytest.mark.parametrize(
    ("script", "results", "pause"),
    [(SLEEPS, 100, 0), (SLEEPS, 1, 8), (SLEEPS + SLOW_TO_CLOSE, 100, 0)],
    ids=["soon", "found when Dask has given up", "slow to close"],
)
def test_a_scheduler_that_is_lost_while_results_come_ends_in_one_line(
    project, script, results, pause
):
    port = str(free_port())
    address = f"tcp://127.0.0.1:{port}"
    start = ["scheduler", "--host", "127.0.0.1", "--port", port]
    with dask(project, *start, environment=CODE) as head, worker(project, address):
        wait_for_workers(address, 1)
        with subprocess.Popen(
            [sys.executable, "-c", script + "errors.run(main, {})", address, str(pause)],
            cwd=project,
            env=os.environ | CODE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            for _ in range(results):
                assert process.stdout.readline() == "done\n"
            head.kill()
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    (line,) = errors.splitlines()
    assert f"error: workers: {address} lost its scheduler; start it again" in line


def test_a_scheduler_does_not_wait_for_ever_for_lost_workers(project, scheduler):
    with worker(project, scheduler):
        wait_for_workers(scheduler, 1)
        assert select(project, scheduler).returncode == 0
    with distributed.Client(scheduler, set_as_default=False) as client:
        waits = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.no_workers_timeout)
    assert waits == workers.LOST_AFTER


def test_a_worker_that_comes_later_with_other_code_gives_no_results():
    assert workers.call(workers.foundation(), (max, (1, 2), {"key": abs})) == 2
    with pytest.raises(InputError, match="one that came meanwhile has other code or packages"):
        workers.call("another hash", (max, (1, 2), {}))
