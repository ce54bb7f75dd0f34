"""What happens at the limits: the line is full, a job takes too long, a client does not wait."""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import httpx
import pytest

from faceverify.base.errors import InputError
from faceverify.serve import app, bodies, command, line
from faceverify.serve.faults import RequestError

TWO = {"card": b"1", "live": b"2"}


@pytest.fixture
def gate():
    """What a job waits at until the test opens it."""
    event = threading.Event()
    yield event
    event.set()


async def caught(answer) -> RequestError:
    with pytest.raises(RequestError) as found:
        await answer
    return found.value


def never() -> asyncio.Future:
    return asyncio.get_running_loop().create_future()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another task or thread brings about."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


def test_a_job_gives_what_its_work_gives():
    async def check() -> None:
        made = line.Line(1)
        assert await made.done(never(), divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await made.done(never(), divmod, 7, 0)
        await until(lambda: made.jobs == 0)

    asyncio.run(check())


def test_the_line_has_so_many_places_and_no_more(monkeypatch, gate):
    monkeypatch.setattr(line, "PLACES", 3)

    async def check() -> None:
        made = line.Line(1)
        jobs = [asyncio.ensure_future(made.done(never(), gate.wait)) for _ in range(3)]
        await until(lambda: made.is_full)
        assert (await caught(made.done(never(), gate.wait))).status == 429
        gate.set()
        assert await asyncio.gather(*jobs) == [True] * 3
        await until(lambda: made.jobs == 0)
        assert await made.done(never(), str, 1) == "1"

    asyncio.run(check())


def test_a_job_that_takes_too_long_keeps_its_place_until_it_ends(monkeypatch, gate):
    monkeypatch.setattr(line, "PLACES", 1)
    monkeypatch.setattr(line, "TIME_LIMIT", 0.1)

    async def check() -> None:
        made = line.Line(1)
        assert (await caught(made.done(never(), gate.wait))).status == 503
        assert made.is_full
        assert (await caught(made.done(never(), str, 1))).status == 429
        gate.set()
        await until(lambda: not made.is_full)
        assert await made.done(never(), str, 1) == "1"

    asyncio.run(check())


def test_a_job_that_nobody_waits_for_is_not_begun(gate):
    begun = []

    async def check() -> None:
        made = line.Line(1)
        first = asyncio.ensure_future(made.done(never(), gate.wait))
        gone = never()
        second = asyncio.ensure_future(made.done(gone, begun.append, 1))
        await until(lambda: made.jobs == 2)
        gone.set_result(None)
        assert (await caught(second)).status == 499
        assert made.jobs == 1
        gate.set()
        await first
        await made.done(never(), str, 1)

    asyncio.run(check())
    assert begun == []


def test_bodies_have_so_much_room_together():
    async def check() -> None:
        made = line.Line(1)
        with made.room(line.ROOM - 5):
            with made.room(5):
                pass
            with pytest.raises(RequestError) as found, made.room(6):
                pass
        assert found.value.status == 429
        with made.room(line.ROOM):
            pass

    asyncio.run(check())


def served(verifier: SimpleNamespace, ask: Callable) -> None:
    """Ask the service, without a key, of a verifier that is none."""

    async def check() -> None:
        transport = httpx.ASGITransport(app.make_app(verifier, None))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            await ask(client)

    asyncio.run(check())


def said(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code, and when to come again."""
    return answer.status_code, answer.json()["error"]["code"], answer.headers.get("retry-after")


def test_a_full_service_turns_away_and_says_when_to_come_again(monkeypatch, gate):
    monkeypatch.setattr(line, "PLACES", 2)
    monkeypatch.setattr(line, "TIME_LIMIT", 1)

    async def ask(client: httpx.AsyncClient) -> None:
        assert (await client.get("/readyz")).status_code == 200
        waiting = [asyncio.ensure_future(client.post("/v1/verify", files=TWO)) for _ in range(2)]
        start = time.monotonic()
        while (await client.get("/readyz")).status_code == 200:
            assert time.monotonic() < start + 1
            await asyncio.sleep(0.01)
        assert said(await client.get("/readyz")) == (503, "busy", "2")
        assert said(await client.post("/v1/verify", files=TWO)) == (429, "busy", "2")
        assert (await client.get("/healthz")).status_code == 200
        for answer in await asyncio.gather(*waiting):
            assert said(answer) == (503, "timeout", "2")

    served(SimpleNamespace(compare=lambda *_: gate.wait()), ask)


def test_a_fault_of_the_program_is_a_500_that_tells_nothing(capsys):
    def crash(*_: bytes) -> None:
        raise RuntimeError("secret")

    async def ask(client: httpx.AsyncClient) -> None:
        client._transport.raise_app_exceptions = False
        answer = await client.post("/v1/verify", files=TWO)
        assert said(answer) == (500, "crash", None)
        assert "secret" not in answer.text

    served(SimpleNamespace(compare=crash), ask)
    out = capsys.readouterr().out
    assert '"status": 500, "code": "crash"' in out
    assert "secret" not in out


@pytest.mark.parametrize("package", ["uvicorn", "fastapi", "prometheus_client"])
def test_a_package_that_is_missing_is_named(monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith("faceverify.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    given = argparse.Namespace(host="127.0.0.1", port=0, verifier=None)
    with pytest.raises(InputError, match=rf"needs the package {package}; .* with \[serve\]$"):
        command.run(given)


def test_a_body_that_comes_too_slowly_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies, "READ_LIMIT", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(20)

    async def ask(client: httpx.AsyncClient) -> None:
        kind = {"content-type": "application/json"}
        for path in ("verify", "embed", "compare"):
            answer = await client.post(f"/v1/{path}", content=slow(), headers=kind)
            assert said(answer) == (408, "slow", None)

    served(SimpleNamespace(), ask)
