"""Tests of pretrain/: the views that the quality network is fitted to, and its limit."""

import numpy as np
import pytest

import fit_quality
import quality_views
import recipe
from faceverify.faces.aligned_photos import decode_aligned, to_canvas
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model import quality
from faceverify.runs import parameters
from helpers import ROOT, sample_photos
from pretraining import settings


@pytest.fixture(scope="module")
def file(sample):
    (names,) = sample_photos(sample, 1, 1).values()
    return sample / "img_align_celeba" / names[0]


@pytest.fixture(scope="module")
def effects():
    return parameters.read(ROOT / "params.yaml", parameters.Parameters).card


def test_a_view_is_what_the_network_pools_of_the_canvas(file):
    canvas = to_canvas(decode_aligned(file.read_bytes()))
    pooled = canvas[:216, :216].reshape(54, 4, 54, 4, 3).mean(axis=(1, 3))
    assert np.abs(quality_views.means(canvas) - pooled).max() <= 0.5


def test_a_photo_has_each_kind_of_view_and_bgr_only_where_it_has_colour(file, monkeypatch):
    made = quality_views.of_photo(file, (1, 2))
    kinds = [kind for kind, _ in made]
    assert kinds == ["right", "right", *quality_views.WRONG]  # the sample is grey
    assert {(view.shape, view.dtype) for _, view in made} == {((54, 54, 3), np.dtype(np.uint8))}
    again = quality_views.of_photo(file, (1, 2))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(made, again, strict=True))
    assert not np.array_equal(quality_views.of_photo(file, (1, 3))[0][1], made[0][1])
    monkeypatch.setattr(quality_views, "COLOURED", 0)
    *_, (kind, view) = quality_views.of_photo(file, (1, 2))
    assert kind == "bgr"
    assert np.array_equal(view, made[0][1][..., ::-1])


def test_a_face_on_a_card_is_aligned(file, effects):
    mild = effects.model_copy(
        update={
            n: r.model_copy(update={"hard": r.mild})
            for n, r in effects
            if n not in {"grey_portraits"}
        }
    )
    photo = decode_aligned(file.read_bytes())
    (_, view), *_ = quality_views.of_card(file, mild, (5,))
    face = quality_views.FACE
    own, seen = (
        v[face].mean(axis=2).ravel() for v in (quality_views.means(to_canvas(photo)), view)
    )
    assert np.corrcoef(own, seen)[0, 1] > 0.9


def test_the_similarity_is_exact_where_there_is_one():
    turned = CANONICAL_POINTS @ [[0, 2], [-2, 0]] + [30, -7]
    matrix = quality_views.similarity(turned)
    found = turned @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(found, CANONICAL_POINTS, atol=1e-9)


def test_the_limit_refuses_its_share_of_right_views():
    rng = np.random.default_rng(1)
    means = rng.integers(0, 256, (400, 54, 54, 3), np.uint8)
    kinds = np.array(["right"] * 200 + ["card"] * 200)
    network = quality.build()
    fit_quality.set_limit(network, fit_quality.Views(means, kinds), 0.1)
    refused = network.predict(means, verbose=0)[:, 0] < 0.5
    shares = sorted(refused[kinds == kind].mean() for kind in ("right", "card"))
    assert shares[1] == pytest.approx(0.1, abs=0.006)
    assert shares[0] <= shares[1]


def test_held_out_people_are_never_fitted_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, people in {"celeba-subset": (1, 2), "celeba-small": (3,), "people": (4, 5)}.items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        lines = [f"{name}{person}.jpg {person}\n" for person in people]
        (folder / "identity_CelebA.txt").write_text("".join(lines))
    (tmp_path / "data/people/people.csv").write_text(
        "photo,group,held_out\npeople4.jpg,Asian,0\npeople5.jpg,Asian,1\n"
    )
    (tmp_path / "held_out.txt").write_text("2\n")
    learnt, held = fit_quality.photos(settings())
    assert sorted(learnt.identities) == [1, 3, 4]
    assert sorted(held.identities) == [2, 5]
    assert all(path.parent.name == "img_align_celeba" for path in learnt.paths)
    assert recipe.held_out() == {2}
