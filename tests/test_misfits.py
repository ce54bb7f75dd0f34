"""Settings of a model that do not fit each other are told together, with a command that works."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from faceverify.base.errors import InputError
from faceverify.runs import misfits, parameters
from helpers import ROOT

pytestmark = pytest.mark.slow

ANY = InputError("the first fault that was met")


def load(folder: Path, options: dict[str, object]) -> parameters.Parameters:
    """The shipped parameters with other values, as `dvc exp run -S key=value` sets them."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in options.items():
        *groups, last = key.split(".")
        place = values
        for group in groups:
            place = place[group]
        assert last in place, key  # else -S would want a plus
        place[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    if not (folder / "pretrained").exists():
        (folder / "pretrained").symlink_to(ROOT / "pretrained")
    return parameters.load(folder / "params.yaml")


def advised(message: str) -> dict[str, object]:
    """The options of the command that a message ends with."""
    command = shlex.split(re.search(r"`(dvc exp run .*)`$", message)[1])
    assert command[:3] == ["dvc", "exp", "run"]
    assert set(command[3::2]) == {"-S"}
    pairs = (option.split("=", 1) for option in command[4::2])
    return {key: yaml.safe_load(value) for key, value in pairs}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("brain", ["MobileNetV2", "VGG16"])
def test_another_brain_is_told_in_one_message_with_a_command_that_fits(tmp_path, brain):
    settings = load(tmp_path, {"model.brain": brain})
    message = str(misfits.explained(settings, ANY))
    towers = ["model", "members.mar", "members.alip", "members.rai"]
    keys = ["model.brain_layer", "model.brain_weights", *(f"{t}.tower_weights" for t in towers)]
    assert message.startswith("params.yaml: model.brain_layer: ")
    assert all(f"{key}: " in message for key in keys)
    assert f"{brain} cannot be cut at 'mixed5'; of " in message
    options = advised(message)
    assert set(options) == {"model.brain", *keys}
    fitting = load(tmp_path, options)
    assert not [misfit for name in fitting.members for misfit in misfits.of(fitting, name)]
    assert misfits.explained(fitting, ANY) is ANY


def test_other_sizes_need_other_tower_weights_only(tmp_path):
    settings = load(tmp_path, {"model.neck_units": [80, 60], "members.alip.head_filters": 48})
    message = str(misfits.explained(settings, ANY))
    # mar has a neck of its own, so that its tower still fits.
    assert set(advised(message)) == {
        "model.brain", "model.tower_weights", "members.alip.tower_weights",
        "members.rai.tower_weights",
    }  # fmt: skip
    assert "cannot be cut" not in message


def test_a_member_with_a_brain_of_its_own_is_told_by_its_own_keys(tmp_path):
    settings = load(tmp_path, {"members.mar": {"brain": "VGG16", "brain_weights": None}})
    message = str(misfits.explained(settings, ANY))
    options = advised(message)
    assert options == {
        "model.brain": "InceptionV3",
        "members.mar.brain": "VGG16",
        "+members.mar.brain_layer": "block5_conv3",
        "+members.mar.tower_weights": None,
    }
    assert message.startswith("params.yaml: members.mar.brain_layer: VGG16 cannot be cut")


def test_shipped_settings_fit(tmp_path):
    settings = load(tmp_path, {})
    assert misfits.explained(settings, ANY) is ANY


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.brain", "NoNet", "model.brain: keras.applications has no 'NoNet'"),
        ("model.brain_view", 40, "model.brain_view: 40 is too small for InceptionV3"),
    ],
)
def test_what_cannot_be_built_at_all_keeps_its_own_message(tmp_path, key, value, said):
    assert str(misfits.explained(load(tmp_path, {key: value}), ANY)) == said


@pytest.mark.slow
def test_the_advised_command_trains(clone, tmp_path):
    made = clone.copy(tmp_path / "clone")
    other = ("exp", "run", "train@ja", "-S", "model.brain=DenseNet121", "-S", "epochs=1")
    refused = made.dvc(*other, check=False)
    assert refused.returncode != 0
    line = next(line for line in refused.stderr.splitlines() if "train.py: error: " in line)
    options = advised(line)
    assert set(options) == {"model.brain", "model.brain_layer"}  # a clone begins at random
    command = shlex.split(re.search(r"`(dvc exp run .*)`$", line)[1])
    done = made.run(*command, "train@ja")
    assert "ja: epoch 1 of 1 is kept" in done.stdout
