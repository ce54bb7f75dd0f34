"""Embeddings as programs keep them: every form of a photo, stored small, one against many."""

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from faceverify.base.errors import InputError
from faceverify.verify import nearest, photo_sources
from faceverify.verify.embedding import Embedding
from faceverify.verify.refusals import TooManyPixelsError, UnreadablePhotoError
from faceverify.verify.verifier import COPY, Verifier
from helpers import sample_photos
from phone import encoded, phone_photo

MODEL = "0123456789abcdef" * 4
# The tails of the shipped verifier's members, and their weights.
TAILS, WEIGHTS = (153, 129, 153, 192), (0.7, 0.1, 0.1, 0.1)


@pytest.fixture(scope="module")
def verifier(app_folder):
    return Verifier.load(app_folder / "models/verifier.json")


@pytest.fixture(scope="module")
def photos(sample):
    """Photos of two people, uint8 RGB."""
    names = [names[0] for names in sample_photos(sample, 2, 1).values()]
    return [phone_photo(sample / "img_align_celeba" / name, 300, 400, 0.8) for name in names]


@pytest.fixture(scope="module")
def embeddings(verifier, photos):
    return [verifier.embed(photo) for photo in photos]


# Forms of a photo


@pytest.mark.parametrize("form", ["path", "text", "bytes", "bytearray", "file", "buffer", "image"])
def test_every_form_of_a_photo_gives_one_embedding(verifier, photos, embeddings, tmp_path, form):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(photos[0], "PNG"))
    given = {
        "path": path, "text": str(path), "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()), "file": path.open("rb"),
        "buffer": io.BytesIO(path.read_bytes()), "image": Image.open(path),
    }[form]  # fmt: skip
    found = verifier.embed(given)
    np.testing.assert_array_equal(found.vector, embeddings[0].vector)
    assert verifier.compare(photos[0], photos[1]).theta == verifier.compare(found, photos[1]).theta


def test_an_image_of_pillow_is_turned_upright_and_left_as_it_is(photos):
    tags = Image.Exif()
    tags[0x0112] = 8
    large = Image.fromarray(photos[0]).resize((2400, 3200)).transpose(Image.Transpose.ROTATE_270)
    image = Image.open(io.BytesIO(encoded(large, exif=tags)))
    photo, _ = photo_sources.decoded(image)
    assert image.size == (3200, 2400)
    assert photo.pixels.shape[0] > photo.pixels.shape[1]
    assert photo.scale == pytest.approx(3200 / max(photo.pixels.shape))


@pytest.mark.parametrize(
    "array",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32),
     np.zeros((0, 9, 3), np.uint8)],
    ids=str,
)  # fmt: skip
def test_an_array_of_another_kind_is_refused(array):
    with pytest.raises(UnreadablePhotoError, match="an array must be uint8 RGB"):
        photo_sources.decoded(array)


def test_what_is_no_photo_in_any_form_is_refused(tmp_path):
    with pytest.raises(TooManyPixelsError):
        photo_sources.decoded(np.broadcast_to(np.uint8(0), (8001, 8000, 3)))
    (tmp_path / "text").write_text("text")
    with pytest.raises(UnreadablePhotoError, match="open it with mode 'rb'"):
        photo_sources.decoded((tmp_path / "text").open())
    with pytest.raises(TypeError, match="a photo cannot be a int"):
        photo_sources.decoded(3)
    cut = Image.open(io.BytesIO(encoded(np.zeros((99, 99, 3), np.uint8), "PNG")[:-60]))
    with pytest.raises(UnreadablePhotoError, match="damaged or cut off"):
        photo_sources.decoded(cut)


# Stored and brought back


@pytest.fixture(scope="module")
def large():
    """An embedding as large as the shipped verifier's."""
    vector = np.random.default_rng(0).normal(size=sum(TAILS)).astype(np.float32)
    return Embedding(vector, MODEL, MODEL[::-1])


def test_a_stored_embedding_is_small_and_the_same(large, embeddings):
    for kept in (large, embeddings[0]):
        for back in (Embedding.from_json(kept.to_json()), pickle.loads(pickle.dumps(kept))):
            np.testing.assert_array_equal(back.vector, kept.vector)
            assert back.vector.dtype == np.float32
            assert (back.model, back.digest, back.face) == (kept.model, kept.digest, None)
    assert len(large.to_json()) <= 1.5 * large.vector.nbytes
    assert len(pickle.dumps(large)) <= 1.5 * large.vector.nbytes


def test_a_stored_embedding_compares_as_a_fresh_one(verifier, photos, embeddings):
    one, other = embeddings
    stored = Embedding.from_vector(list(map(float, one.vector)), one.model)
    assert verifier.compare(stored, other).theta == verifier.compare(one, photos[1]).theta
    assert not verifier.compare(stored, stored).identical  # of no known file


@pytest.mark.parametrize(
    ("vector", "model"),
    [([[1.0]], MODEL), ([np.nan], MODEL), (["a"], MODEL), ([1.0], "1.0"), ([1.0], None)],
)
def test_what_is_no_embedding_is_refused(vector, model):
    with pytest.raises(InputError):
        Embedding.from_vector(vector, model)


def as_json(digest: object, vector: str) -> str:
    return json.dumps({"model": MODEL, "digest": digest, "vector": vector})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[" * 100_000, as_json("", "a"), as_json("", "AAAA"), as_json(3, "AAAAAA==")],
    ids=lambda text: text[:40],
)
def test_json_of_no_embedding_is_refused(text):
    with pytest.raises(InputError):
        Embedding.from_json(text)


def test_an_embedding_names_its_model_and_another_models_is_refused(verifier, embeddings):
    one = embeddings[0]
    assert one.model == verifier.description.model.sha256
    for other in (one._replace(model=MODEL), one._replace(vector=one.vector[1:])):
        said = "is of another model" if other.model == MODEL else "has 15 numbers, not 16"
        with pytest.raises(InputError, match=said):
            verifier.compare(one, other)
        with pytest.raises(InputError, match=said):
            verifier.search(other, one.vector[None])


# One against many


def test_the_nearest_of_many_is_found(verifier, embeddings):
    one, other = embeddings
    vectors = np.random.default_rng(0).normal(size=(40_000, one.vector.size)).astype(np.float32)
    vectors[33_333] = other.vector
    found = verifier.search(other, vectors)
    assert (found.row, found.accepted) == (33_333, True)
    assert found.theta == pytest.approx(0, abs=1e-3)
    expected, _ = verifier.network.compare(np.tile(one.vector, (40_000, 1)), vectors)
    found = verifier.search(one, vectors, threshold=0)
    assert (found.row, found.accepted) == (expected.argmin(), False)
    assert found.theta == expected.min()


def test_angles_to_many_are_those_of_the_network(verifier, embeddings):
    members = verifier.description.members
    vectors = np.random.default_rng(1).normal(size=(700, 16)).astype(np.float32)
    vectors[0], vectors[1] = embeddings[1].vector, 0
    found = nearest.thetas(
        embeddings[0].vector, vectors, [m.tail for m in members], [m.weight for m in members]
    )
    expected, _ = verifier.network.compare(np.tile(embeddings[0].vector, (700, 1)), vectors)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_vectors_that_are_none_are_refused(verifier, embeddings):
    one = embeddings[0]
    ruined = np.stack([one.vector, one.vector * np.nan])
    for vectors, said in (
        (one.vector, "must be float32"), (one.vector[None].astype(float), "must be float32"),
        (one.vector[None, :3], "must be float32"), (one.vector[None][:0], "there are no vectors"),
        (ruined, "row 1 is not"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            verifier.search(one, vectors)


def test_among_a_hundred_thousand_each_has_the_ensembles_angle():
    vectors = np.random.default_rng(0).normal(size=(100_000, sum(TAILS))).astype(np.float32)
    found = nearest.thetas(vectors[77_777], vectors, TAILS, WEIGHTS)
    assert found.argmin() == 77_777
    expected = np.zeros(len(vectors))
    ends = np.cumsum(TAILS)[:-1]
    for tail, weight in zip(np.split(vectors, ends, axis=1), WEIGHTS, strict=True):
        units = tail / np.linalg.norm(tail, axis=1, keepdims=True)
        expected += weight * np.arccos(np.clip(units @ units[77_777], -1, 1))
    np.testing.assert_allclose(found, expected, atol=1e-3)


# The same photo twice


@pytest.mark.parametrize("change", ["turned", "encoded again", "scaled"])
def test_a_copy_of_a_photo_is_noticed(verifier, photos, change):
    photo = photos[0]
    copy = {
        "turned": encoded(np.ascontiguousarray(np.rot90(photo)), "PNG"),
        "encoded again": encoded(photo, quality=60),
        "scaled": encoded(Image.fromarray(photo).resize((240, 320))),
    }[change]
    found = verifier.compare(copy, photo)
    assert found.theta < COPY
    assert found.copied and not found.identical
    assert not verifier.compare(photo, photo).copied  # that is told as one file
    assert not verifier.compare(*photos).copied
