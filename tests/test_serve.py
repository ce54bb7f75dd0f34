"""The service as its clients meet it: a real process, real HTTP."""

import base64
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from faceverify import __version__
from helpers import ROOT, encode, sample_photos
from phone import encoded, phone_photo
from service import COMMAND, KEY, Service, named


@pytest.fixture(scope="module")
def service(tmp_path_factory, app_folder) -> Iterator[Service]:
    started = Service(tmp_path_factory.mktemp("service"), app_folder)
    yield started
    assert started.stop() == 0, started.err
    assert started.err == []


@pytest.fixture(scope="module")
def photos(sample) -> dict[str, bytes]:
    (names, *_) = sample_photos(sample, 1, 2).values()
    folder = sample / "img_align_celeba"
    files = [encoded(phone_photo(folder / name, 450, 600)) for name in names]
    return dict(zip(("card", "live"), files, strict=True))


@pytest.fixture(scope="module")
def decision(service, photos) -> httpx.Response:
    return service.client.post("/v1/verify", files=photos)


def error(answer: httpx.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    (name,) = answer.json()
    assert name == "error"
    return answer.json()["error"]


def as_json(photos: dict[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(data).decode() for name, data in photos.items()}


def test_a_decision_is_that_of_the_command_line(decision, photos, app_folder, tmp_path):
    files = [tmp_path / name for name in photos]
    for file in files:
        file.write_bytes(photos[file.name])
    told = subprocess.run(
        [*COMMAND, "verify", "--json", *map(str, files), *named(app_folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True,
    )  # fmt: skip
    assert decision.status_code == 200
    assert decision.text == told.stdout.strip()


def test_a_form_and_base64_give_one_answer(service, decision, photos):
    answer = service.client.post("/v1/verify", json=as_json(photos))
    assert (answer.status_code, answer.text) == (200, decision.text)


def test_embeddings_are_compared_like_photos(service, decision, photos):
    sent = {}
    for name, photo in photos.items():
        answer = service.client.post("/v1/embed", files={name: photo})
        assert answer.status_code == 200, answer.text
        sent[name] = answer.json()
    found = service.client.post("/v1/compare", json=sent).json()
    wanted = decision.json()
    assert found == {key: wanted[key] for key in ("decision", "theta", "threshold")}


def test_embeddings_of_another_model_and_of_none_are_refused(service, photos):
    embedding = service.client.post("/v1/embed", files={"live": photos["live"]}).json()
    for changed, status, code, slot in [
        ({"model": "0" * 64}, 422, "other_model", "second"),
        ({"vector": embedding["vector"][1:]}, 400, "malformed", None),
        ({"vector": [1e300] * len(embedding["vector"])}, 400, "malformed", None),
        ({"vector": ["1"] * len(embedding["vector"])}, 400, "malformed", None),
        ({"more": 1}, 400, "malformed", None),
    ]:
        sent = {"card": embedding, "live": embedding | changed}
        said = error(service.client.post("/v1/compare", json=sent), status)
        assert (said["code"], said["photo"]) == (code, slot)


def test_a_photo_that_cannot_be_used_is_named(service, photos):
    grey = encode(".png", np.full((300, 300), 128, np.uint8))
    for sent, slot, code in [
        (photos | {"card": b"no photo"}, "first", "unreadable"),
        (photos | {"live": grey}, "second", "no_face"),
    ]:
        answer = service.client.post("/v1/verify", files=sent)
        said = error(answer, 422)
        assert (said["photo"], said["code"]) == (slot, code)
        assert service.line_of(answer)["code"] == code


def test_too_many_pixels_are_refused_by_the_header(service, photos):
    png = bytearray(encode(".png", np.zeros((8, 8), np.uint8)))
    png[16:24] = (50_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    said = error(service.client.post("/v1/verify", files=photos | {"card": bytes(png)}), 422)
    assert (said["photo"], said["code"]) == ("first", "too_many_pixels")


def test_a_card_on_its_side_is_embedded(service, photos):
    turned = io.BytesIO()
    Image.open(io.BytesIO(photos["card"])).rotate(90, expand=True).save(turned, "JPEG", quality=95)
    assert service.client.post("/v1/embed", files={"card": turned.getvalue()}).status_code == 200
    error(service.client.post("/v1/embed", files={"live": turned.getvalue()}), 422)


@pytest.mark.parametrize("sent", [None, "Bearer wrong", "Bearer", f"Basic {KEY}", "Bearer ü"])
def test_without_the_key_there_is_no_answer(service, photos, sent):
    headers = {} if sent is None else {"Authorization": sent.encode()}
    for method, path in [
        ("POST", "verify"),
        ("POST", "embed"),
        ("POST", "compare"),
        ("GET", "about"),
    ]:
        answer = httpx.request(
            method, f"http://127.0.0.1:{service.port}/v1/{path}", headers=headers
        )
        assert error(answer, 401)["code"] == "key"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_other_bodies_are_refused(service, photos):
    post = service.client.post
    plain, json_, form = (
        {"content-type": kind} for kind in ("text/plain", "application/json", "multipart/form-data")
    )
    for answer, status, code in [
        (post("/v1/verify", content=b"x", headers=plain), 415, "media_type"),
        (post("/v1/verify"), 415, "media_type"),
        (post("/v1/compare", files=photos), 415, "media_type"),
        (post("/v1/verify", json={"card": as_json(photos)["card"]}), 400, "malformed"),
        (post("/v1/verify", json=as_json(photos) | {"other": ""}), 400, "malformed"),
        (post("/v1/verify", json={"card": "?", "live": 1}), 400, "malformed"),
        (post("/v1/verify", json=[1]), 400, "malformed"),
        (post("/v1/verify", data=as_json(photos)), 415, "media_type"),
        (post("/v1/verify", files=[("card", photos["card"])] * 2), 400, "malformed"),
        (post("/v1/verify", files=[("card", photos["card"])] * 3), 400, "malformed"),
        (post("/v1/embed", files=photos), 400, "malformed"),
        (post("/v1/verify", content=b"[" * 100_000, headers=json_), 400, "malformed"),
        (post("/v1/verify", content=b"x", headers=form), 400, "malformed"),
    ]:  # fmt: skip
        assert error(answer, status)["code"] == code


def test_a_large_body_is_refused_before_it_is_read(service):
    head = f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection(("127.0.0.1", service.port), 20) as link:
        link.sendall(f"{head}Content-Length: 99999999\r\n\r\n".encode())
        assert link.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_without_a_length_is_refused_where_it_is_too_large(service):
    chunk = b"x" * 2**20

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield chunk

    with contextlib.suppress(httpx.WriteError):
        answer = service.client.post(
            "/v1/verify", content=endless(), headers={"content-type": "application/json"}
        )
        assert error(answer, 413)["code"] == "too_large"
    assert service.line(status=413, code="too_large", path="/v1/verify")


def test_what_is_open_says_how_it_stands(service, decision):
    get = service.client.get
    assert get("/healthz").json() == get("/readyz").json() == {"status": "ok"}
    about = get("/v1/about").json()
    assert about["version"] == __version__
    assert about["verifier"]["threshold"] == decision.json()["threshold"]
    assert re.fullmatch("[0-9a-f]{64}", about["verifier"]["model"]["sha256"])
    assert error(get("/nothing"), 404)["code"] == "http"
    assert error(get("/v1/verify"), 405)["code"] == "http"


def test_figures_for_prometheus(service, decision):
    text = service.client.get("/metrics").text
    assert re.search(r'faceverify_requests_total\{.*path="/v1/verify".*status="200".*\} \d', text)
    assert f'faceverify_decisions_total{{decision="{decision.json()["decision"]}"}}' in text
    assert "process_resident_memory_bytes" in text
    assert "faceverify_jobs 0.0" in text
    assert re.search(r"faceverify_work_seconds_count\{path=\"/v1/verify\"\} [1-9]", text)


def test_the_page_needs_no_network(service):
    page = service.client.get("/docs").text
    places = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(places) >= 3
    for place in places:
        assert place.startswith("/")
        assert service.client.get(place).status_code == 200
    described = service.client.get("/openapi.json").json()["paths"]
    for path in ("verify", "embed", "compare"):
        entry = described[f"/v1/{path}"]["post"]
        assert "example" in entry["requestBody"]["content"]["application/json"]
        assert {"200", "401", "413", "415", "422", "429", "503"} <= set(entry["responses"])


def test_the_log_tells_times_and_codes_and_nothing_of_the_photos(service, decision, photos):
    line = service.line_of(decision)
    assert set(line) == {
        "time", "request", "status", "code", "bytes", "work", "path", "seconds",
    }  # fmt: skip
    assert (line["status"], line["path"]) == (200, "/v1/verify")
    assert line["bytes"] == sum(map(len, photos.values()))
    assert 0 < line["work"] < line["seconds"]
    assert decision.json()["first"]["sha256"] not in "".join(service.out)


def test_a_photo_of_megabytes_is_not_written_either(service, decision, photos):
    big = photos["live"] + b"\0" * 8 * 2**20
    answer = service.client.post("/v1/verify", files=photos | {"live": big})
    assert answer.status_code == 200, answer.text
    assert answer.json()["theta"] == decision.json()["theta"]


def slow_request(service: Service) -> socket.socket:
    """A connection whose request has begun its body, and goes no further."""
    link = socket.create_connection(("127.0.0.1", service.port), 60)
    head = f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    link.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    return link


def test_a_client_that_hangs_up_is_told_of_and_does_no_harm(service):
    slow_request(service).close()
    assert service.line(status=499)["code"] == "hung_up"
    assert service.client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_a_slow_client_is_ended(service):
    start = time.monotonic()
    with slow_request(service) as link:
        assert link.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert 9 < time.monotonic() - start < 20
    assert service.client.get("/readyz").status_code == 200


def test_a_request_in_work_is_answered_before_the_service_stops(tmp_path, app_folder, photos):
    started = Service(tmp_path, app_folder)
    body = json.dumps(as_json(photos)).encode()
    head = f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", started.port), 60) as link:
        link.sendall(head.encode() + body[:-9])
        time.sleep(0.5)
        started.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        link.sendall(body[-9:])
        assert link.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert started.process.wait(60) == 0
    end = time.monotonic() + 20
    while started.lines()[-1].get("event") != "stopped" and time.monotonic() < end:
        time.sleep(0.05)
    assert started.lines()[-1]["event"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_has_just_begun_stops_too(tmp_path, app_folder, number):
    started = Service(tmp_path, app_folder)
    started.process.send_signal(number)
    assert started.process.wait(60) == 0, started.err


def refused(folder: Path, *options: str, key: str | None = None) -> str:
    """The one line with which `serve` ends that does not begin."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("FACEVERIFY_API_KEY", None)
    if key is not None:
        environment["FACEVERIFY_API_KEY"] = key
    ended = subprocess.run(
        [*COMMAND, "serve", *options],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def test_mistakes_are_one_line(tmp_path, service, app_folder):
    assert "FACEVERIFY_API_KEY is not set" in refused(tmp_path, "--host", "0.0.0.0")
    for key in ("", "short", "with a space in it, long"):
        assert "FACEVERIFY_API_KEY must be" in refused(tmp_path, key=key)
    assert "nothing.json is missing" in refused(tmp_path, "--verifier", "nothing.json")
    said = refused(tmp_path, "--port", str(service.port), *named(app_folder))
    assert "cannot be listened at: address already in use" in said
    assert "--port: 70000" in refused(tmp_path, "--port", "70000")
