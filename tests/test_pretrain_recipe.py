"""Tests of pretrain/: the recipe as people run it, whole and killed."""

import json
import shutil

import h5py
import numpy as np
import pytest

import label_faces
import recipe
from faceverify.faces import dlib_descriptor, landmarks
from faceverify.faces.aligned_photos import decode
from faceverify.model.network import build_brain, build_tower
from helpers import sample_photos
from pretraining import (
    MEMBER,
    PEOPLE,
    PHOTOS_EACH,
    SHIPPED,
    SMALLEST,
    TINY,
    UNSEEN,
    kill_and_go_on,
    make_project,
    printed,
    run,
    same,
    shape_of,
)

LAYER, VIEW = (SHIPPED["members"][MEMBER][key] for key in ("brain_layer", "brain_view"))

# Each waits for a training.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labelled(sample, tmp_path_factory):
    """A tiny project with labels and the weights to start from."""
    folder = make_project(tmp_path_factory.mktemp("pretrain") / "labelled")
    tiny = folder / "data/tiny"
    (tiny / "img_align_celeba").mkdir(parents=True)
    people = sample_photos(sample, PEOPLE, PHOTOS_EACH)
    lines = [f"{name} {person}" for person, names in people.items() for name in names]
    (tiny / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    for line in lines:
        shutil.copy(sample / "img_align_celeba" / line.split()[0], tiny / "img_align_celeba")
    for model in (landmarks.PREDICTOR, dlib_descriptor.NETWORK):
        (folder / "data" / model).symlink_to(sample / model)
    unseen = list(people)[:UNSEEN]
    (folder / "held_out.txt").write_text("".join(f"{person}\n" for person in unseen))
    assert "20 photos of 5 people labelled" in printed(run("label_faces", folder))
    printed(run("start_weights", folder))
    return folder


@pytest.fixture(scope="module")
def trained(labelled):
    """The project after an undisturbed training, and what that printed."""
    folder = labelled.with_name("trained")
    shutil.copytree(labelled, folder, symlinks=True)
    return folder, printed(run("train_brain", folder))


@pytest.fixture(scope="module")
def with_tower(trained):
    """The project after the tower's training, and what that printed."""
    folder, _ = trained
    return folder, printed(run("train_tower", folder))


def test_labels_are_dlibs_landmarks_and_descriptors_of_the_photos(labelled):
    rows = (labelled / "labels/photos.csv").read_text().splitlines()
    descriptors = np.load(labelled / "labels/descriptors.npy")
    numbers = np.load(labelled / "labels/landmarks.npy")
    identities = (labelled / "data/tiny/identity_CelebA.txt").read_text().splitlines()
    expected = [f"tiny/img_align_celeba/{line.replace(' ', ',')}" for line in identities]
    assert rows == ["photo,identity", *expected]
    assert descriptors.shape == (20, 128)
    assert descriptors.dtype == np.float32
    for i in range(0, 20, PHOTOS_EACH):
        photo = decode((labelled / "data" / rows[i + 1].split(",")[0]).read_bytes())
        predictor, model = (
            labelled / "data" / name for name in (landmarks.PREDICTOR, dlib_descriptor.NETWORK)
        )
        points = landmarks.find_landmarks(photo, predictor, label_faces.USUAL_FACE)
        found = dlib_descriptor.describe(photo, points, model)
        np.testing.assert_allclose(descriptors[i], found, atol=1e-6)
        np.testing.assert_array_equal(numbers[i], landmarks.flatten(points))


def test_without_published_weights_the_start_is_drawn_from_the_seed(labelled):
    found, expected = (
        build_brain("InceptionV3", "mixed5", SMALLEST, None, TINY["seed"]) for _ in range(2)
    )
    found.set_weights([np.zeros_like(weight) for weight in found.get_weights()])
    found.load_weights(labelled / "start" / recipe.WEIGHTS)
    assert same(found.get_weights(), expected.get_weights())


def test_the_unseen_people_are_not_among_those_trained_on(trained):
    _, output = trained
    assert (
        "12 photos of 3 people to learn from; 2 unseen people with 8 photos, 12 genuine pairs"
        in output.splitlines()
    )


def test_the_trained_weights_are_those_of_a_brain_in_half_precision(trained):
    folder, _ = trained
    path = folder / "model" / recipe.WEIGHTS
    types = set()
    with h5py.File(path) as file:
        file.visititems(
            lambda _, item: types.add(item.dtype) if isinstance(item, h5py.Dataset) else None
        )
    assert types == {np.dtype(np.float16)}
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.sha256"]
    brain = build_brain("InceptionV3", "mixed5", SMALLEST, str(path), TINY["seed"])
    start = build_brain("InceptionV3", "mixed5", SMALLEST, None, TINY["seed"])
    pairs = list(zip(brain.get_weights(), start.get_weights(), strict=True))
    assert all(np.isfinite(found).all() for found, _ in pairs)
    assert not any(np.array_equal(found, before) for found, before in pairs)


def test_the_figures_are_those_of_the_last_epoch(trained):
    folder, output = trained
    figures = json.loads((folder / "metrics.json").read_text())
    assert list(figures) == [
        "loss",
        "val_distance",
        "val_auc",
        "val_best_accuracy",
        "val_tar_at_fmr_1pct",
    ]
    assert figures["loss"] > 0
    assert figures["val_distance"] > 0
    assert all(0 <= figures[f"val_{name}"] <= 1 for name in ("auc", "tar_at_fmr_1pct"))
    assert 0.5 <= figures["val_best_accuracy"] <= 1
    last = output.splitlines()[-1]
    assert last.startswith(f"epoch 2/2  loss {figures['loss']:.4f}  unseen people: ")
    assert f"AUC {figures['val_auc']:.4f}" in last
    curve = (folder / "plots/training/plots/metrics/val/auc.tsv").read_text().splitlines()
    assert curve[0].split("\t") == ["step", "auc"]
    assert len(curve) == 3
    assert not (folder / ".cache/checkpoint.npz").exists()


def test_a_killed_training_goes_on_to_the_same_weights(labelled, trained):
    undisturbed, output = trained
    folder = labelled.with_name("killed")
    shutil.copytree(labelled, folder, symlinks=True)
    kill_and_go_on("train_brain", folder, folder / "model", output)
    for name in (
        f"model/{recipe.WEIGHTS}",
        f"model/{recipe.WEIGHTS}.sha256",
        "metrics.json",
        "plots/training/plots/metrics/train/loss.tsv",
        "plots/training/plots/metrics/val/auc.tsv",
    ):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_the_towers_weights_are_those_of_its_member_in_half_precision(with_tower):
    folder, output = with_tower
    path = folder / "tower" / MEMBER / recipe.tower_weights(MEMBER, LAYER)
    cut = path.with_name(recipe.brain_weights(LAYER))
    assert sorted(p.name for p in path.parent.iterdir()) == [
        name for file in (cut, path) for name in (file.name, f"{file.name}.sha256")
    ]
    types = set()
    for stored in (path, cut):
        with h5py.File(stored) as file:
            file.visititems(lambda _, item: types.add(getattr(item, "dtype", None)))
    assert types - {None} == {np.dtype(np.float16)}
    brain = build_brain("InceptionV3", LAYER, VIEW, str(cut), 1)
    tower = build_tower(brain.output_shape[1:], shape_of(MEMBER), 1, str(path))
    assert all(np.isfinite(weight).all() for weight in tower.get_weights())
    figures = json.loads((folder / f"tower_metrics/{MEMBER}.json").read_text())
    assert f"AUC {figures['val_auc']:.4f}" in output.splitlines()[-1]
    assert output.splitlines()[-1].startswith(f"epoch 2/2  loss {figures['loss']:.4f}")
    assert not list((folder / ".cache").glob("*.npz"))


def test_a_towers_killed_training_goes_on_to_the_same_weights(with_tower):
    undisturbed, output = with_tower
    folder = undisturbed.with_name("killed_tower")
    shutil.copytree(undisturbed, folder, symlinks=True)
    for made in ("tower", "tower_metrics", "plots/tower"):
        shutil.rmtree(folder / made)
    kill_and_go_on("train_tower", folder, folder / "tower", output)
    for name in (
        f"tower/{MEMBER}/{recipe.brain_weights(LAYER)}",
        f"tower/{MEMBER}/{recipe.tower_weights(MEMBER, LAYER)}",
        f"tower_metrics/{MEMBER}.json",
        f"plots/tower/{MEMBER}/plots/metrics/val/auc.tsv",
    ):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
