"""Tests of pretrain/: a tail fitted to embeddings, strangers, and the calibration of a tower."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import linear_tail
import recipe
import strangers
from faceverify.base.errors import InputError
from faceverify.model import edge_face, network
from linear_tail import Cell
from pretraining import SHIPPED

NUMBERS = 12  # of an embedding
HOW = recipe.Fit.model_validate(SHIPPED["fit"] | {"steps": 20})
MEMBER = recipe.Fitted.model_validate(SHIPPED["fitted"]["ja"] | {"tail_units": [8]})


@pytest.fixture(scope="module")
def fit_tower():
    # Not at the top: it starts TensorFlow in its deterministic mode.
    import fit_tower

    return fit_tower


def people(groups, identities=None, held_out=None):
    count = len(groups)
    return strangers.People(
        np.arange(count),
        np.arange(count) if identities is None else np.array(identities),
        np.array(groups),
        np.zeros(count, bool) if held_out is None else np.array(held_out),
    )


# Strangers


def written(folder, rows, identities="a.jpg 1\nb.jpg 2\nc.jpg 2\n"):
    (folder / "identity_CelebA.txt").write_text(identities)
    (folder / "people.csv").write_text("photo,group,held_out\n" + rows)
    return folder


def test_a_set_is_read_with_its_groups(tmp_path):
    found = strangers.read(written(tmp_path, "a.jpg,north,0\nb.jpg,,1\nc.jpg,south,1\n"))
    assert [path.name for path in found.paths] == ["a.jpg", "b.jpg", "c.jpg"]
    assert found.identities.tolist() == [1, 2, 2]
    assert found.groups.tolist() == ["north", "", "south"]
    assert found.held_out.tolist() == [False, True, True]
    assert found.alone.tolist() == [True, False, False]
    assert found.of(found.held_out).groups.tolist() == ["", "south"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [("d.jpg,north,0\n", "'d.jpg'"), ("a.jpg,north,maybe\n", "maybe"), (None, "is missing")],
)
def test_a_wrong_table_is_one_line(tmp_path, rows, said):
    written(tmp_path, rows or "")
    if rows is None:
        (tmp_path / "people.csv").unlink()
    with pytest.raises(InputError, match=said) as refused:
        strangers.read(tmp_path)
    assert "people.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_likeness_is_what_the_share_of_each_groups_pairs_exceeds():
    rng = np.random.default_rng(1)
    groups = np.repeat(["north", "south", "few"], [40, 30, 5])
    tails = rng.normal(size=(75, 4)) + 1
    found = strangers.likeness(tails, people(groups), 0.1, 30)
    assert list(found) == ["north", "south"]
    units = tails / np.linalg.norm(tails, axis=1, keepdims=True)
    for group, cosine in found.items():
        rows = units[groups == group]
        pairs = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
        assert (pairs > cosine - 1e-6).mean() >= 0.1
        assert (pairs > cosine + 1e-6).mean() <= 0.1
        accepted = strangers.accepted(tails, people(groups), cosine)[group]
        assert accepted["photos"] == len(rows)
        assert accepted["fmr"] == pytest.approx(0.1, abs=2 / len(pairs))


def test_people_with_several_photos_are_no_strangers():
    tails = np.random.default_rng(1).normal(size=(6, 4))
    found = strangers.accepted(tails, people(["a"] * 6, [0, 1, 2, 3, 3, 3]), 0.0)
    assert found["a"]["photos"] == 3


# The tail


def test_edgefaces_ending_is_what_follows_its_last_maps():
    whole = edge_face.build()
    maps = keras.Model(whole.input, whole.get_layer("normalized").output)
    faces = np.random.default_rng(1).normal(size=(2, 112, 112, 3)).astype(np.float32)
    ending = linear_tail.Ending.of(whole, maps.output_shape[1:])
    found = ending.embed(ending.read(maps.predict_on_batch(faces)))
    expected = whole.predict_on_batch(faces)[:, 0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def cells():
    """Two groups of strangers with a trait of their own, and people with photos that vary."""
    rng = np.random.default_rng(1)
    found = []
    for trait in np.eye(NUMBERS)[:2] * 4:
        found.append(Cell(rng.normal(size=(200, NUMBERS)) + trait + 3, np.arange(200)))
    persons = np.repeat(np.arange(60), 5)
    photos = rng.normal(size=(60, NUMBERS))[persons] + 3
    photos[:, -1] += 3 * rng.normal(size=300)
    return [*found, Cell(photos + 0.3 * rng.normal(size=photos.shape), persons)]


def ending():
    return linear_tail.Ending(
        np.zeros((1, 1, NUMBERS)), np.zeros(NUMBERS), np.eye(NUMBERS), np.zeros(NUMBERS)
    )


def rates(tail, cells):
    """The share of genuine pairs above what 1% of the worst group's strangers exceed."""

    def cosines(cell):
        tails = np.tanh(tail.embed(cell.embedded))
        units = tails / np.linalg.norm(tails, axis=1, keepdims=True)
        places = np.triu_indices(len(units), 1)
        same = (cell.identities[:, None] == cell.identities)[places]
        return (units @ units.T)[places], same

    threshold = max(np.quantile(cosines(cell)[0], 0.99) for cell in cells if not cell.several)
    found, same = cosines(cells[-1])
    return (found[same] > threshold).mean()


def test_a_fitted_tail_tells_people_apart_better_than_the_embedding(cells):
    tail = linear_tail.fit(ending(), cells, HOW, MEMBER)
    assert tail.matrix.shape == (NUMBERS, 8)
    everything = tail.embed(np.concatenate([cell.embedded for cell in cells]))
    assert np.abs(everything).max() == pytest.approx(linear_tail.LARGEST)
    assert rates(tail, cells) > rates(ending(), cells) + 0.3


@pytest.mark.parametrize("cell", [0, 2])
def test_too_few_people_for_a_batch_are_one_line(cells, cell):
    cells[cell] = Cell(cells[cell].embedded[:100], cells[cell].identities[:100])
    with pytest.raises(InputError, match="a fit needs 144 strangers of an origin, and 36 people"):
        linear_tail.fit(ending(), cells, HOW, MEMBER)


def test_a_fit_repeats(cells):
    one, again = (linear_tail.fit(ending(), cells, HOW, MEMBER) for _ in range(2))
    np.testing.assert_array_equal(one.matrix, again.matrix)


def test_the_first_matrix_makes_the_given_scatters_small(cells):
    nothing = np.zeros((NUMBERS, NUMBERS))
    matrix = linear_tail.whitening(cells, 0.0, 50.0, NUMBERS, nothing)
    means = np.stack([(cell.embedded @ matrix).mean(axis=0) for cell in cells[:2]])
    plain = np.stack([cell.embedded.mean(axis=0) for cell in cells[:2]])
    sizes = [np.linalg.norm(rows[0] - rows[1]) for rows in (means, plain)]
    spread = np.concatenate([cell.embedded @ matrix for cell in cells[:2]]).std(axis=0)
    assert sizes[0] < 0.2 * sizes[1]
    assert (np.diff(spread) < 0.1).all()  # the widest first


def test_photos_far_from_their_person_are_left_out():
    rows = np.eye(3)[[0, 0, 0, 0, 1, 2]]
    found = linear_tail.cleaned(Cell(rows, np.array([7, 7, 7, 7, 7, 8])), 0.5)
    np.testing.assert_array_equal(found.identities, [7, 7, 7, 7, 8])


def test_the_loss_is_least_where_no_stranger_is_like_a_genuine_pair():
    persons = tf.constant([[0, 0, 1, 1]])
    apart = tf.constant(np.eye(3)[[[0, 0, 1, 1]]], tf.float32)
    mixed = tf.Variable(np.eye(3)[[[0, 1, 0, 2]]].astype(np.float32) + 0.1)
    with tf.GradientTape() as tape:
        bad = linear_tail.refused(persons, mixed)
    assert float(linear_tail.refused(persons, apart)) < 0.01 < float(bad)
    assert np.isfinite(tape.gradient(bad, mixed)).all()


# The calibration of a tower


@pytest.mark.parametrize("cosine", [-0.2, 0.3, 0.8])
def test_theta_stands_for_the_cosine_after_the_calibration(fit_tower, cosine):
    sizes = network.Tower(2, [3], [4], 0.0, 0.0, "brain")
    tower = network.build_tower((6, 6, 2), sizes, seed=1)
    fit_tower.calibrate(tower, cosine, 0.6)
    pair = np.array([[1, 0], [cosine, math.sqrt(1 - cosine**2)]], np.float32)
    first, second = np.split(np.asarray(tower.get_layer("calibration")(pair)), 2)
    assert float(network.angle(first, second)[0]) == pytest.approx(0.6, abs=1e-5)


def test_a_cosine_that_no_calibration_reaches_is_one_line(fit_tower):
    tower = network.build_tower((6, 6, 2), network.Tower(2, [3], [4], 0.0, 0.0, "brain"), seed=1)
    with pytest.raises(InputError, match="fit.theta: no calibration brings a cosine of 0.900"):
        fit_tower.calibrate(tower, 0.9, 0.6)


def test_learning_landmarks_leaves_the_tail_alone(fit_tower):
    from people import LabelledPhotos

    rng = np.random.default_rng(1)
    maps = rng.normal(size=(32, 6, 6, 2)).astype(np.float32)
    photos = LabelledPhotos(np.arange(32), np.arange(32), None, rng.uniform(20, 160, (32, 136)))
    sizes = network.Tower(2, [3], [4], 0.0, 0.0, "brain")
    tower = network.build_tower((6, 6, 2), sizes, seed=1)
    parts = {name: tower.get_layer(name) for name in ("head", "landmarks", "tail0")}
    before = {name: layer.get_weights() for name, layer in parts.items()}
    fit_tower.learn_landmarks(tower, maps, photos, HOW.model_copy(update={"epochs": 2}))
    for name, layer in parts.items():
        same = all(map(np.array_equal, before[name], layer.get_weights()))
        assert same == (name == "tail0")


# Cards


@pytest.fixture(scope="module")
def fit_tail():
    import fit_tail

    return fit_tail


def test_what_a_card_changes_is_made_small(cells):
    """Cards that move along one axis lose that axis in the first matrix."""
    moves = np.zeros((NUMBERS, NUMBERS))
    moves[0, 0] = 100.0
    before, after = (
        np.linalg.norm(linear_tail.whitening(cells, 0.01, 0.0, NUMBERS, added)[0])
        for added in (np.zeros_like(moves), moves)
    )
    assert after < 0.2 * before


def test_a_strangers_card_is_compared_with_photos_of_others_only():
    rng = np.random.default_rng(1)
    everyone = people(np.repeat(["north", "south", "few"], [20, 20, 3]))
    photos = rng.normal(size=(43, 4))
    rows = np.array([0, 1, 2, 25, 42])
    cards = (photos[rows], everyone.of(rows))  # the cards show what the photos do
    found = strangers.card_likeness((photos, everyone), cards, 0.1, 5)
    assert list(found) == ["north", "south"]
    units = photos / np.linalg.norm(photos, axis=1, keepdims=True)
    cosines = units[rows[:3]] @ units[:20].T
    others = cosines[rows[:3, None] != np.arange(20)]
    assert found["north"] == pytest.approx(np.sort(others)[-1 - int(0.1 * len(others))], abs=1e-6)


def test_views_of_some_photos_keep_their_cards(fit_tail):
    seen = fit_tail.Views(np.arange(5), np.array([40, 10, 30]), np.array([4, 1, 3]))
    found = seen.of(np.array([True, False, False, True, True]))
    assert found.photos.tolist() == [0, 3, 4]
    assert found.cards.tolist() == [40, 30]
    assert found.photos[found.rows].tolist() == [4, 3]


def test_a_tail_is_fitted_to_photos_and_cards(fit_tail):
    """Cards add an offset that the tail learns to overlook."""
    rng = np.random.default_rng(1)
    offset = 6 * np.eye(NUMBERS)[0]

    def views(identities):
        persons = rng.normal(size=(identities.max() + 1, NUMBERS))[identities]
        photos = persons + 0.3 * rng.normal(size=persons.shape)
        rows = np.arange(0, len(photos), 2)
        cards = photos[rows] + offset * rng.random((len(rows), 1))
        return fit_tail.Views(photos, cards, rows)

    identities = np.repeat(np.arange(60), 5)
    groups = np.repeat(["north", "several"], [200, 300])
    of_people = np.concatenate([np.arange(200), 200 + identities])
    known, foreign = views(identities), views(of_people)
    everyone = people(groups, of_people)
    tail = fit_tail.refit(ending(), (known, identities), (foreign, everyone), HOW, MEMBER)

    def moved(end):
        photos, cards = (
            rows / np.linalg.norm(rows, axis=1, keepdims=True)
            for rows in (end.embed(known.photos[known.rows]), end.embed(known.cards))
        )
        return (photos * cards).sum(axis=1).mean()

    assert moved(tail) > moved(ending()) + 0.1
    likeness = fit_tail.worst_likeness(tail, foreign, everyone, HOW)
    assert list(likeness) == ["north"]
    plain = strangers.likeness(np.tanh(tail.embed(foreign.photos)), everyone, HOW.fmr, HOW.least)
    assert likeness["north"] >= plain["north"]


def test_a_towers_tail_is_read_without_its_calibration(fit_tail):
    sizes = network.Tower(2, [3], [4], 0.0, 0.0, "brain")
    tower = network.build_tower((6, 6, 2), sizes, seed=1)
    before = fit_tail.ending_of(tower)
    maps = np.random.default_rng(1).normal(size=(3, 6, 6, 2)).astype(np.float32)
    expected = tower.predict(maps, verbose=0)["tail"][:, :4]
    tails = np.tanh(before.embed(before.read(maps)))
    units = tails / np.linalg.norm(tails, axis=1, keepdims=True)
    np.testing.assert_allclose(units, expected, atol=1e-5)
