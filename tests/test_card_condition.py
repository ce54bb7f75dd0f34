"""Photos on cards: what is found there, how it is kept, and what no answer counts for."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from faceverify.base.errors import InputError
from faceverify.base.workers import LOCAL
from faceverify.cards.phone import photographed_card
from faceverify.evaluation import card_condition, report, summary, verification
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.card_condition import put_on_cards
from faceverify.evaluation.card_faces import Cards, face_on_card, networks
from faceverify.evaluation.judged_photos import JudgedPhotos, Trials
from faceverify.evaluation.metrics import NO_ANSWER, Thresholds
from faceverify.evaluation.summary import CARD
from faceverify.evaluation.verification import NO_PHOTO, VerificationPairs
from faceverify.faces import aligned_photos, dlib_descriptor, landmarks
from faceverify.runs import parameters
from faceverify.verify import camera_photos
from faceverify.verify.capture import find_face
from faceverify.verify.refusals import CaptureError
from helpers import PREDICTOR, ROOT, sample_photos

PEOPLE, EACH = 4, 2


@pytest.fixture(scope="module")
def judged(sample) -> JudgedPhotos:
    """Two photos each of four people of the sample, with dlib's landmarks of the photos."""
    by_person = sample_photos(sample, PEOPLE, EACH)
    names = [name for own in by_person.values() for name in own]
    folder, predictor = sample / "img_align_celeba", sample / PREDICTOR
    points = [
        landmarks.flatten(landmarks.find_landmarks(aligned_photos.decode_aligned(data), predictor))
        for data in ((folder / name).read_bytes() for name in names)
    ]
    return JudgedPhotos(folder, names, np.repeat(list(by_person), EACH), names, np.array(points))


@pytest.fixture(scope="module")
def pairs(judged) -> VerificationPairs:
    """One genuine pair a person, and each person's first photo with the next one's second."""
    first = np.arange(0, PEOPLE * EACH, EACH)
    photos = np.concatenate(
        [np.stack([first, first + 1], axis=1), np.stack([first, np.roll(first, -1) + 1], axis=1)]
    )
    same = np.arange(2 * PEOPLE) < PEOPLE
    return VerificationPairs(photos, judged.identities[photos], same)


@pytest.fixture(scope="module")
def cards(sample) -> Cards:
    """The shipped cards and limits."""
    shipped = parameters.load(ROOT / "params.yaml")
    return Cards(shipped.card, 2356, ROOT / "data", sample / PREDICTOR, shipped.capture)


@pytest.fixture(scope="module")
def found(judged, pairs, cards, tmp_path_factory):
    return put_on_cards(judged, pairs, cards, tmp_path_factory.mktemp("cache"), LOCAL)


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """The names of the cards that are made and looked at; in this process."""
    names = []

    def counted(jobs, _workers):
        for function, arguments, options in jobs:
            names.append(arguments[1])
            yield function(*arguments, **options)

    monkeypatch.setattr(card_condition, "results", counted)
    return names


def unusable(cards: Cards) -> Cards:
    """Cards of which none is sharp enough."""
    return cards._replace(limits=cards.limits.model_copy(update={"min_sharpness": 10.0}))


def test_a_card_is_seen_as_verify_sees_a_users_photo(judged, cards):
    for name in judged.names[:3]:
        photo = aligned_photos.decode_aligned(judged.read(name))
        taken = photographed_card(photo, cards.effects, cards.seed, name)
        seen = face_on_card(judged.folder / name, name, cards)
        try:
            face = find_face(
                camera_photos.decode(taken), networks(cards.networks), cards.limits, any_side=True
            )
        except CaptureError as error:
            assert (seen.refusal, seen.aligned) == (error.code, b"")
            continue
        assert seen.refusal == ""
        assert np.array_equal(aligned_photos.decode_aligned(seen.aligned), face.aligned)
        # The landmarks are those of the aligned face: the eyes lie where CelebA's do.
        xs, ys = np.split(seen.landmarks, 2)
        eyes = [(xs[part].mean(), ys[part].mean()) for part in (slice(36, 42), slice(42, 48))]
        assert np.abs(np.array(eyes) - [(69.6, 111.4), (107.9, 111.3)]).max() < 6


def test_the_pairs_have_the_cards_faces_in_place_of_their_first_photos(found, judged, pairs):
    assert found.cards == PEOPLE
    trials = Trials(judged, found.faces, {CARD: found.pairs})
    assert np.array_equal(found.pairs.photos[:, 1], pairs.photos[:, 1])
    for (own, _), (card, _) in zip(pairs.photos, found.pairs.photos, strict=True):
        if card != NO_PHOTO:
            assert trials.source(card) == judged.sources[own]
            face = aligned_photos.decode_aligned(trials.read(card))
            assert not np.array_equal(face, aligned_photos.decode_aligned(trials.read(own)))
    silent = {own for (own, _), (card, _) in zip(pairs.photos, found.pairs.photos, strict=True)
              if card == NO_PHOTO}  # fmt: skip
    assert len(silent) == sum(found.refusals.values())
    assert len(found.faces.names) == PEOPLE - len(silent)


def test_the_face_on_a_card_is_still_the_persons(found, judged, pairs, sample):
    network = sample / dlib_descriptor.NETWORK
    usable = np.flatnonzero(found.pairs.photos[:, 0] != NO_PHOTO)
    assert len(usable) > 0
    described = [
        dlib_descriptor.describe(
            aligned_photos.decode_aligned(part.read(name)),
            landmarks.unflatten(numbers),
            network,
        )
        for part in (judged, found.faces)
        for name, numbers in zip(part.names, part.landmarks, strict=True)
    ]
    scores = verification.distances(np.array(described), found.pairs.photos[usable])
    same = pairs.same[usable]
    assert scores[same].mean() < scores[~same].mean()


def test_what_was_found_is_kept_until_something_that_decides_it_changes(
    judged, pairs, cards, looks, tmp_path
):
    first = put_on_cards(judged, pairs, cards, tmp_path, LOCAL)
    assert sorted(looks) == sorted(judged.names[::EACH])
    looks.clear()
    again = put_on_cards(judged, pairs, cards, tmp_path, LOCAL)
    assert looks == []
    assert again.refusals == first.refusals
    assert np.array_equal(again.pairs.photos, first.pairs.photos)
    assert [again.faces.read(n) for n in again.faces.names] == [
        first.faces.read(n) for n in first.faces.names
    ]
    for other in (cards._replace(seed=1), unusable(cards)):
        put_on_cards(judged, pairs, other, tmp_path, LOCAL)
        assert len(looks) == PEOPLE
        looks.clear()


def test_a_changed_photo_is_looked_at_again(judged, pairs, cards, looks, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in judged.names:
        (folder / name).write_bytes(judged.read(name))
    mine = judged._replace(folder=folder)
    put_on_cards(mine, pairs, cards, tmp_path / "cache", LOCAL)
    looks.clear()
    photo = aligned_photos.decode_aligned(mine.read(mine.names[0]))
    (folder / mine.names[0]).write_bytes(aligned_photos.encode_png(cv2.flip(photo, 1)))
    put_on_cards(mine, pairs, cards, tmp_path / "cache", LOCAL)
    assert looks == [mine.names[0]]


def test_a_stopped_run_goes_on_where_it_was(judged, pairs, cards, looks, monkeypatch, tmp_path):
    def stopped(photo, source, cards):
        if len(looks) == 3:
            raise KeyboardInterrupt
        return face_on_card(photo, source, cards)

    monkeypatch.setattr(card_condition, "face_on_card", stopped)
    with pytest.raises(KeyboardInterrupt):
        put_on_cards(judged, pairs, cards, tmp_path, LOCAL)
    assert [path.suffix for path in tmp_path.iterdir()] == [".sqlite"]  # nothing half-written
    monkeypatch.setattr(card_condition, "face_on_card", face_on_card)
    looks.clear()
    put_on_cards(judged, pairs, cards, tmp_path, LOCAL)
    assert len(looks) == PEOPLE - 2


def test_a_damaged_cache_is_one_line(judged, pairs, cards, looks, tmp_path):
    put_on_cards(judged, pairs, cards, tmp_path, LOCAL)
    (cache,) = tmp_path.glob("*.sqlite")
    cache.write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"cards-\w+\.sqlite: .*; remove it and run the same"):
        put_on_cards(judged, pairs, cards, tmp_path, LOCAL)


def test_where_no_card_can_be_used_all_are_refused_and_the_reason_is_counted(
    judged, pairs, cards, looks, tmp_path
):
    found = put_on_cards(judged, pairs, unusable(cards), tmp_path, LOCAL)
    assert sum(found.refusals.values()) == PEOPLE
    assert found.refusals["blurred"] >= PEOPLE - 1  # the light is checked before
    trials = Trials(judged, found.faces, {CARD: found.pairs})
    assert trials.parts() == [judged]
    tails = np.ones((len(judged.names), 8), np.float32)
    theta = verification.thetas(tails, found.pairs.photos)
    assert np.array_equal(theta, np.full(2 * PEOPLE, NO_ANSWER))
    figures = figures_of(theta, found.pairs)
    assert (figures["no_answer"], figures["fmr"], figures["fnmr"]) == (1, 0, 1)
    assert figures["auc"] == 0.5


def figures_of(theta: np.ndarray, pairs: VerificationPairs) -> dict[str, float | None]:
    scores = report.ModelScores({CARD: theta}, Thresholds(0.5, 0.6, 0.5), None)
    return report.card_figures(scores, pairs, Resampling(100, 1))


def test_a_pair_without_an_answer_counts_as_refused():
    people = np.arange(20)
    photos = np.stack([people, people], axis=1)
    photos[[0, 1, 12], 0] = NO_PHOTO  # two genuine pairs of ten, and one of ten impostors
    same = people < 10
    identities = np.stack([people, np.where(same, people, people - 10)], axis=1)
    theta = np.where(same, 0.1, 2.0)
    theta[[2, 15]] = 2.0, 0.1  # one genuine pair is refused, one impostor pair accepted
    theta[photos[:, 0] == NO_PHOTO] = NO_ANSWER
    figures = figures_of(theta, VerificationPairs(photos, identities, same))
    assert set(figures) == {f"{name}{end}" for name in summary.CARD_FIGURES for end in summary.ENDS}
    assert figures["no_answer"] == pytest.approx(3 / 20)
    assert (figures["fnmr"], figures["fmr"]) == (pytest.approx(3 / 10), pytest.approx(1 / 10))
    assert figures["no_answer_low"] <= figures["no_answer"] <= figures["no_answer_high"]
    assert figures["tar_at_fmr_1pct"] is None  # too few impostor pairs to say


def test_the_processes_that_look_at_cards_do_not_load_tensorflow():
    code = (
        "import sys, faceverify.evaluation.card_faces as c; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src").returncode == 0


def test_what_is_said_of_the_cards():
    said = summary.cards_said(100, {"blurred": 3, "no_face": 1})
    assert said.endswith("Of 100 cards 4 have none (blurred 3, no_face 1):")
    assert summary.cards_said(7, {}).endswith("Of 7 cards 0 have none:")
