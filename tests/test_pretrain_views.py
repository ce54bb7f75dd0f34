"""Tests of pretrain/: what the student sees, in which batches, and what it shall give for it."""

import cv2
import numpy as np
import pytest

import label_faces
import people
import recipe
import views
from faceverify.base.errors import InputError
from faceverify.faces import dlib_descriptor
from faceverify.faces.aligned_photos import decode, to_canvas, view_corner
from helpers import PREDICTOR, encode, sample_photos
from pretraining import SHIPPED, same, settings

STILL = dict.fromkeys(SHIPPED["augment"], 0.0)  # no photo is changed, only mirrored
ALWAYS = SHIPPED["augment"] | dict.fromkeys(("grey", "blur", "jpeg", "small"), 1.0)


@pytest.fixture(scope="module")
def photo_files(sample):
    """Ten photos of ten people."""
    names = [own[0] for own in sample_photos(sample, 10, 1).values()]
    return [sample / "img_align_celeba" / name for name in names]


@pytest.fixture(scope="module")
def photos(photo_files):
    return [decode(path.read_bytes()) for path in photo_files]


@pytest.mark.parametrize("size", [75, 128, 218])
def test_a_view_is_what_the_brain_crops_from_its_canvas(photos, size):
    top, left = view_corner(size)
    for photo in photos:
        expected = to_canvas(photo)[top : top + size, left : left + size].astype(int)
        found = views.view_of(photo, size)
        assert found.dtype == np.uint8
        assert found.shape == (size, size, 3)
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("size", [75, 128, 218])
def test_a_photo_of_half_the_size_gives_nearly_the_same_view(photos, size):
    for photo in photos:
        half = cv2.resize(photo, (89, 109), interpolation=cv2.INTER_AREA)
        difference = views.view_of(half, size) - views.view_of(photo, size).astype(int)
        assert np.abs(difference).mean() < 8
        # Moved by a pixel or brightened, it would differ to one side.
        assert np.abs(difference.mean()) < 0.5


@pytest.mark.parametrize("amounts", [SHIPPED["augment"], ALWAYS], ids=["shipped", "always"])
@pytest.mark.parametrize("size", [75, 128])
def test_one_state_of_the_generator_gives_one_augmented_view(photos, amounts, size):
    how = recipe.Augment.model_validate(amounts)
    found = [
        [views.augmented(photo, size, how, np.random.default_rng(seed)) for photo in photos]
        for seed in (1, 1, 2)
    ]
    assert {view.dtype for view in found[0]} == {np.dtype(np.uint8)}
    assert {view.shape for view in found[0]} == {(size, size, 3)}
    np.testing.assert_array_equal(found[0], found[1])
    assert not any(np.array_equal(a, b) for a, b in zip(found[0], found[2], strict=True))


@pytest.mark.parametrize("size", [75, 128])
def test_with_nothing_to_change_a_view_is_plain_or_mirrored(photos, size):
    how = recipe.Augment.model_validate(STILL)
    mirrored = set()
    for seed in range(8):
        photo = photos[seed]
        found = views.augmented(photo, size, how, np.random.default_rng(seed)).astype(int)
        mirrored.add(is_mirrored(found, photo))
    assert mirrored == {True, False}


def is_mirrored(view, photo):
    """Whether a view is the mirror image of the plain one; it must be one of the two."""
    plain = views.view_of(photo, view.shape[0])
    # Scaling by the light, which is 1 here, may round a number down.
    near = [np.abs(view.astype(int) - image).max() <= 1 for image in (plain, plain[:, ::-1])]
    assert sum(near) == 1
    return near[1]


# Batches


def batches(photo_files, epoch=0, order=None, **changes):
    """The batches of an epoch by index, made in some order; a photo's targets are its row."""
    targets = np.repeat(np.arange(len(photo_files), dtype=np.float32)[:, None], 128, axis=1)
    made = views.Views(photo_files, targets, settings(view=75, batch_size=3, **changes), epoch)
    return {i: made[i] for i in (range(len(made)) if order is None else order)}


def test_a_batch_is_the_same_in_whatever_order_batches_are_made(photo_files):
    forwards, backwards = batches(photo_files), batches(photo_files, order=(2, 0, 1, 0))
    assert list(forwards) == [0, 1, 2]
    assert all(same(forwards[i], backwards[i]) for i in range(3))
    seen, targets = forwards[0]
    assert seen.shape == (3, 75, 75, 3)
    assert seen.dtype == np.uint8
    assert targets.shape == (3, 128)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_gives_other_batches(photo_files, change):
    usual, other = batches(photo_files), batches(photo_files, **change)
    order, other_order = (
        [t[0] for i in range(3) for t in made[i][1].tolist()] for made in (usual, other)
    )
    assert order != other_order
    # One batch of all photos there are: the same ones, each seen in another way.
    views_of_one = [batches(photo_files[:1] * 3, order=[0], **some)[0][0] for some in ({}, change)]
    assert not np.array_equal(*views_of_one)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_uses_no_photo_twice(photo_files, epoch):
    made = batches(photo_files, epoch)
    rows = [row for _, targets in made.values() for row in targets[:, 0].tolist()]
    assert len(rows) == 9
    assert len(set(rows)) == 9


def test_targets_stay_with_their_photos(photo_files, photos):
    for seen, targets in batches(photo_files, augment=STILL).values():
        for view, row in zip(seen, targets[:, 0], strict=True):
            is_mirrored(view, photos[int(row)])


# Targets


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_targets_lie_between_a_photo_and_the_mean_of_its_person(share):
    rng = np.random.default_rng(1)
    identities = np.array([7, 3, 7, 12, 3, 7])
    descriptors = rng.normal(size=(6, 128)).astype(np.float32)
    found = people.mixed_with_person(descriptors, identities, share)
    assert found.dtype == np.float32
    for i, person in enumerate(identities):
        mean = descriptors[identities == person].astype(float).mean(axis=0)
        expected = descriptors[i] + share * (mean - descriptors[i])
        np.testing.assert_allclose(found[i], expected, atol=1e-6)


# Labels of single photos


def test_a_photo_of_half_the_size_is_described_like_the_whole_one(sample, photos, tmp_path):
    models = sample / PREDICTOR, sample / dlib_descriptor.NETWORK
    found = []
    for size in ((178, 218), (89, 109)):
        path = tmp_path / f"{size[0]}.png"
        photo = cv2.resize(photos[0], size, interpolation=cv2.INTER_AREA)
        path.write_bytes(encode(".png", photo))
        found.append(label_faces.describe(path, *models))
    (points, descriptor), (other_points, other_descriptor) = found
    assert np.linalg.norm(descriptor - other_descriptor) < dlib_descriptor.THRESHOLD / 2
    assert np.abs(points - other_points).mean() < 2  # pixels of the whole photo, both


def test_a_photo_without_a_found_face_is_described_by_its_usual_place(sample, tmp_path):
    path = tmp_path / "grey.png"
    path.write_bytes(encode(".png", np.full((218, 178, 3), 128, np.uint8)))
    points, found = label_faces.describe(path, sample / PREDICTOR, sample / dlib_descriptor.NETWORK)
    assert points.shape == (136,)
    assert found.shape == (128,)
    assert np.isfinite(found).all()


def test_a_damaged_photo_is_one_line_that_names_it(sample, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"cut.png: not a whole JPEG or PNG file$"):
        label_faces.describe(
            tmp_path / "cut.png", sample / PREDICTOR, sample / dlib_descriptor.NETWORK
        )
