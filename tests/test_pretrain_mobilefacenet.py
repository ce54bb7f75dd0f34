"""Tests of pretrain/: MobileFaceNet trained on, from what it sees to what it learns."""

import json
import shutil

import keras
import numpy as np
import pytest

import bring_mobilefacenet
import draw_frames
import frames
import recipe
from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import decode_aligned, to_canvas
from faceverify.model import mobile_face_net
from helpers import sample_photos
from pretraining import PRETRAIN, SHIPPED, kill_and_go_on, make_project, printed, run

TINY = SHIPPED["train_on"] | {
    "epochs": 2,
    "photos": 16,
    "batch_size": 8,
    "checked": 0.4,
    "least": 4,
    "several": 3,
}
HOW = recipe.TrainOn.model_validate(TINY)


@pytest.fixture(scope="module")
def trainer():
    # Not at the top: it starts TensorFlow in its deterministic mode.
    import train_mobilefacenet

    return train_mobilefacenet


@pytest.fixture(scope="module")
def photo(sample):
    return decode_aligned(sorted((sample / "img_align_celeba").iterdir())[0].read_bytes())


# What the network sees


def test_a_frame_without_its_border_is_what_a_brain_makes_of_the_canvas(photo):
    canvas = to_canvas(photo)[None].astype(np.float32)
    wanted = 128 * np.asarray(mobile_face_net.preprocess_input(canvas))[0] + 127.5
    found = frames.inner(frames.framed(photo)).astype(float)
    assert np.abs(found - wanted).max() <= 3  # steps of 1/32 pixel, and whole grey levels
    assert np.abs(found - wanted).mean() < 0.5


def test_a_frame_changes_as_its_generator_says(photo):
    frame = frames.framed(photo)
    one, again, other = (
        frames.changed(frame, card=False, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == (mobile_face_net.SIDE, mobile_face_net.SIDE, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_without_any_change_a_frame_is_seen_as_it_is_or_in_the_mirror(photo, monkeypatch):
    for name in ("ROTATION", "SCALE", "SHIFT", "LIGHT"):
        monkeypatch.setattr(frames, name, 0.0)
    monkeypatch.setattr(frames, "HOW_OFTEN", dict.fromkeys(frames.HOW_OFTEN, 0.0))
    frame = frames.framed(photo)
    plain, mirrored = frames.inner(frame), frames.inner(frame)[:, ::-1]
    found = [
        frames.changed(frame, card=False, rng=np.random.default_rng(seed)) for seed in range(8)
    ]
    kinds = [
        [np.abs(seen.astype(int) - wanted).max() <= 1 for wanted in (plain, mirrored)]
        for seen in found
    ]
    assert {(True, False), (False, True)} == set(map(tuple, kinds))


def test_each_kind_of_damage_changes_the_picture(photo):
    seen = frames.inner(frames.framed(photo))
    for kind in frames.HOW_OFTEN:
        often = dict.fromkeys(frames.HOW_OFTEN, 0.0) | {kind: 1.0}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frames, "HOW_OFTEN", often)
            damaged = frames._damaged(seen, np.random.default_rng(1))
        assert damaged.shape == seen.shape
        # The sample's photos have no colour to lose.
        assert np.array_equal(damaged, seen) == (kind == "grey"), kind


# What it learns


def some_frames(people, groups=None):
    count = len(people)
    pictures = np.random.default_rng(1).integers(
        0, 256, (count, 2, frames.FRAME, frames.FRAME, 3), np.uint8
    )
    return draw_frames.Frames(
        pictures, np.array(people, str), np.array(groups or [""] * count, str)
    )


def test_a_share_of_each_kind_of_people_is_held_back(trainer):
    people = [f"celeba/{i // 4}" for i in range(40)] + [f"people/{i}" for i in range(30)]
    groups = [""] * 40 + ["north"] * 20 + ["south"] * 10
    seen = some_frames(people, groups)
    checked = trainer.held_back(seen, HOW)
    np.testing.assert_array_equal(checked, trainer.held_back(seen, HOW))
    assert checked[:40].reshape(10, 4).all(axis=1).sum() == checked[:40].sum() / 4 == 4
    assert (checked[40:60].sum(), checked[60:].sum()) == (8, 4)


def test_targets_leave_out_what_is_far_from_its_person(trainer):
    own = np.array([[1, 0.1], [1, -0.1], [1, 0], [-1, 0.2], [0, 2]], float)
    found = trainer.targets_of(own, np.array(["a", "a", "a", "a", "b"]), far=0.5)
    assert found.right.tolist() == [True, True, True, False, True]
    np.testing.assert_allclose(found.centres, [[1, 0], [0, 1]], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(found.own, axis=1), 1, atol=1e-6)
    assert found.person.tolist() == [0, 0, 0, 0, 1]


def test_the_loss_is_least_at_the_own_centre_and_passes_over_people_who_may_be_one(trainer):
    centres = np.eye(3, dtype=np.float32)
    own = np.eye(3, dtype=np.float32)[0]
    wanted = np.concatenate([[0.0], own])[None].astype(np.float32)

    def loss(given, centres=centres):
        given = np.array([given], np.float32)
        return float(trainer.loss_of(centres, HOW)(keras.ops.array(wanted), given)[0])

    assert loss([1, 0, 0]) < loss([1, 0.5, 0]) < loss([0.5, 1, 0]) < loss([0, 1, 0])
    assert loss([2, 0, 0]) == pytest.approx(loss([1, 0, 0]), abs=1e-4)
    alike = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 0, 1]], np.float32)
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    assert loss([1, 0, 0], alike) == pytest.approx(loss([1, 0, 0]), abs=1e-4)


def test_batches_are_the_same_in_any_order_and_others_in_the_next_epoch(trainer):
    seen = some_frames([f"p{i // 2}" for i in range(20)])
    own = np.random.default_rng(2).normal(size=(20, mobile_face_net.EMBEDDING))
    targets = trainer.targets_of(own, seen.people, far=-1)
    rows = np.arange(4, 20)
    one, other = (trainer.Batches(seen, targets, rows, epoch, HOW) for epoch in (0, 1))
    assert len(one) == 2
    last, first = one[1], one[0]
    for part, again in zip(first + last, one[0] + one[1], strict=True):
        np.testing.assert_array_equal(part, again)
    assert not np.array_equal(first[0], other[0][0])
    faces, wanted = first
    assert faces.shape == (8, mobile_face_net.SIDE, mobile_face_net.SIDE, 3)
    assert set(wanted[:, 0].astype(int)) <= set(targets.person[rows])
    np.testing.assert_allclose(np.linalg.norm(wanted[:, 1:], axis=1), 1, atol=1e-5)


def test_only_the_layers_from_the_first_on_learn(trainer):
    network = mobile_face_net.build()
    size = mobile_face_net.EMBEDDING
    whitening = trainer.Whitening(np.ones(size), np.eye(size))
    learner = trainer.learner_of(network, whitening, HOW)
    names = [layer.name for layer in network.layers]
    first = names.index(HOW.first_layer)
    assert not any(layer.trainable_weights for layer in network.layers[:first])
    assert all(layer.trainable_weights for layer in network.layers[first:] if layer.weights)
    faces = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3)).astype(np.float32)
    expected = network.predict_on_batch((faces - 127.5) / 128).reshape(2, -1) - 1
    np.testing.assert_allclose(learner.predict_on_batch(faces), expected, atol=1e-4)
    unknown = HOW.model_copy(update={"first_layer": "stage9"})
    with pytest.raises(InputError, match="train_on.first_layer: no layer 'stage9'"):
        trainer.learner_of(network, whitening, unknown)


# The stages as people run them


@pytest.fixture(scope="module")
def drawn(sample, tmp_path_factory):
    """A tiny project with frames: people with several photos, and strangers of two origins."""
    folder = make_project(
        tmp_path_factory.mktemp("mobilefacenet") / "drawn",
        train_on=TINY,
        fit=SHIPPED["fit"] | {"least": 4},
    )
    shutil.copy(PRETRAIN.parent / "params.yaml", folder.parent)
    people = sample_photos(sample, 26, 4)
    known, strangers, actors = (list(people)[part] for part in map(slice, (0, 6, 20), (6, 20, 26)))
    for name, chosen in (("tiny", known), ("people", [*strangers, *actors])):
        photos = folder / "data" / name / "img_align_celeba"
        photos.mkdir(parents=True)
        rows = [
            (photo, person)
            for person in chosen
            for photo in people[person][: 1 if person in strangers else 4]
        ]
        for photo, _ in rows:
            shutil.copy(sample / "img_align_celeba" / photo, photos)
        listed = "".join(f"{photo} {person}\n" for photo, person in rows)
        (photos.parent / "identity_CelebA.txt").write_text(listed)
    table = [
        f"{photo},{'north' if int(person) % 2 else 'south'},{int(person == strangers[0])}\n"
        for photo, person in rows
    ]
    (photos.parent / "people.csv").write_text("photo,group,held_out\n" + "".join(table))
    (folder / "held_out.txt").write_text(f"{known[0]}\n")
    assert "photos of 24 people, each on a card too" in printed(run("draw_frames", folder))
    return folder


@pytest.mark.slow
def test_frames_are_of_the_people_to_learn_from(drawn, monkeypatch):
    monkeypatch.chdir(drawn)
    seen = draw_frames.read()
    assert seen.pictures.shape == (5 * 4 + 13 + 6 * 4, 2, frames.FRAME, frames.FRAME, 3)
    assert not (seen.pictures[:, 0] == seen.pictures[:, 1]).all(axis=(1, 2, 3)).any()
    assert set(seen.groups) == {"", "north", "south"}
    held_out = (drawn / "held_out.txt").read_text().strip()
    assert f"celeba/{held_out}" not in seen.people


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(drawn):
    start = mobile_face_net.build().get_weights()
    bring_mobilefacenet.write(start, drawn / bring_mobilefacenet.FOLDER)
    undisturbed = drawn.with_name("undisturbed")
    shutil.copytree(drawn, undisturbed)
    output = printed(run("train_mobilefacenet", undisturbed))
    kill_and_go_on("train_mobilefacenet", drawn, drawn / recipe.FACES, output)
    made = sorted(path.name for path in (undisturbed / recipe.FACES).iterdir())
    assert [name.removesuffix(".sha256") for name in made] == [
        name
        for name in sorted([bring_mobilefacenet.WEIGHTS, bring_mobilefacenet.BRAIN])
        for _ in range(2)
    ]
    for name in (
        *(f"{recipe.FACES}/{name}" for name in made),
        "mobile_face_net_metrics.json",
        "plots/mobile_face_net/plots/metrics/train/loss.tsv",
    ):
        assert (drawn / name).read_bytes() == (undisturbed / name).read_bytes(), name
    figures = json.loads((drawn / "mobile_face_net_metrics.json").read_text())
    assert set(figures["trained"]) == {"loss", *figures["start"]}
    assert all(-1 <= value <= 1 for value in figures["start"].values())
