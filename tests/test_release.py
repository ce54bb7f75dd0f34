"""A release as docs/release.md describes it: the model card, tags, and what they hand out."""

import json

import pytest
import yaml

from tiny import Clone

pytestmark = pytest.mark.slow

CARD = "docs/model_card.md"


def test_the_card_has_the_figures_of_a_run_and_is_the_same_again(clone, tmp_path):
    made = clone.copy(tmp_path / "clone")
    before = (made.folder / CARD).read_text()
    result = made.run("python", "src/model_card.py")
    assert f"{CARD}: figures brought up to date" in result.stdout
    text = (made.folder / CARD).read_text()
    details = json.loads((made.folder / "metrics/details.json").read_text())["ensemble"]
    val = details["val"]
    assert (
        f"{val['genuine']} genuine and {val['impostor']} impostor pairs of {val['people']}" in text
    )
    weights = yaml.safe_load((made.folder / "params.yaml").read_text())["ensemble"]
    assert f"theta = {' + '.join(f'{w:g} {name}' for name, w in weights.items())}; " in text
    assert (made.folder / "metrics/summary.md").read_text().strip() in text
    for name, group in details["groups"].items():
        assert (f"| {name} | {group['people']} | {group['genuine']} |" in text) == bool(
            group["genuine"] or group["impostor"]
        )
    size = json.loads((made.folder / "metrics/export.json").read_text())["bytes"]
    assert f"`models/verifier.tflite` ({size / 1e6:.1f} MB" in text
    assert text.partition("<!--")[0] == before.partition("<!--")[0]

    assert "brought up to date" not in made.run("python", "src/model_card.py").stdout
    assert (made.folder / CARD).read_text() == text


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
