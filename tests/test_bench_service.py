"""The load on the service at a tiny size: what clients see is counted, and told rightly."""

import io
import json

import pytest

import bench_service
from helpers import sample_photos
from phone import encoded, phone_photo
from service import Service


class Ended:
    """Clients that have ended, and printed this."""

    def __init__(self, *entries: dict) -> None:
        self.printed = json.dumps(entries).encode()

    def communicate(self) -> tuple[bytes, None]:
        return io.BytesIO(self.printed).read(), None


def test_times_are_those_of_the_decisions_alone():
    decided = {
        "name": "200", "num_requests": 100, "start_time": 10.0, "last_request_timestamp": 15.0,
        "response_times": {"50": 60, "200.0": 35, "1000": 5},
    }  # fmt: skip
    refused = {"name": "429", "num_requests": 7, "response_times": {"1": 7}}
    assert bench_service.told(Ended(refused, decided)) == {
        "answers": {"200": 100, "429": 7}, "decisions/s": 20.0,
        "p50, ms": 50, "p95, ms": 1000, "p99, ms": 1000,
    }  # fmt: skip
    assert bench_service.told(Ended(refused)) == {"answers": {"429": 7}}


@pytest.mark.slow
def test_clients_ask_slow_ones_are_ended_and_nobody_is_asked_for_in_vain(
    tmp_path_factory, app_folder, sample, monkeypatch
):
    photos = tmp_path_factory.mktemp("photos")
    (names, *_) = sample_photos(sample, 1, 2).values()
    for name in names:
        photo = phone_photo(sample / "img_align_celeba" / name, 450, 600)
        (photos / f"{name}.jpg").write_bytes(encoded(photo))
    monkeypatch.setattr(bench_service, "CLIENTS", (1, 2))
    monkeypatch.setattr(bench_service, "BAD_CLIENTS", 3)
    started = Service(tmp_path_factory.mktemp("service"), app_folder, key=None)
    asked = bench_service.Asked(started.process, started.port)
    seen = bench_service.by_clients(asked, photos, 2)
    assert all(set(figures["answers"]) == {"200"} for figures in seen.values())
    assert asked.figure("faceverify_decisions_total") == sum(
        figures["answers"]["200"] for figures in seen.values()
    )
    beside = bench_service.beside_slow_ones(asked, photos, 2)
    assert (beside["ended"], set(beside["answers"])) == (3, {"200"})
    assert bench_service.hung_up(asked, photos)["jobs begun"] <= 3
    assert asked.memory() > 10
    assert started.stop() == 0
