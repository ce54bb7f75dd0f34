"""params.yaml: what is accepted, and the one line that names what is not."""

import os
import re
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import load_yaml

from faceverify.base.errors import InputError
from faceverify.runs import parameters
from helpers import ROOT, write_parameters

SHIPPED = sorted(ROOT.glob("params*.yaml"))


def refusal(path: Path) -> str:
    """What the one line says after the file's name."""
    with pytest.raises(InputError) as caught:
        parameters.load(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    return message.removeprefix(str(path)).removeprefix(": ")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_load_with_four_members(path):
    settings = parameters.load(path)
    assert set(settings.members) == {"ja", "mar", "alip", "rai"}
    assert settings.ensemble == {"ja": 0.7, "mar": 0.1, "alip": 0.1, "rai": 0.1}
    assert not any("alpha" in overrides.model_fields_set for overrides in settings.members.values())
    assert settings.member("mar").dropout > 0


def test_celeba_settings_are_the_originals():
    settings = parameters.load(ROOT / "params.celeba.yaml")
    training = settings.member("ja")
    assert (training.lr, training.batch_size, training.epochs) == (3e-6, 32, 20)
    assert (training.alpha, training.beta, training.gamma, training.delta) == (0.5, 0.5, 1, 1)
    assert (training.seed, training.threshold, settings.accept_threshold) == (2356, 0.5, 0.6)
    assert training.model.brain_trainable
    assert settings.select.require == ["Attractive"]
    excluded = {"Eyeglasses", "Bangs", "Wearing_Hat", "Smiling", "Mouth_Slightly_Open"}
    assert set(settings.select.exclude) == excluded
    assert settings.select.faces_per_identity == 4
    assert settings.pair.pairs_per_identity is None
    assert settings.pair.split_by == "identity"
    assert settings.pair.val_share == 0.25


def test_shipped_files_have_the_same_keys():
    def keys(values, prefix=""):
        if not isinstance(values, dict):
            return {prefix}
        return set().union(*(keys(v, f"{prefix}.{k}") for k, v in values.items()), set())

    found = []
    for path in SHIPPED:
        values = yaml.safe_load(path.read_text())
        values.pop("members")
        found.append(keys(values))
    assert len(found) == 3
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alpha", True),
        ("alpha", "half"),
        ("alpha", None),
        ("alpha", [0.5]),
        ("alpha", -0.1),
        ("gamma", float("nan")),
        ("gamma", float("inf")),
        ("gamma", 1e308),
        ("gamma", "nan"),
        ("gamma", "inf"),
        ("delta", -1),
        ("delta", 3.2),
        ("lr", True),
        ("lr", 1e308),
        ("lr", 0),
        ("lr", -1e-3),
        ("lr", float("nan")),
        ("dropout", 1),
        ("dropout", -0.1),
        ("l2", -1e-4),
        ("threshold", 180),
        ("accept_threshold", -0.1),
        ("accept_threshold", 35),
        ("epochs", True),
        ("epochs", "20"),
        ("epochs", 20.0),
        ("epochs", 0),
        ("batch_size", "32"),
        ("batch_size", 0),
        ("precision", "float16"),
        ("precision", None),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 1.5),
        ("seed", True),
        ("select", None),
        ("select.landmark_model", "landmarks.dat"),
        ("select.require", "Attractive"),
        ("select.require", None),
        ("select.faces_per_identity", 3),
        ("select.faces_per_identity", "10"),
        ("select.faces_per_identity", True),
        ("audit", None),
        ("audit.copy_face", -0.1),
        ("audit.copy_picture", 1.1),
        ("audit.far", "near"),
        ("audit.far", float("inf")),
        ("audit.alike", True),
        ("pair.pairs_per_identity", 0),
        ("pair.pairs_per_identity", True),
        ("pair.pairs_per_identity", "16"),
        ("pair.split_by", "photo"),
        ("pair.val_share", 0),
        ("pair.val_share", 1),
        ("pair.val_share", True),
        ("pair.val_share", float("nan")),
        ("pair.val_identities", None),
        ("pair.val_identities", 7),
        ("model.brain", None),
        ("model.brain_trainable", 1),
        ("model.brain_view", 31),
        ("model.brain_view", 219),
        ("model.brain_view", 128.0),
        ("model.brain_trainable", "true"),
        ("model.head_filters", 0),
        ("model.head_filters", 16.0),
        ("model.neck_units", []),
        ("model.neck_units", 150),
        ("model.tail_reads", "head"),
        ("model.tail_reads", None),
        ("model.tail_units", []),
        ("model.tail_units", [100] * 11),
        ("ensemble.ja", True),
        ("ensemble.ja", -0.1),
        ("ensemble.ja", float("nan")),
        ("evaluate.fmr_factor", 0.9),
        ("evaluate.genuine_per_identity", 0),
        ("evaluate.resamples", 99),
        ("evaluate.resamples", "1000"),
        ("evaluate.resamples", 10**12),
        ("evaluate.genuine_per_identity", 10**12),
        ("epochs", 10**12),
        ("batch_size", 10**12),
        ("select.faces_per_identity", 10**12),
        ("pair.pairs_per_identity", 10**12),
        ("model.head_filters", 10**12),
        ("workers", None),
        ("workers", "dask"),
        ("workers", "tcp://host"),
        ("workers", "http://host:8786"),
        ("workers", "tcp://host:8786 --help"),
        ("capture.min_interocular", -1),
        ("capture.min_sharpness", "sharp"),
        ("capture.min_brightness", 256),
        ("capture.max_brightness", True),
        ("capture.min_quality", 1.5),
        ("capture.second_face", 1.1),
        ("capture.second_face", None),
        ("capture.max_residual", 0),
        ("members", {}),
        ("members", ["ja"]),
        ("members.ja", None),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(tmp_path, key, value):
    message = refusal(write_parameters(tmp_path, {key: value}))
    assert message.startswith(f"{key}: ")


def test_named_validation_people_need_a_split_by_people(tmp_path):
    parameters.load(write_parameters(tmp_path, {"pair.val_identities": [0, 2880]}))
    changes = {"pair.val_identities": [2880], "pair.split_by": "pair"}
    message = refusal(write_parameters(tmp_path, changes))
    assert message == "pair: val_identities needs split_by: identity"


@pytest.mark.parametrize("identity", [-1, True, "2880", 1.5])
def test_a_wrong_identity_is_refused_by_its_place(tmp_path, identity):
    changes = {"pair.val_identities": [2880, identity]}
    message = refusal(write_parameters(tmp_path, changes))
    assert message.startswith("pair.val_identities.1: ")


@pytest.mark.parametrize("key", ["model.neck_units", "model.tail_units"])
@pytest.mark.parametrize("unit", [True, 0, "100", 1.5, 10**12])
def test_a_wrong_number_of_a_list_is_refused_by_its_place(tmp_path, key, unit):
    assert refusal(write_parameters(tmp_path, {key: [10, unit]})).startswith(f"{key}.1: ")


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("delta", 0, 3.14159),
        ("dropout", 0, 0.999),
        ("accept_threshold", 0, 3.14159),
        ("seed", 0, 2**32 - 1),
        ("pair.val_share", 0.001, 0.999),
        ("select.faces_per_identity", 4, 1000),
        ("model.brain_view", 32, 218),
    ],
)
def test_the_ends_of_a_range_are_accepted(tmp_path, key, low, high):
    for value in (low, high):
        parameters.load(write_parameters(tmp_path, {key: value}))


@pytest.mark.parametrize(
    "key", ["alfa", "select.reqire", "pair.split", "model.units", "evaluate.x"]
)
def test_an_unknown_key_is_refused(tmp_path, key):
    assert refusal(write_parameters(tmp_path, {key: 1})) == f"{key}: unknown key"


def every_key():
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    groups = ("select", "pair", "model", "evaluate")
    return [*values, *(f"{group}.{key}" for group in groups for key in values[group])]


@pytest.mark.parametrize("key", every_key())
def test_a_missing_key_is_refused(tmp_path, key):
    assert refusal(write_parameters(tmp_path, {key: ...})) == f"{key}: missing key"


def test_an_attribute_cannot_be_required_and_excluded(tmp_path):
    changes = {"select.require": ["Male", "Young"], "select.exclude": ["Young"]}
    assert refusal(write_parameters(tmp_path, changes)).startswith("select: Young is both")


def test_a_device_is_refused(tmp_path):
    (tmp_path / "params.yaml").symlink_to("/dev/null")  # one that ends, unlike /dev/zero or a pipe
    assert refusal(tmp_path / "params.yaml") == " is no regular file"


def test_a_missing_file_says_where_to_run(tmp_path):
    assert refusal(tmp_path / "params.yaml").startswith(" is missing; run this from the repository")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"alpha: [0.5", "is not valid YAML"),
        (b"alpha: beta: 1", "is not valid YAML"),
        (b"alpha: \x00", "is not valid YAML"),
        (b"alpha: 2020-13-45", "is not valid YAML"),
        (b"alpha: !!python/object:os.system {}", "is not valid YAML"),
        (b"\xff\xd8\xff\xe0", "is not valid YAML"),
        (b"", "holds no parameters"),
        (b"- 1\n- 2\n", "holds no parameters"),
        (b"just text", "holds no parameters"),
    ],
    ids=["open", "nested", "nul", "date", "tag", "binary", "empty", "list", "text"],
)
def test_a_file_that_is_not_yaml_is_refused(tmp_path, content, said):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert said in refusal(path)


def write_text(folder: Path, key: str, text: str) -> Path:
    """The shipped params.yaml with a value as a user might write it."""
    path = write_parameters(folder, {key: "TEXT"})
    path.write_text(path.read_text().replace("TEXT", text))
    return path


@pytest.mark.parametrize(
    ("text", "value"), [("3e-6", 3e-6), ("1e-05", 1e-5), ("1e3", 1e3), ("1.0e-3", 1e-3), ("2", 2.0)]
)
def test_numbers_are_read_in_each_way_that_they_are_written(tmp_path, text, value):
    path = write_parameters(tmp_path, {"lr": "LR", "members.mar": {"l2": "LR"}})
    path.write_text(path.read_text().replace("LR", text))
    settings = parameters.load(path)
    assert settings.lr == value
    assert settings.member("ja").lr == value
    assert settings.member("mar").l2 == value
    assert isinstance(settings.member("mar").l2, float)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("epochs", "010", 10),
        ("epochs", "0o10", 8),
        ("seed", "0x1F", 31),
        ("seed", "08", 8),
        ("lr", "+.5", 0.5),
        ("model.brain_trainable", "True", True),
        ("model.brain_trainable", "FALSE", False),
        ("pair.pairs_per_identity", "~", None),
        ("pair.val_identities", "[1, 010]", [1, 10]),
        ("model.brain", "on", "on"),
        ("model.brain", "1:30", "1:30"),
    ],
)
def test_a_value_is_the_one_that_dvc_records(tmp_path, key, text, value):
    path = write_text(tmp_path, key, text)
    loaded = parameters.load(path).model_dump()
    recorded = load_yaml(path)
    for part in key.split("."):
        loaded, recorded = loaded[part], recorded[part]
    assert loaded == recorded == value
    assert type(loaded) is type(recorded) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("model.brain_trainable", "on", "Input should be a valid boolean (got 'on')"),
        ("model.brain_trainable", "no", "Input should be a valid boolean (got 'no')"),
        ("seed", "1:30", "Input should be a valid integer (got '1:30')"),
        ("seed", f"1{':00' * 200}.5", "Input should be a valid integer (got '1:00:00"),
        ("lr", "'1e-3'", "Input should be a valid number (got '1e-3')"),
        ("lr", "1e400", "Input should be a finite number (got inf)"),
        ("epochs", "1e1", "Input should be a valid integer (got 10.0)"),
        ("pair.val_share", "0,5", "Input should be a valid number (got '0,5')"),
    ],
)
def test_text_that_is_no_such_value_is_refused_by_its_key(tmp_path, key, text, said):
    assert refusal(write_text(tmp_path, key, text)).startswith(f"{key}: {said}")


def test_every_value_of_the_shipped_file_is_loaded_as_it_stands():
    recorded = load_yaml(ROOT / "params.yaml")
    loaded = parameters.load(ROOT / "params.yaml").model_dump(exclude_unset=True)
    assert loaded == recorded
    assert len(loaded) == len(parameters.Parameters.model_fields)
    # A few by hand: the two readers could be wrong together.
    assert (loaded["lr"], loaded["epochs"], loaded["seed"]) == (1e-7, 10, 2356)
    assert (loaded["gamma"], loaded["precision"], loaded["workers"]) == (50.0, "float32", "loky")
    assert loaded["select"]["require"] == loaded["pair"]["val_identities"] == []
    assert loaded["model"]["neck_units"] == [150, 100]
    assert loaded["model"]["brain_trainable"] is False
    assert loaded["members"]["rai"]["l2"] == 1e-4
    assert loaded["evaluate"]["genuine_per_identity"] is None
    assert loaded["capture"] == {
        "min_interocular": 18.0,
        "min_sharpness": 0.25,
        "min_brightness": 35.0,
        "max_brightness": 230.0,
        "min_quality": 0.5,
        "second_face": 0.6,
        "max_residual": 16.0,
    }


def test_each_changed_value_is_the_one_that_is_loaded(tmp_path):
    changes = {
        "alpha": 0.25, "beta": 0.75, "gamma": 2.5, "delta": 1.5, "lr": 0.002, "dropout": 0.3,
        "l2": 0.004, "epochs": 3, "batch_size": 8, "precision": "mixed_bfloat16", "seed": 17,
        "threshold": 0.45, "accept_threshold": 0.55, "workers": "tcp://host:8786",
        "select.require": ["Male"], "select.exclude": ["Young"], "select.faces_per_identity": 5,
        "audit.copy_face": 0.3, "audit.copy_picture": 0.9, "audit.far": 0.7, "audit.alike": 0.4,
        "pair.pairs_per_identity": 7, "pair.split_by": "pair", "pair.val_share": 0.4,
        "model.brain": "Xception", "model.brain_layer": "block4_pool", "model.brain_view": 99,
        "model.brain_trainable": True, "model.head_filters": 5, "model.neck_units": [6],
        "model.tail_reads": "neck", "model.tail_units": [7, 8], "evaluate.fmr_factor": 3.5,
        "evaluate.resamples": 222, "evaluate.genuine_per_identity": 4,
        "capture.min_interocular": 30.5,
        "capture.min_quality": 0.25,
        "capture.min_brightness": 40, "capture.max_brightness": 200, "capture.second_face": 0.5,
        "capture.max_residual": 12.5,
    }  # fmt: skip
    loaded = parameters.load(write_parameters(tmp_path, changes)).model_dump()
    before = parameters.load(write_parameters(tmp_path)).model_dump()
    for key, value in changes.items():
        *groups, last = key.split(".")
        place, former = loaded, before
        for group in groups:
            place, former = place[group], former[group]
        assert place[last] == value != former[last], key
        former[last] = value
    assert loaded == before  # and nothing else


def test_several_wrong_keys_are_reported_together(tmp_path):
    changes = {"lr": -1, "epochs": "20", "model.unit": 3}
    assert refusal(write_parameters(tmp_path, changes)) == (
        "lr: Input should be greater than 0 (got -1); "
        "epochs: Input should be a valid integer (got '20'); model.unit: unknown key"
    )


def test_of_many_wrong_keys_the_first_are_named_and_the_others_counted(tmp_path):
    changes = {
        "epochs": 0, "members.mar": {"alpha": 1, "lrr": 1}, "members.rai": {"head_filters": 0},
        "ensemble.ja": 0.6, "alfa": 1,
    }  # fmt: skip
    message = refusal(write_parameters(tmp_path, changes))
    assert message.startswith("epochs: Input should be greater than or equal to 1 (got 0); ")
    assert "members.mar.alpha: a member cannot override this key; " in message
    assert message.endswith("; and 3 more")
    del changes["epochs"], changes["members.mar"]
    message = refusal(write_parameters(tmp_path, changes))
    assert message.startswith("members.rai.head_filters: ")
    assert "; ensemble: the weights sum to 0.9, they must sum to 1; " in message
    assert message.endswith("; alfa: unknown key")


def test_missing_weight_files_are_reported_together(tmp_path):
    changes = {"model.brain_weights": "pretrained/a.h5", "members.mar.tower_weights": "b.h5"}
    assert refusal(write_parameters(tmp_path, changes)) == (
        "model.brain_weights: there is no file pretrained/a.h5; "
        "members.mar.tower_weights: b.h5 must lie in pretrained/"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pretrained/absent.weights.h5", "there is no file"),
        ("pretrained", "there is no file"),
        ("brain.weights.h5", "must lie in pretrained/"),
        ("pretrained/../brain.weights.h5", "must lie in pretrained/"),
        ("pretrained/link.weights.h5", "must lie in pretrained/"),
        ("pretrained/loop.weights.h5", "there is no file"),
        ("pretrained/pipe.weights.h5", "there is no file"),
        ("/etc/hostname", "must lie in pretrained/"),
    ],
)
@pytest.mark.parametrize(
    "key", ["model.brain_weights", "members.mar.brain_weights", "members.mar.tower_weights"]
)
def test_a_wrong_weight_file_is_refused_by_its_key(tmp_path, key, name, reason):
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "brain.weights.h5").write_bytes(b"")
    (tmp_path / "pretrained/link.weights.h5").symlink_to(tmp_path / "brain.weights.h5")
    (tmp_path / "pretrained/loop.weights.h5").symlink_to("loop.weights.h5")
    os.mkfifo(tmp_path / "pretrained/pipe.weights.h5")
    message = refusal(write_parameters(tmp_path, {key: name}))
    assert reason in message
    assert name in message
    assert message.startswith(f"{key}: ")


@pytest.mark.parametrize("part", ["brain_weights", "tower_weights"])
def test_a_weight_file_in_pretrained_is_accepted(tmp_path, part):
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained/own.weights.h5").write_bytes(b"")
    path = write_parameters(tmp_path, {f"model.{part}": "pretrained/own.weights.h5"})
    assert getattr(parameters.load(path).model, part) == "pretrained/own.weights.h5"


def test_imagenet_has_no_weights_for_a_tower(tmp_path):
    message = refusal(write_parameters(tmp_path, {"model.tower_weights": "imagenet"}))
    assert message == "model.tower_weights: imagenet must lie in pretrained/"


@pytest.mark.parametrize("weight", [0.8, 0.6, 0.70001])
def test_ensemble_weights_that_do_not_sum_to_one_are_refused(tmp_path, weight):
    message = refusal(write_parameters(tmp_path, {"ensemble.ja": weight}))
    assert message.startswith("ensemble: the weights sum to ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alpha: 1\nalpha: 2\n", "this key comes twice"),
        ("alpha: &a 1\nbeta: *a\n", "write the value out instead of an alias"),
        ("[" * 5000, "nested too deeply"),
        ("alpha: !!int ''\n", "is not valid YAML"),
        ("alpha: {<<: {beta: 1}}\n", "write the keys out instead of merging them"),
        ("<<: {seed: 5}\nseed: 2356\n", "write the keys out instead of merging them"),
        ("alpha: !!float 1:30\n", "write the value without a tag"),
        (f"seed: 1{':00' * 80_000}\n", "a value of more than 4,300 characters"),
        ("#" * 2**20 + "\nseed: 1\n", "is larger than 0.25 MB"),
    ],
)
def test_yaml_that_means_more_than_it_says_is_refused(tmp_path, text, said):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert said in refusal(path)


def test_what_a_message_quotes_is_short_and_harmless(tmp_path):
    path = write_parameters(tmp_path, {"epochs": "\x1b[31m" * 10**5})
    message = refusal(path)
    assert message.isprintable()
    assert len(message) < 2500
    path.write_text(path.read_text().replace("seed: 2356", f"seed: 0x{'F' * 5000}"))
    assert len(refusal(path)) < 2500


@pytest.mark.parametrize("weight", [0.0, 0.2])
def test_an_ensemble_of_other_members_is_refused(tmp_path, weight):
    message = refusal(write_parameters(tmp_path, {"ensemble.zoe": weight}))
    assert message == "ensemble: there is no member 'zoe' in `members`"


def test_an_ensemble_without_a_weight_is_refused(tmp_path):
    message = refusal(write_parameters(tmp_path, {"ensemble": {}}))
    assert message == "ensemble: the weights sum to 0, they must sum to 1"


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, {"ja": 0.7, "mar": 0.1, "alip": 0.1, "rai": 0.1}),
        ({"members.zoe": {}}, {"ja": 0.7, "mar": 0.1, "alip": 0.1, "rai": 0.1, "zoe": 0.0}),
        ({"ensemble": {"rai": 0.8, "ja": 0.2}}, {"ja": 0.2, "mar": 0.0, "alip": 0.0, "rai": 0.8}),
    ],
)
def test_a_member_that_the_ensemble_leaves_out_has_no_weight(tmp_path, changes, weights):
    settings = parameters.load(write_parameters(tmp_path, changes))
    assert settings.ensemble_weights == weights
    assert list(settings.ensemble_weights) == list(settings.members)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alpha", 0.3),
        ("lrr", 1e-3),
        ("epochs", 3),
        ("threshold", 0.4),
        ("model", {"head_filters": 3}),
        ("dropout", 1.0),
        ("dropout", True),
        ("lr", 0),
        ("lr", float("nan")),
        ("delta", 4),
        ("seed", "7"),
        ("seed", 7.0),
        ("head_filters", 0),
        ("brain_trainable", 1),
        ("tail_reads", "head"),
        ("tail_units", []),
        ("l2", None),
    ],
)
def test_a_wrong_override_is_refused_by_its_key(tmp_path, key, value):
    message = refusal(write_parameters(tmp_path, {"members.rai": {key: value}}))
    assert message.startswith(f"members.rai.{key}: ")


@pytest.mark.parametrize("name", ["1st", "a-b", "a.b", "", "../x", 7])
def test_a_member_name_that_cannot_be_a_folder_and_a_key_is_refused(tmp_path, name):
    path = write_parameters(tmp_path, {"members": {name: {}}, "ensemble": {name: 1}})
    assert refusal(path).startswith(f"members.{name}: ")


@pytest.mark.parametrize("name", ["ensemble", "dlib"])
def test_a_member_cannot_have_the_name_of_another_model(tmp_path, name):
    said = refusal(write_parameters(tmp_path, {f"members.{name}": {}}))
    assert f"members.{name}: this name stands for another model" in said


def test_a_member_trains_with_its_overrides_over_the_shared_values(tmp_path):
    overrides = {"lr": 0.01, "delta": 1.5, "seed": 7, "head_filters": 8, "neck_units": [5, 6]}
    path = write_parameters(tmp_path, {"alpha": 0.3, "members.mar": overrides})
    settings = parameters.load(path)
    shared, own = settings.member("ja"), settings.member("mar")
    assert (own.lr, own.delta, own.seed) == (0.01, 1.5, 7)
    assert (own.model.head_filters, own.model.neck_units) == (8, [5, 6])
    same = {"lr": shared.lr, "delta": shared.delta, "seed": shared.seed, "model": shared.model}
    assert own.model_copy(update=same) == shared
    kept = shared.model.model_dump(include={"head_filters", "neck_units"})
    assert own.model.model_copy(update=kept) == shared.model
    assert own.alpha == shared.alpha == 0.3
    assert (settings.lr, settings.model) == (shared.lr, shared.model)  # untouched


def test_each_key_that_a_member_may_override_takes_effect(tmp_path):
    values = {"lr": 0.02, "dropout": 0.3, "l2": 0.1, "beta": 0.9, "gamma": 0.8, "delta": 2.0}
    sizes = {
        "brain": "MobileNetV2",
        "brain_layer": "block_6_expand_relu",
        "brain_view": 96,
        "brain_weights": "imagenet",
        "brain_trainable": True,
        "head_filters": 3,
        "neck_units": [9],
        "tail_reads": "brain",
        "tail_units": [4, 5],
        "tower_weights": None,
    }
    values["seed"] = 11
    settings = parameters.load(write_parameters(tmp_path, {"members.ja": {**values, **sizes}}))
    own = settings.member("ja")
    assert {key: getattr(own, key) for key in values} == values
    assert own.model.model_dump() == sizes


def test_messages_do_not_name_pydantic_or_its_site(tmp_path):
    message = refusal(write_parameters(tmp_path, {"select.faces_per_identity": 3}))
    assert not re.search(r"pydantic|https?://|ValidationError", message)
