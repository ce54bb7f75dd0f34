"""A release as docs/release.md describes it: the model card, tags, and what they hand out."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from helpers import error_line, run_script, spoil_json
from tiny import Clone

CARD, GROUP = "docs/model_card.md", "Male on both"


@pytest.fixture
def card(clone, tmp_path) -> Path:
    """A folder with the card of the repository and the figures of the clone."""
    for name in (CARD, "params.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(clone.folder / name, tmp_path / name)
    shutil.copytree(clone.folder / "metrics", tmp_path / "metrics")
    return tmp_path


def test_the_card_has_the_figures_of_the_metrics_and_is_the_same_again(card):
    before = (card / CARD).read_text()
    result = run_script("model_card.py", card)
    assert result.returncode == 0, result.stderr
    text = (card / CARD).read_text()
    details = json.loads((card / "metrics/details.json").read_text())["ensemble"]
    val = details["val"]
    assert (
        f"{val['genuine']} genuine and {val['impostor']} impostor pairs of {val['people']}" in text
    )
    weights = yaml.safe_load((card / "params.yaml").read_text())["ensemble"]
    assert f"theta = {' + '.join(f'{w:g} {name}' for name, w in weights.items())}; " in text
    assert (card / "metrics/summary.md").read_text().strip() in text
    for name, group in details["groups"].items():
        assert (f"| {name} | {group['people']} | {group['genuine']} |" in text) == bool(
            group["genuine"] or group["impostor"]
        )
    size = json.loads((card / "metrics/export.json").read_text())["bytes"]
    assert f"`models/verifier.tflite` ({size / 1e6:.1f} MB" in text
    assert text.partition("<!--")[0] == before.partition("<!--")[0]

    run_script("model_card.py", card)
    assert (card / CARD).read_text() == text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "metrics/details.json").unlink(), "metrics/details.json is missing"),
        (
            lambda f: (f / "metrics/details.json").write_text("[]"),
            "metrics/details.json is damaged",
        ),
        (lambda f: (f / "metrics/details.json").write_text("{}"), "metrics lacks what the card"),
        (lambda f: (f / "metrics/export.json").write_text("{}"), "metrics/export.json is damaged"),
        (
            lambda f: spoil_json(f / "metrics/details.json", ["ensemble", "groups", GROUP, "fmr"]),
            f"metrics/details.json is damaged: ensemble.groups.{GROUP}.fmr: Input should be",
        ),
        (
            lambda f: spoil_json(f / "metrics/export.json", ["max_delta_theta", "ensemble"]),
            "metrics/export.json is damaged: max_delta_theta.ensemble: Input should be",
        ),
        (
            lambda f: (f / "metrics/summary.md").write_bytes(b"\xff\xfe"),
            "metrics/summary.md is not a text file",
        ),
        (lambda f: (f / "metrics/summary.md").unlink(), "metrics/summary.md is missing"),
        (lambda f: (f / CARD).unlink(), f"{CARD} is missing"),
        (lambda f: (f / CARD).write_text("# Card\n"), f"{CARD} must have"),
    ],
    ids=[
        "no details",
        "a list",
        "no ensemble",
        "no export",
        "a rate",
        "a difference",
        "no text",
        "no table",
        "no card",
        "no marks",
    ],
)
def test_a_card_that_cannot_be_written_stays_as_it_was(card, spoil, message):
    spoil(card)
    before = (card / CARD).read_bytes() if (card / CARD).exists() else None
    assert error_line(run_script("model_card.py", card)).startswith(
        f"model_card.py: error: {message}"
    )
    assert ((card / CARD).read_bytes() if (card / CARD).exists() else None) == before


def test_a_release_is_registered_assigned_and_fetched_from_the_bucket(clone, bucket, tmp_path):
    made = bucket.serve(clone.copy(tmp_path / "clone"))
    team = tmp_path / "team.git"
    made.git("init", "--quiet", "--bare", "--initial-branch", "main", str(team))
    made.git("remote", "add", "origin", str(team))
    made.dvc("push", "models/verifier.tflite", "models/verifier.json")
    for name in ("verifier", "verifier-description"):
        made.run("gto", "register", name, "--version", "v1.0.0")
    made.run("gto", "assign", "verifier", "--version", "v1.0.0", "--stage", "prod")
    assert made.git("tag", "--list").split() == [
        "verifier#prod#1",
        "verifier-description@v1.0.0",
        "verifier@v1.0.0",
    ]
    made.git("push", "--quiet", "--tags", "origin", "main")

    app = Clone(tmp_path / "app")  # no repository at all
    app.folder.mkdir()
    server = made.dvc("config", "--local", "remote.gcs.endpointurl").stdout.strip()
    remote = ("--remote-config", f"endpointurl={server}", "allow_anonymous_login=true")
    get = ("artifacts", "get", str(team))
    app.dvc(*get, "verifier", "--stage", "prod", *remote)
    app.dvc(*get, "verifier-description", "--rev", "v1.0.0", *remote)
    for got in ("verifier.tflite", "verifier.json"):
        assert (app.folder / got).read_bytes() == (made.folder / "models" / got).read_bytes()

    # It is not checked on the way, so release.md compares it with the hash that git knows.
    outs = yaml.safe_load(made.lock())["stages"]["export"]["outs"]
    (md5,) = [out["md5"] for out in outs if out["path"] == "models/verifier.tflite"]
    assert app.run("md5sum", "verifier.tflite").stdout.split()[0] == md5
    stored = bucket.object(md5)
    stored.write_bytes(stored.read_bytes()[:-1] + b"X")
    app.dvc(*get, "verifier", "--rev", "v1.0.0", "--force", *remote)
    assert app.run("md5sum", "verifier.tflite").stdout.split()[0] != md5
    missing = app.dvc(*get, "verifier", "--rev", "v9.9.9", *remote, check=False)
    assert missing.returncode != 0
    assert "Unable to find artifact 'verifier @ v9.9.9'" in missing.stderr
