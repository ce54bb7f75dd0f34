"""Tests of pretrain/: EdgeFace trained on, from what stays of it to what it learns."""

import json
import shutil

import keras
import numpy as np
import pytest

import bring_edgeface
import recipe
from faceverify.base.errors import InputError
from faceverify.faces import dlib_descriptor, landmarks
from faceverify.model import edge_face
from helpers import sample_photos
from pretraining import PRETRAIN, SHIPPED, kill_and_go_on, make_project, printed, run

TINY = SHIPPED["train_on"] | {
    "epochs": 2,
    "photos": 16,
    "batch_size": 8,
    "checked": 0.4,
    "least": 2,
    "several": 3,
}
HOW = recipe.TrainOn.model_validate(TINY)
KEPT = (7, 7, 160)  # of what the layers that stay make of a photo


@pytest.fixture(scope="module")
def trainer():
    # Not at the top: it starts TensorFlow in its deterministic mode.
    import train_edgeface

    return train_edgeface


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Weights as `bring_edgeface` writes them, drawn at random."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(1)
    bring_edgeface.write(edge_face.build().get_weights(), bring_edgeface.FOLDER)


# What stays and what learns


def test_the_two_parts_make_what_the_whole_network_makes(trainer, published):
    whole, lower, network, upper = trainer.split(HOW.last_kept)
    canvases = np.random.default_rng(1).integers(0, 256, (2, 218, 218, 3), np.uint8)
    maps = lower.predict_on_batch(canvases)
    assert maps.shape[1:] == KEPT
    wanted = whole.predict_on_batch(canvases).reshape(2, -1)
    np.testing.assert_allclose(trainer.embedded(upper, maps), wanted, rtol=1e-4, atol=1e-5)
    before = network.get_weights()
    upper.set_weights([weight + 1 for weight in upper.get_weights()])
    pairs = zip(before, network.get_weights(), strict=True)
    stayed = [np.array_equal(one, other) for one, other in pairs]
    assert stayed == [True] * len(lower.weights) + [False] * len(upper.weights)


@pytest.mark.parametrize("layer", ["stage9", "stage3_block8_project"])
def test_the_last_kept_layer_must_be_all_that_is_read_of_the_kept(layer, trainer, published):
    with pytest.raises(InputError, match=f"train_on.last_kept: '{layer}' is no layer"):
        trainer.split(layer)


def test_the_learner_gives_whitened_embeddings_and_all_behind_the_kept_layers_learn(
    trainer, published
):
    _, _, _, upper = trainer.split(HOW.last_kept)
    size = edge_face.EMBEDDING
    learner = trainer.learner_of(upper, trainer.Whitening(np.ones(size), 2 * np.eye(size)))
    maps = np.random.default_rng(1).normal(size=(2, *KEPT)).astype(np.float32)
    wanted = 2 * (trainer.embedded(upper, maps) - 1)
    np.testing.assert_allclose(learner.predict_on_batch(maps), wanted, rtol=1e-4, atol=1e-4)
    assert len(learner.trainable_variables) == len(upper.weights)


def test_mixed_weights_lie_between(trainer):
    found = trainer.mixed([np.zeros(2)], [np.array([4.0, 8.0])], 0.25)
    np.testing.assert_array_equal(found, [[1, 2]])


# What it learns


def some_photos(trainer, people, groups=None):
    groups = groups or [""] * len(people)
    return trainer.Photos(np.arange(len(people)), np.array(people), np.array(groups))


def test_a_share_of_each_kind_of_people_is_held_back(trainer):
    people = [f"labelled/{i // 4}" for i in range(40)] + [f"people/{i}" for i in range(30)]
    people += [f"people/actor {i // 3}" for i in range(15)]
    groups = [""] * 40 + ["north"] * 20 + ["south"] * 10 + ["north"] * 15
    seen = some_photos(trainer, people, groups)
    checked = trainer.held_back(seen, HOW)
    np.testing.assert_array_equal(checked, trainer.held_back(seen, HOW))
    assert checked[:40].reshape(10, 4).all(axis=1).sum() == checked[:40].sum() / 4 == 4
    assert (checked[40:60].sum(), checked[60:70].sum()) == (8, 4)
    assert checked[70:].reshape(5, 3).all(axis=1).sum() == checked[70:].sum() / 3 == 2


def test_too_few_people_of_a_kind_are_one_line(trainer):
    several = [f"labelled/{i // 3}" for i in range(15)] + [f"people/a{i // 3}" for i in range(15)]
    strangers = [f"people/{i}" for i in range(4)]
    origins = [""] * 15 + ["north"] * 17 + ["south"] * 2
    seen = some_photos(trainer, several + strangers, origins)
    with pytest.raises(InputError, match="of no origin 2 strangers can be held back"):
        trainer.held_back(seen, HOW)
    with pytest.raises(InputError, match="photos or more in the set of strangers, 0 can be held"):
        trainer.held_back(
            some_photos(trainer, several[:15] + strangers, [""] * 15 + ["a"] * 4), HOW
        )
    with pytest.raises(InputError, match="no origin has 3 strangers to learn from"):
        trainer.origins_of(seen, np.ones(34, bool), 3)


def test_targets_leave_out_what_is_far_from_its_person(trainer):
    own = np.array([[1, 0.1], [1, -0.1], [1, 0], [-1, 0.2], [0, 2]], float)
    found = trainer.targets_of(own, np.array(["a", "a", "a", "a", "b"]), far=0.5)
    assert found.right.tolist() == [True, True, True, False, True]
    np.testing.assert_allclose(found.centres, [[1, 0], [0, 1]], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(found.own, axis=1), 1, atol=1e-6)
    assert found.person.tolist() == [0, 0, 0, 0, 1]


def test_the_centres_are_those_of_the_people_learnt_from(trainer):
    own = np.eye(4)
    found = trainer.targets_of(own, np.array(["a", "b", "c", "d"]), far=0.5)
    found = found.of_people(np.array([3, 1]))
    np.testing.assert_array_equal(found.centres, np.eye(4)[[1, 3]])
    assert found.person.tolist() == [-1, 0, -1, 1]


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
    rng = np.random.default_rng(2)
    people = np.array([f"p{i // 2}" for i in range(20)])
    maps = tuple(rng.normal(size=(20, 2, 2, 3)).astype(np.float32) for _ in range(2))
    own = rng.normal(size=(20, edge_face.EMBEDDING))
    targets = trainer.targets_of(own, people, far=-1)
    rows = np.arange(4, 20)
    one, other = (trainer.Batches(maps, targets, rows, epoch, HOW) for epoch in (0, 1))
    assert len(one) == 2
    last, first = one[1], one[0]
    for part, again in zip(first + last, one[0] + one[1], strict=True):
        np.testing.assert_array_equal(part, again)
    assert not np.array_equal(first[0], other[0][0])
    seen, wanted = first
    photos_or_cards = [{tuple(m.ravel()) for m in side[rows]} for side in maps]
    kinds = [[tuple(m.ravel()) in side for side in photos_or_cards] for m in seen]
    assert {(True, False), (False, True)} == set(map(tuple, kinds))
    assert set(wanted[:, 0].astype(int)) <= set(targets.person[rows])
    np.testing.assert_allclose(np.linalg.norm(wanted[:, 1:], axis=1), 1, atol=1e-5)


def test_the_figures_are_shares_of_genuine_pairs_above_limits_of_the_others(trainer):
    rng = np.random.default_rng(4)
    size, several, alone = edge_face.EMBEDDING, 24, 40
    people = [f"labelled/{i // 4}" for i in range(several)]
    people += [f"people/a{i // 4}" for i in range(several)] + [f"people/{i}" for i in range(alone)]
    groups = [""] * several + ["north"] * (several + alone)
    seen = some_photos(trainer, people, groups)
    checked = np.ones(len(people), bool)
    checked[: several // 2] = checked[several : several + several // 2] = False
    checked[-alone // 2 :] = False
    centres = {name: rng.normal(size=size) for name in people}
    photos = np.stack([centres[name] for name in people]) + rng.normal(size=(len(people), size))
    maps = tuple(
        (photos + 9 * n * rng.normal(size=photos.shape)).astype(np.float32) for n in (0, 1)
    )
    settings = recipe.Recipe.model_validate(
        SHIPPED | {"train_on": TINY, "fit": SHIPPED["fit"] | {"least": 2, "far": -1}}
    )
    same = keras.Sequential([keras.Input((size,)), keras.layers.Identity()])
    found = trainer.measured(same, maps, seen, checked, settings)
    comparison = trainer.whitened(maps[0], seen, ~checked, settings)
    sides = [comparison(side) for side in maps]
    rows = {"celeba": range(several // 2, several), "others": range(several * 3 // 2, several * 2)}
    lone = range(several * 2, several * 2 + alone // 2)
    strangers = []
    for side in sides:
        cosines = [side[a] @ sides[0][b] for a in lone for b in lone if a != b]
        strangers.append(np.quantile(cosines, 0.999))
    for condition, side in zip(("photo", "card"), sides, strict=True):
        for kind, own in rows.items():
            pairs = [
                (side[a] @ sides[0][b], people[a] == people[b]) for a in own for b in own if a != b
            ]
            genuine = np.array([cosine for cosine, one in pairs if one])
            impostor = [cosine for cosine, one in pairs if not one]
            limits = {"1pct": 0.99, "01pct": 0.999}
            limits = {name: np.quantile(impostor, at) for name, at in limits.items()}
            for name, limit in (limits | {"strangers": max(strangers)}).items():
                wanted = (genuine > limit).mean()
                assert found[f"val_{kind}_{condition}_tar_{name}"] == pytest.approx(wanted)
    assert 0 < found["val_celeba_card_tar_strangers"] < 1


# The stage as people run it


@pytest.fixture(scope="module")
def labelled(sample, tmp_path_factory):
    """A tiny project with labels: people with several photos, and strangers of two origins."""
    folder = make_project(
        tmp_path_factory.mktemp("edgeface") / "labelled",
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
    for model in (landmarks.PREDICTOR, dlib_descriptor.NETWORK):
        (folder / "data" / model).symlink_to(sample / model)
    (folder / "held_out.txt").write_text(f"{known[0]}\n")
    printed(run("label_faces", folder))
    start = edge_face.build().get_weights()
    bring_edgeface.write(start, folder / bring_edgeface.FOLDER)
    return folder


@pytest.mark.slow
def test_another_origin_of_a_stranger_is_another_run(trainer, labelled, monkeypatch):
    monkeypatch.chdir(labelled)
    settings = recipe.read()
    seen = trainer.training_photos(settings)
    assert trainer.run_of(seen, settings) == trainer.run_of(seen, settings)
    moved = seen._replace(groups=np.where(seen.groups == "north", "south", seen.groups))
    assert trainer.run_of(moved, settings) != trainer.run_of(seen, settings)


@pytest.mark.slow
def test_too_few_batches_are_one_line(labelled):
    folder = labelled.with_name("few")
    shutil.copytree(labelled, folder, symlinks=True)
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("photos: 16\n", "photos: 7\n"))
    result = run("train_edgeface", folder)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "train_on.photos: two batches of train_on.batch_size" in result.stderr


@pytest.mark.slow
def test_only_people_to_learn_from_are_seen(trainer, labelled, monkeypatch):
    monkeypatch.chdir(labelled)
    seen = trainer.training_photos(recipe.read())
    assert len(seen.paths) == 5 * 4 + 13 + 6 * 4
    assert set(seen.groups) == {"", "north", "south"}
    held_out = (labelled / "held_out.txt").read_text().strip()
    assert f"labelled/{held_out}" not in seen.people
    assert all(path.is_file() for path in seen.paths)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(labelled):
    undisturbed = labelled.with_name("undisturbed")
    shutil.copytree(labelled, undisturbed, symlinks=True)
    output = printed(run("train_edgeface", undisturbed))
    kill_and_go_on("train_edgeface", labelled, labelled / recipe.FACES, output)
    made = sorted(path.name for path in (undisturbed / recipe.FACES).iterdir())
    assert [name.removesuffix(".sha256") for name in made] == [
        name for name in sorted([bring_edgeface.WEIGHTS, bring_edgeface.BRAIN]) for _ in range(2)
    ]
    for name in (
        *(f"{recipe.FACES}/{name}" for name in made),
        "edge_face_metrics.json",
        "plots/edge_face/plots/metrics/train/loss.tsv",
    ):
        assert (labelled / name).read_bytes() == (undisturbed / name).read_bytes(), name
    figures = json.loads((labelled / "edge_face_metrics.json").read_text())
    assert set(figures["trained"]) == {"loss", *figures["start"]}
    assert set(figures["written"]) == set(figures["start"])
    assert all(0 <= value <= 1 for value in figures["written"].values())
