"""Tests of pretrain/: what a verifier sees of a photo on a card, without the whole card."""

import numpy as np
import pytest

import card_views
import recipe
from faceverify.cards.effects import Effects
from faceverify.faces.aligned_photos import decode_aligned
from pretraining import PRETRAIN
from test_cards import EFFECTS


@pytest.fixture(scope="module")
def face(sample):
    photo = sorted((sample / "img_align_celeba").iterdir())[0]
    return decode_aligned(photo.read_bytes())


def seen(face, effects, seed=1):
    return card_views.view(face, effects, np.random.default_rng(seed))


def correlation(one, other):
    """Of the grey levels between brows and mouth."""
    rows = [image[95:165, 60:120].astype(float).mean(axis=2).ravel() for image in (one, other)]
    return np.corrcoef(*rows)[0, 1]


def test_a_card_with_nothing_amiss_shows_the_face_where_it_was(face, monkeypatch):
    monkeypatch.setattr(card_views, "JITTER", 0.0)
    found = seen(face, EFFECTS)
    assert found.shape == face.shape
    assert found.dtype == np.uint8
    assert correlation(found, face) > 0.97
    moved = np.roll(face, 3, axis=1)
    assert correlation(found, face) > correlation(found, moved)


@pytest.mark.parametrize(("effect", "value"), [("tilt", 20), ("roll", 10)])
def test_the_points_follow_a_card_that_lies_askew(face, effect, value, monkeypatch):
    monkeypatch.setattr(card_views, "JITTER", 0.0)
    askew = EFFECTS.model_dump() | {effect: {"mild": value, "hard": value}}
    found = seen(face, Effects.model_validate(askew))
    assert correlation(found, face) > 0.93


def test_a_view_is_drawn_from_its_generator(face, monkeypatch):
    monkeypatch.chdir(PRETRAIN)
    effects = recipe.card_effects()
    one, again, other = (seen(face, effects, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert correlation(one, face) < 0.999
