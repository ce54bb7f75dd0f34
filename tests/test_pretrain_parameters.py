"""Tests of pretrain/: parameters, shipped weights, and mistakes that end in one line."""

import pytest
import yaml

import recipe
from faceverify.base.errors import InputError
from faceverify.faces import dlib_descriptor, landmarks
from faceverify.model.network import Tower, build_brain, build_tower
from faceverify.runs import parameters
from helpers import error_line
from pretraining import (
    MEMBER,
    ROOT,
    SCRIPTS,
    SHIPPED,
    make_project,
    run,
    shape_of,
)


@pytest.mark.parametrize("file", ["params.yaml", "params.faces.yaml"])
def test_each_member_starts_from_shipped_weights_of_its_own_tower(file):
    settings = parameters.load(ROOT / file)
    for name in settings.members:
        member = settings.member(name).model
        if made_by := SHIPPED["members"].get(name):
            layer, view = made_by["brain_layer"], made_by["brain_view"]
            assert (member.brain_layer, member.brain_view) == (layer, view)
            assert member.brain_weights == f"pretrained/{recipe.brain_weights(layer)}"
            assert member.tower_weights == f"pretrained/{recipe.tower_weights(name, layer)}"
        else:
            assert member.tower_weights == f"pretrained/{recipe.fitted_weights(name)}"
        brain = build_brain(
            member.brain, member.brain_layer, member.brain_view, str(ROOT / member.brain_weights), 1
        )
        sizes = Tower(
            member.head_filters, member.neck_units, member.tail_units, 0.0, 0.0, member.tail_reads
        )
        assert sizes == shape_of(name)
        build_tower(brain.output_shape[1:], sizes, 1, str(ROOT / member.tower_weights))


def test_the_members_differ_in_head_neck_tail_and_loss():
    settings = parameters.load(ROOT / "params.yaml")
    members = [settings.member(name) for name in settings.members]
    for part in ("head_filters", "neck_units", "tail_units"):
        assert len({str(getattr(member.model, part)) for member in members}) > 1, part
    losses = {(member.gamma, member.delta, member.l2, member.dropout) for member in members}
    assert len(losses) == len(members)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if not name.startswith("bring_")])
def test_an_unknown_parameter_is_one_line(name, tmp_path):
    folder = make_project(tmp_path / "project", speed=3)
    line = error_line(run(name, folder))
    assert line == f"{name}.py: error: params.yaml: speed: unknown key"
    assert list((folder / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view": 74}, "view: "),
        ({"view": 219}, "view: "),
        ({"sets": []}, "sets: "),
        ({"sets": ["../elsewhere"]}, "sets.0: "),
        ({"person_share": 1.1}, "person_share: "),
        ({"lr": 0}, "lr: "),
        ({"precision": "float8"}, "precision: "),
        ({"start": 1}, "start: "),
        ({"augment": SHIPPED["augment"] | {"jpeg": 2}}, "augment.jpeg: "),
        ({"augment": SHIPPED["augment"] | {"zoom": 0}}, "augment.zoom: unknown key"),
        ({"tower": SHIPPED["tower"] | {"batch_size": 5}}, "tower.batch_size: "),
        ({"tower": SHIPPED["tower"] | {"near": 0}}, "tower.near: "),
        ({"members": {}}, "members: "),
        ({"members": {"../ja": SHIPPED["members"]["rai"]}}, "members.../ja"),
        ({"members": {"ja": SHIPPED["members"]["rai"] | {"tail_units": []}}}, "members.ja.tail_un"),
        ({"members": {"ja": SHIPPED["members"]["rai"] | {"brain_layer": "mixed6"}}}, "members.ja"),
        ({"members": {"ja": SHIPPED["members"]["rai"] | {"brain_view": 74}}}, "members.ja.brain_v"),
        ({"train_on": SHIPPED["train_on"] | {"cards": 1.5}}, "train_on.cards: "),
        ({"train_on": SHIPPED["train_on"] | {"alike": 1}}, "train_on.alike: "),
        ({"train_on": SHIPPED["train_on"] | {"last_kept": "a b"}}, "train_on.last_kept: "),
        ({"fit": SHIPPED["fit"] | {"fmr": 0}}, "fit.fmr: "),
        ({"fit": SHIPPED["fit"] | {"strangers": "a/b"}}, "fit.strangers: "),
        ({"fitted": {"ja": SHIPPED["fitted"]["ja"] | {"tail_units": [9, 9]}}}, "fitted.ja.tail_un"),
        ({"fitted": {"ja": SHIPPED["fitted"]["ja"] | {"tail_units": [513]}}}, "fitted.ja.tail_un"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_by_name(changes, message, tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(SHIPPED | changes))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^params.yaml: {message}"):
        recipe.read()


def test_a_missing_photo_set_is_one_line(tmp_path):
    folder = make_project(tmp_path / "project")
    line = error_line(run("label_faces", folder))
    assert line.startswith("label_faces.py: error: data/tiny/identity_CelebA.txt")


@pytest.mark.parametrize("name", [landmarks.PREDICTOR, dlib_descriptor.NETWORK])
def test_a_missing_dlib_model_is_one_line(name, tmp_path):
    folder = make_project(tmp_path / "project")
    (folder / "data/tiny").mkdir()
    (folder / "data/tiny/identity_CelebA.txt").write_text("000001.png 1\n")
    for model in {landmarks.PREDICTOR, dlib_descriptor.NETWORK} - {name}:
        (folder / "data" / model).touch()
    line = error_line(run("label_faces", folder))
    assert line.startswith(f"label_faces.py: error: pretrain/data/{name} is missing")
    assert not (folder / "labels").exists()


@pytest.mark.parametrize("name", ["train_brain", "train_tower", "fit_tower", "fit_tail"])
def test_training_without_labels_is_one_line(name, tmp_path):
    folder = make_project(tmp_path / "project")
    line = error_line(run(name, folder))
    assert line == f"{name}.py: error: labels/photos.csv is missing; run dvc repro"
    assert not (folder / "plots").exists()


def test_a_tower_of_a_name_that_is_no_member_is_one_line(tmp_path):
    folder = make_project(tmp_path / "project", members={"ja": SHIPPED["members"]["rai"]})
    line = error_line(run("train_tower", folder))
    assert line == f"train_tower.py: error: params.yaml has no member {MEMBER!r} in `members`"
