"""Settings of models that do not fit are told together, for all members, with what mends them."""

import functools
import re
import shlex
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from faceverify.base.errors import InputError
from faceverify.model import network, weight_files
from faceverify.model.cut_layers import GOOD_SIDE, CutLayers
from faceverify.runs import model_settings, parameters
from helpers import ROOT, error_line, run_script
from tiny import MEMBERS, SMALL

# Each network is built once for all tests: some take a second.
built = functools.cache(CutLayers)
TOWERS = [f"++members.{name}.tower_weights" for name in ("mar", "alip", "rai")]
SHARING = TOWERS[:2]  # of the members that share the brain, beside ja


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """What gives the shipped parameters after `dvc exp run -S ...`, in a folder like the root."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_settings, "CutLayers", built)

    def change(*options: str) -> parameters.Parameters:
        apply_overrides("params.yaml", options)
        return parameters.load(Path("params.yaml"))

    return change


def refusal(settings: parameters.Parameters) -> str:
    with pytest.raises(InputError) as refused:
        model_settings.check(settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def advised(message: str) -> list[str]:
    """The options of the command that a message ends with."""
    said = r"; what fits, with the other options of this run: `(dvc exp run .*)`$"
    command = shlex.split(re.search(said, message)[1])
    assert command[:4] == ["dvc", "exp", "run", "--temp"]
    assert set(command[4::2]) == {"-S"}
    return command[5::2]


def keys(options: list[str]) -> list[str]:
    return [option.partition("=")[0] for option in options]


# Where a network can be cut


def without(parents: dict[str, list[str]], removed: str, start: str, end: str) -> bool:
    """Whether a path from start to end is left when one operation is removed."""
    seen, left = {removed, end}, [end]
    while left:
        new = set(parents[left.pop()]) - seen
        seen |= new
        left += new
    return start in seen


@pytest.mark.parametrize("application", ["InceptionV3", "MobileNetV2", "EfficientNetB0"])
def test_passages_are_the_layers_without_which_no_path_is_left(application):
    found = built(application, 128)
    network.renew_names()
    described = network.whole_network(application, 128, None).get_config()
    parents = {
        layer["name"]: re.findall(r"'keras_history': \['(\w+)',", str(layer["inbound_nodes"]))
        for layer in described["layers"]
    }
    start, end = described["layers"][0]["name"], described["layers"][-1]["name"]
    inside = [name for name in found.shapes if name not in (start, end)]
    expected = [name for name in inside if not without(parents, name, start, end)]
    assert [name for name in found.passages if name != end] == expected
    assert 0 < len(expected) < len(inside)


@pytest.mark.parametrize(
    ("application", "view", "layer"),
    [
        ("InceptionV3", 128, "mixed7"),
        ("MobileNetV2", 128, "block_13_expand_relu"),
        ("VGG16", 218, "block5_pool"),
        ("VGG16", 32, "block3_conv3"),
        ("Xception", 128, "add_10"),
    ],
)
def test_the_suggested_layer_is_one_at_which_a_later_build_can_be_cut(application, view, layer):
    layers = built(application, view)
    assert layers.suggested(None) == layer
    assert layer in layers.passages
    assert min(layers.shapes[layer][:2]) >= GOOD_SIDE
    for _ in range(2):
        brain = network.build_brain(application, layer, view, None, seed=1)
        assert brain.output_shape[1:] == layers.shapes[layer]
        assert weight_files.shapes_of(brain) == layers.weight_shapes(layer)


def test_the_layer_that_the_weights_are_of_is_suggested_before_a_later_one():
    layers = built("MobileNetV2", 128)
    assert layers.suggested(layers.weight_shapes("block_6_expand_relu")) == "block_6_expand_relu"
    assert layers.suggested(built("VGG16", 32).weight_shapes("block1_conv1")) == (
        "block_13_expand_relu"
    )


# What is refused, and what is advised


@pytest.mark.parametrize("name", ["params.yaml", "params.celeba.yaml"])
def test_the_shipped_settings_fit(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    model_settings.check(parameters.load(Path(name)))


CASES = {
    "another brain": (
        ["model.brain=MobileNetV2"],
        [
            "model.brain", "model.brain_layer", "model.brain_weights", "model.tower_weights",
            *SHARING,
        ],
    ),
    "a layer mistyped": (["model.brain_layer=mixd5"], ["model.brain", "model.brain_layer"]),
    "an earlier cut": (
        ["model.brain_layer=stage3_block8_add"],
        ["model.brain", "model.brain_weights", "model.tower_weights", *SHARING],
    ),
    # mar has a neck of its own, which its tower still fits.
    "another shared size": (
        ["model.neck_units=[80,60]"],
        ["model.tower_weights", TOWERS[1], TOWERS[2]],
    ),
    "a member's own size": (["++members.ja.head_filters=48"], ["++members.ja.tower_weights"]),
    "a tail on the neck": (["++members.ja.tail_reads=neck"], ["++members.ja.tower_weights"]),
    "two members' sizes": (
        ["++members.ja.head_filters=48", "members.rai.tail_units=[50,40]"],
        ["++members.ja.tower_weights", TOWERS[2]],
    ),
    "a member's own brain": (
        ["members.rai.brain=VGG16"],
        [
            "++members.rai.brain", "++members.rai.brain_layer", "++members.rai.brain_weights",
            "++members.rai.tower_weights",
        ],
    ),
    # All but one want another shared layer; that one gets its own.
    "two brains": (
        ["model.brain=MobileNetV2", "+members.alip.brain=VGG16"],
        [
            "model.brain", "++members.alip.brain", "model.brain_layer",
            "++members.alip.brain_layer", "model.brain_weights", "model.tower_weights", *SHARING,
        ],
    ),
    # alip is content with the shared values: they stay, though the others want to change them.
    "a shared layer that one is content with": (
        [
            "model.brain=MobileNetV2", "+members.alip.brain=EdgeFace",
            "model.brain_weights=null", "model.tower_weights=null",
            *(f"{key.replace('++', '')}=null" for key in TOWERS),
        ],
        ["model.brain", "++members.ja.brain_layer", "++members.mar.brain_layer"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_advised_command_changes_what_does_not_fit_and_nothing_else(changed, case):
    options, expected = CASES[case]
    message = refusal(changed(*options))
    found = advised(message)
    assert keys(found) == expected
    for key in keys(found):
        assert key.endswith(".brain") or f"{key.removeprefix('++')}: " in message
    for _ in range(2):  # a command may be repeated
        model_settings.check(changed(*found))


def test_a_layer_is_refused_with_some_to_choose_from(changed):
    message = refusal(changed("model.brain=MobileNetV2"))
    assert message.startswith(
        "params.yaml: model.brain_layer: MobileNetV2 cannot be cut at 'normalized', but for "
        "example at block_1_expand_relu (109 x 109), block_3_expand_relu (55 x 55), "
    )
    assert "block_13_expand_relu (14 x 14), out_relu (7 x 7); model.brain_weights: " in message


def test_the_layer_of_the_weights_is_advised_so_that_they_can_stay(changed):
    message = refusal(changed("model.brain_layer=mixd5"))
    assert advised(message) == ["model.brain=EdgeFace", "model.brain_layer=normalized"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.brain=NoNet", "ja: model.brain: keras.applications has no 'NoNet'"),
        ("+members.alip.brain=NoNet", "alip: model.brain: keras.applications has no 'NoNet'"),
        ("members.rai.brain_view=40", "rai: model.brain_view: 40 is too small for InceptionV3"),
        (
            "members.mar.neck_units=[10000,10000,10000]",
            "mar: model: head_filters, neck_units and tail_units make a tower of more than "
            "100,000,000 weights; make them smaller",
        ),
    ],
)
def test_what_no_other_value_would_mend_is_told_alone(changed, option, said):
    assert refusal(changed(option)) == f"params.yaml: the model of {said}"


def test_a_damaged_weight_file_is_not_taken_for_one_of_another_brain(changed, tmp_path):
    (tmp_path / "pretrained").unlink()
    shutil.copytree(ROOT / "pretrained", tmp_path / "pretrained")
    path = tmp_path / "pretrained/inception_v3_mixed2_faces_tower_rai.weights.h5"
    path.write_bytes(path.read_bytes()[:-1])
    message = refusal(changed("alpha=0.3"))
    assert message.startswith("params.yaml: the model of rai: pretrained/")
    assert f"{path.name} is not what {path.name}.sha256 says" in message
    path.write_bytes(b"no weights")
    weight_files.write_checksum(path)
    assert f"{path.name} is no weight file: " in refusal(changed("alpha=0.3"))


def test_a_command_that_does_not_fit_is_not_advised(changed, monkeypatch):
    settings = changed("members.mar.neck_units=[80,60]")
    monkeypatch.setattr(model_settings, "_changed", lambda settings, values: settings)
    assert refusal(settings).endswith("_tower_mar.weights.h5 is of other features or sizes")


@pytest.mark.slow
def test_a_training_is_refused_for_the_misfit_of_another_member(changed, tmp_path):
    changed("members.rai.tail_units=[50,40]")
    line = error_line(run_script("train.py", tmp_path, "ja"))
    assert line.startswith("train.py: error: params.yaml: members.rai.tower_weights: ")
    assert advised(line) == ["++members.rai.tower_weights=null"]


@pytest.fixture(scope="module")
def shipped(clone, tmp_path_factory):
    """The small clone with the shipped models, an epoch of which trains in seconds."""
    made = clone.copy(tmp_path_factory.mktemp("shipped") / "clone")
    text = (ROOT / "params.yaml").read_text()
    small = {key: line for key, line in SMALL.items() if not re.match("brain|tower", key)}
    for key, line in (small | {"epochs": "epochs: 1"}).items():
        text = re.sub(rf"^(\s*){key}: .*$", rf"\g<1>{line}", text, flags=re.MULTILINE)
    (made.folder / "params.yaml").write_text(text)
    made.commit("The shipped models")
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "members"),
    [
        ("model.brain=MobileNetV2", sorted(MEMBERS - {"rai"})),
        ("members.rai.brain=MobileNetV2", ["rai"]),
        ("members.mar.neck_units=[80,60]", ["mar"]),
    ],
)
def test_the_advised_command_trains(shipped, tmp_path, option, members):
    made = shipped.copy(tmp_path / "clone")
    refused = made.dvc("exp", "run", "--temp", "-S", option, check=False)
    assert refused.returncode != 0
    assert made.git("status", "--porcelain") == ""
    assert len(re.findall(r"Running stage 'train@", refused.stdout)) == 1
    assert " is kept" not in refused.stdout
    line = next(line for line in refused.stderr.splitlines() if "train.py: error: " in line)
    command = re.search(r"`(dvc exp run .*)`$", line)[1]
    again = () if option in shlex.split(command) else ("-S", option)
    done = made.run(*shlex.split(command), *again, *(f"train@{name}" for name in members))
    assert made.git("status", "--porcelain") == ""
    for name in members:
        assert f"{name}: epoch 1 of 1 is kept" in done.stdout
