"""Tests of faceverify.evaluation.verification, gallery and baseline: the pairs judged, and how."""

import numpy as np
import pytest

from faceverify.base import digests
from faceverify.base.errors import InputError
from faceverify.evaluation import gallery, verification
from faceverify.faces import dlib_descriptor
from faceverify.faces.aligned_photos import decode_aligned
from faceverify.faces.landmarks import find_landmarks, flatten

NETWORK = "dlib_face_recognition_resnet_model_v1.dat"


def made_pairs(sizes, genuine=None, seed=1):
    """Pairs of people with so many photos each, in a mixed order; rows are not positions."""
    people = np.repeat(np.arange(len(sizes)) * 3 + 10, sizes)
    people = np.random.default_rng(0).permutation(people)
    rows = 100 + 2 * np.arange(len(people))
    person_of = dict(zip(rows.tolist(), people.tolist(), strict=True))
    generator = np.random.default_rng(seed)
    return verification.make_verification_pairs(rows, people, genuine, generator), person_of


def as_set(photos):
    return {frozenset(pair) for pair in photos.tolist()}


# Pairs


@pytest.mark.parametrize("genuine", [None, 3, 1])
@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (10, 2, 5, 1, 3), (3, 3)])
def test_pairs_are_of_the_people_that_they_say_and_none_comes_twice(sizes, genuine):
    pairs, person_of = made_pairs(sizes, genuine)
    people = [[person_of[photo] for photo in pair] for pair in pairs.photos.tolist()]
    np.testing.assert_array_equal(pairs.identities, people)
    np.testing.assert_array_equal(pairs.same, [first == second for first, second in people])
    assert pairs.same.dtype == bool
    assert len(as_set(pairs.photos)) == len(pairs.photos)
    assert all(first != second for first, second in pairs.photos.tolist())


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (10, 2, 5, 1, 3)])
def test_all_genuine_pairs_and_as_many_impostor_pairs_come_without_a_limit(sizes):
    pairs, _ = made_pairs(sizes)
    expected = sum(size * (size - 1) // 2 for size in sizes)
    assert pairs.same.sum() == expected
    assert (~pairs.same).sum() == expected


def test_a_limit_holds_for_each_person():
    pairs, _ = made_pairs((10, 2, 5, 1, 3), genuine=3)
    people, counts = np.unique(pairs.identities[pairs.same, 0], return_counts=True)
    assert dict(zip(people.tolist(), counts.tolist(), strict=True)) == {10: 3, 13: 1, 16: 3, 22: 3}
    assert (~pairs.same).sum() == 10


def test_where_few_impostor_pairs_exist_all_of_them_come():
    pairs, person_of = made_pairs((10, 1))
    assert pairs.same.sum() == 45
    lone = next(photo for photo, person in person_of.items() if person == 13)
    expected = {frozenset((lone, photo)) for photo in person_of if photo != lone}
    assert as_set(pairs.photos[~pairs.same]) == expected


def test_one_person_alone_gives_genuine_pairs_only():
    pairs, _ = made_pairs((4,))
    assert pairs.same.tolist() == [True] * 6


def test_people_with_one_photo_each_give_no_pairs():
    pairs, _ = made_pairs((1, 1, 1))
    assert pairs.photos.shape == pairs.identities.shape == (0, 2)
    assert pairs.same.shape == (0,)


def test_pairs_that_others_have_are_left_out_in_either_order():
    pairs, _ = made_pairs((4, 4))
    swapped = pairs._replace(photos=pairs.photos[:5, ::-1])
    left = verification.without(pairs, swapped)
    assert as_set(left.photos) == as_set(pairs.photos[5:])
    assert len(left.photos) == len(left.identities) == len(left.same) == len(pairs.photos) - 5
    assert len(verification.without(pairs, pairs).photos) == 0


def test_pairs_depend_on_the_generator_alone():
    for genuine in (None, 3):
        one, again, other = (made_pairs((6, 6, 6, 6), genuine, seed)[0] for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
        assert as_set(one.photos) != as_set(other.photos)


def test_impostor_pairs_are_drawn_evenly_from_all_there_are():
    # Of 3 x 12 impostor pairs as many as the 18 genuine ones: half of them, whoever is on them.
    times = {}
    for seed in range(400):
        pairs, _ = made_pairs((4, 4, 4), seed=seed)
        assert (~pairs.same).sum() == 18
        for pair in as_set(pairs.photos[~pairs.same]):
            times[pair] = times.get(pair, 0) + 1
    assert len(times) == 48
    # 150 times each, with a deviation of 10.
    assert min(times.values()) > 100
    assert max(times.values()) < 200


# Scores


@pytest.fixture
def vectors_and_pairs():
    generator = np.random.default_rng(2)
    count = verification.SCORED_AT_ONCE + 77
    return generator.normal(size=(50, 8)).astype(np.float32), generator.integers(
        50, size=(count, 2)
    )


def test_thetas_of_many_pairs_are_the_angles_of_each(vectors_and_pairs):
    tails, pairs = vectors_and_pairs
    found = verification.thetas(tails, pairs)
    assert found.shape == (len(pairs),)
    assert found.dtype == np.float64
    units = tails.astype(np.float64) / np.linalg.norm(tails.astype(np.float64), axis=1)[:, None]
    cosines = np.clip((units[pairs[:, 0]] * units[pairs[:, 1]]).sum(axis=1), -1, 1)
    np.testing.assert_allclose(found, np.arccos(cosines), atol=1e-5)


def test_distances_of_many_pairs_are_those_of_each(vectors_and_pairs):
    vectors, pairs = vectors_and_pairs
    found = verification.distances(vectors, pairs)
    assert found.shape == (len(pairs),)
    assert found.dtype == np.float64
    expected = np.sqrt(((vectors[pairs[:, 0]] - vectors[pairs[:, 1]]) ** 2).sum(axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("score", [verification.thetas, verification.distances])
@pytest.mark.parametrize("size", [1, 64, 1000])
def test_scores_do_not_depend_on_how_many_are_made_at_once(monkeypatch, score, size):
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(20, 8)).astype(np.float32)
    pairs = generator.integers(20, size=(130, 2))
    at_once = score(vectors, pairs)
    monkeypatch.setattr(verification, "SCORED_AT_ONCE", size)
    # The last few of a batch are rounded by other instructions.
    np.testing.assert_allclose(score(vectors, pairs), at_once, atol=1e-6)


@pytest.mark.parametrize("score", [verification.thetas, verification.distances])
def test_no_pairs_have_no_scores(score):
    assert score(np.ones((3, 8), np.float32), np.empty((0, 2), int)).shape == (0,)


def test_a_pair_has_the_same_score_in_either_order():
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(20, 8)).astype(np.float32)
    pairs = generator.integers(20, size=(130, 2))
    for score in (verification.thetas, verification.distances):
        np.testing.assert_array_equal(score(vectors, pairs), score(vectors, pairs[:, ::-1]))


# Groups and errors


def test_a_pair_is_in_the_group_of_how_many_of_its_photos_have_the_attribute():
    present = np.array([[True, True], [True, False], [False, True], [False, False]])
    groups = verification.attribute_groups(present, "Young")
    assert {name: mask.tolist() for name, mask in groups.items()} == {
        "Young on both": [True, False, False, False],
        "Young on one": [False, True, True, False],
        "Young on none": [False, False, False, True],
    }


def pairs_that_are(same):
    same = np.array(same, bool)
    return verification.VerificationPairs(np.zeros((len(same), 2)), np.zeros((len(same), 2)), same)


def test_the_worst_errors_come_first_and_right_decisions_never():
    #         right, false accept, its limit, false reject, its limit, right, worse of both
    scores = [0.10, 0.30, 0.60, 0.90, 0.60, 0.80, 0.20, 1.50]
    same = [1, 0, 0, 1, 1, 0, 0, 1]
    accepts, rejects = verification.worst(np.array(scores), pairs_that_are(same), 0.6, 9)
    assert [int(i) for i in accepts] == [6, 1]
    assert [int(i) for i in rejects] == [7, 3, 4]
    accepts, rejects = verification.worst(np.array(scores), pairs_that_are(same), 0.6, 1)
    assert ([int(i) for i in accepts], [int(i) for i in rejects]) == ([6], [7])


def test_without_errors_there_are_no_worst_ones():
    accepts, rejects = verification.worst(np.array([0.1, 0.9]), pairs_that_are([1, 0]), 0.6, 9)
    assert (len(accepts), len(rejects)) == (0, 0)


# Gallery


def exhibit(value):
    return gallery.Exhibit(
        np.full((218, 178, 3), (value, 10, 20), np.uint8),
        np.full((218, 178, 3), (value, 30, 40), np.uint8),
        f"theta 0.{value}",
    )


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_the_gallery_has_four_pairs_a_row_unchanged_under_a_title(count, rows):
    sheet = gallery.render("Worst", [exhibit(100 + i) for i in range(count)])
    empty = gallery.render("Worst", [])
    assert sheet.dtype == np.uint8
    assert sheet.shape[1:] == empty.shape[1:]
    assert sheet.shape[1] >= 4 * 2 * 178
    extra = sheet.shape[0] - empty.shape[0]
    assert extra >= rows * 218
    assert (extra > 0) == (rows > 0)
    np.testing.assert_array_equal(sheet[: empty.shape[0]], empty)
    assert (empty < 128).any()  # the title
    for i in range(count):
        for colour in ((100 + i, 10, 20), (100 + i, 30, 40)):
            where = np.argwhere((sheet == colour).all(axis=-1))
            assert len(where) == 218 * 178
            assert np.ptp(where, axis=0).tolist() == [217, 177]
            assert where[:, 0].min() >= empty.shape[0]
    # Each pair has a caption under it.
    if count:
        assert (sheet[empty.shape[0] + 218 : empty.shape[0] + 218 + 26, :366] == 0).any()


# Baseline


@pytest.fixture(scope="module")
def four_photos(sample):
    """Two photos of each of two people: paths and landmarks."""
    people = {}
    for line in (sample / "identity_CelebA.txt").read_text().splitlines():
        name, identity = line.split()
        people.setdefault(identity, []).append(sample / "img_align_celeba" / name)
    paths = [path for own in list(people.values())[:2] for path in own[:2]]
    predictor = sample / "shape_predictor_68_face_landmarks.dat"
    points = [find_landmarks(decode_aligned(path.read_bytes()), predictor) for path in paths]
    return paths, [flatten(p) for p in points]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def described(sample, four_photos, cache):
    return dlib_descriptor.descriptors(*four_photos, sample / NETWORK, cache)


def test_one_persons_descriptors_are_closer_than_two_peoples(described):
    assert described.shape == (4, 128)
    assert described.dtype == np.float32
    distances = np.linalg.norm(described[:, None] - described[None], axis=-1)
    same, different = [distances[0, 1], distances[2, 3]], distances[:2, 2:]
    assert max(same) < dlib_descriptor.THRESHOLD
    assert 0 < max(same) < different.min()


def test_each_photo_is_described_by_its_own_landmarks(sample, four_photos, described, cache):
    paths, landmarks = four_photos
    moved = [[number + 12 for number in landmarks[0]], *landmarks[1:]]
    other = dlib_descriptor.descriptors(paths, moved, sample / NETWORK, cache / "moved")
    assert np.linalg.norm(other[0] - described[0]) > 0.01
    np.testing.assert_array_equal(other[1:], described[1:])
    # What is stored for some landmarks is not taken for that of others.
    np.testing.assert_array_equal(
        dlib_descriptor.descriptors(*four_photos, sample / NETWORK, cache / "moved"), described
    )


def test_descriptors_are_computed_once_for_equal_photos(sample, four_photos, described, cache):
    (path,) = cache.glob("*/rows.npy")
    expected = np.array(described)
    stored = np.load(path)
    stored[:, 0] = 77  # shows whether it is read or computed again
    np.save(path, stored)
    digests.seal(path)
    again = dlib_descriptor.descriptors(*four_photos, sample / NETWORK, cache)
    np.testing.assert_array_equal(again[:, 0], 77)
    np.testing.assert_array_equal(again[:, 1:], expected[:, 1:])


def test_a_missing_model_is_refused(four_photos, tmp_path):
    with pytest.raises(InputError, match="nowhere.dat is missing"):
        dlib_descriptor.descriptors(*four_photos, tmp_path / "nowhere.dat", tmp_path / "cache")


@pytest.mark.parametrize("damage", ["cut off", "another model"])
def test_a_file_that_is_no_descriptor_model_is_refused(sample, four_photos, tmp_path, damage):
    path = tmp_path / "model.dat"
    if damage == "another model":
        path.symlink_to(sample / "shape_predictor_68_face_landmarks.dat")
    else:
        path.write_bytes((sample / NETWORK).read_bytes()[:-999])
    with pytest.raises(InputError, match="model.dat is not dlib's published face descriptor model"):
        dlib_descriptor.descriptors(*four_photos, path, tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*/rows.npy")) == []
