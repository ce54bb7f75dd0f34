"""What blur and light cost: which photos are changed, and which pairs are counted where."""

from pathlib import Path

import numpy as np
import pytest

import capture_limits
from capture_limits import Compared, Picture
from faceverify.base.errors import InputError
from faceverify.evaluation.summary import CARD
from faceverify.faces import aligned_photos
from faceverify.runs import parameters
from faceverify.verify import capture

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(capture_limits, "PEOPLE", 4)
    monkeypatch.setattr(capture_limits, "EACH", 3)
    monkeypatch.setattr(capture_limits, "IMPOSTORS", 5)
    monkeypatch.setattr(capture_limits, "RESAMPLES", 20)


@pytest.fixture
def named(sample):
    lines = (sample / "identity_CelebA.txt").read_text().splitlines()
    return dict(line.split()[:2] for line in lines)


def test_photos_are_of_training_people_with_enough(sample, named):
    paths, people = capture_limits.training_photos(sample)
    assert len(paths) == len(set(paths)) == 12
    assert people.tolist() == np.repeat(range(4), 3).tolist()
    assert all(path.is_file() for path in paths)
    assert len({named[path.name] for path in paths[:3]}) == 1


def test_too_few_people_are_one_line(sample, monkeypatch):
    monkeypatch.setattr(capture_limits, "PEOPLE", 1000)
    with pytest.raises(InputError, match=r"CELEBA_DIR: 1000 people with 3 photos .*held_out.txt"):
        capture_limits.training_photos(sample)


def test_held_out_people_are_left_out(sample, named, monkeypatch, tmp_path):
    people = set(named.values())
    (tmp_path / "pretrain").mkdir()
    held_out = sorted(people)[4:]
    (tmp_path / "pretrain/held_out.txt").write_text("\n".join(held_out))
    monkeypatch.setattr(capture_limits, "ROOT", tmp_path)
    paths, _ = capture_limits.training_photos(sample)
    assert {named[path.name] for path in paths} == set(sorted(people)[:4])


@pytest.mark.parametrize("mean", [25, 130, 225])
def test_a_gain_brings_the_face_to_a_mean(sample, mean):
    paths, _ = capture_limits.training_photos(sample)
    photo = aligned_photos.decode_aligned(paths[0].read_bytes())
    assert capture.brightness(capture_limits.lit(photo, mean)) == pytest.approx(mean, abs=1)


def test_photos_are_written_as_they_are_first_then_changed(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(capture_limits, "BLURS", (1.0, 3.0))
    monkeypatch.setattr(capture_limits, "SHAKES", (9,))
    monkeypatch.setattr(capture_limits, "MEANS", (40,))
    paths, people = capture_limits.training_photos(sample)
    pictures = list(capture_limits.written(paths, tmp_path))
    made_by = 12 * ["photo"] + 24 * ["blur"] + 24 * ["shake"] + 12 * ["light"]
    assert [p.made_by for p in pictures] == made_by
    assert [p.photo for p in pictures] == 6 * list(range(12))
    assert len(list(tmp_path.glob("*.png"))) == 72
    sharpness = np.array([p.sharpness for p in pictures]).reshape(6, 12)
    assert (sharpness[0] > sharpness[1]).all()
    assert (sharpness[1] > sharpness[2]).all()
    judged = capture_limits.as_judged(pictures, paths, people)
    assert judged.identities[13] == people[1]
    assert judged.sources[13] == paths[1].name


def test_cards_are_measured_whatever_their_sharpness_and_light(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(capture_limits, "PHOTOS", tmp_path)
    monkeypatch.setattr(capture_limits.evaluate, "CACHE", tmp_path / "cache")
    monkeypatch.chdir(ROOT)
    paths, people = capture_limits.training_photos(sample)
    pictures = [
        capture_limits.measured(photo, "photo", aligned_photos.decode_aligned(path.read_bytes()))
        for photo, path in enumerate(paths)
    ]
    for photo, path in enumerate(paths):
        (tmp_path / f"{photo}.png").write_bytes(path.read_bytes())
    judged = capture_limits.as_judged(pictures, paths, people)
    settings = parameters.load(ROOT / "params.yaml")
    strict = settings.capture.model_copy(update={"min_sharpness": 10.0, "max_brightness": 36.0})
    cards = capture_limits.on_cards(judged, settings.model_copy(update={"capture": strict}))
    assert len(cards.names) >= 10
    found = capture_limits.pictures_of(cards, judged)
    assert {picture.made_by for picture in found} == {CARD}
    assert [paths[picture.photo].name for picture in found] == cards.sources
    assert all(picture.sharpness < 2 and picture.brightness > 36 for picture in found)


def test_a_picture_meets_its_persons_other_photos_and_some_of_others():
    people = np.repeat(range(4), 3)
    pictures = [Picture(photo, "photo", 1, 100) for photo in range(12)] + [
        Picture(4, "blur", 0.3, 100)
    ]
    pairs = capture_limits.pairs_of(pictures, people)
    of_last = pairs.photos[:, 0] == 12
    assert sorted(pairs.photos[of_last & pairs.same][:, 1]) == [3, 5]
    assert (of_last & ~pairs.same).sum() == 5
    assert pairs.photos[:, 1].max() < 12
    assert (pairs.same == (people[pairs.photos[:, 1]] == pairs.identities[:, 0])).all()


def test_rates_are_counted_in_the_range_of_the_first_picture():
    people = np.repeat(range(4), 3)
    pictures = [Picture(photo, "photo", 0.7, 100) for photo in range(12)]
    pictures += [Picture(photo, "blur", 0.27, 100) for photo in range(12)]
    pictures += [Picture(photo, CARD, 0.22, 100) for photo in range(12)]
    pictures += [Picture(photo, "light", 0.27, 220) for photo in range(12)]
    pairs = capture_limits.pairs_of(pictures, people)
    made_by = np.array([p.made_by for p in pictures])[pairs.photos[:, 0]]
    theta = np.where(made_by == "blur", 0.9, 0.1)
    ends, conditions = (0.2, 0.25, 0.3, 1.0), {"photo": "blur", CARD: CARD}
    found = capture_limits.error_rates(
        Compared(pictures, pairs, theta), 0.6, "sharpness", ends, conditions
    )
    assert found["photo"].keys() == {"0.25 to 0.3", "0.3 to 1"}
    assert found[CARD].keys() == {"0.2 to 0.25"}
    blurred, sharp = found["photo"].values()
    assert (blurred["fnmr"], blurred["fmr"], blurred["genuine"]) == (1, 0, 24)
    assert (sharp["fnmr"], sharp["fmr"], sharp["impostor"]) == (0, 1, 60)
    assert found[CARD]["0.2 to 0.25"]["fmr"] == 1
