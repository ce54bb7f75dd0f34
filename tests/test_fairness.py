"""Tests of faceverify.evaluation.fairness: a planted bias is found, and chance raises no alarm."""

import itertools

import dlib
import numpy as np
import pytest
from scipy.stats import norm

from faceverify.data import annotations
from faceverify.evaluation import fairness, metrics
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.verification import attribute_groups
from faceverify.faces import dlib_descriptor
from faceverify.faces.aligned_photos import decode_aligned
from faceverify.faces.landmarks import find_landmarks
from helpers import PREDICTOR

FACTOR = 2.0
ATTRIBUTES = ("Male", "Young", "Pale_Skin", "Eyeglasses")
PHOTOS = 2  # impostor pairs for each two people


def population(people, rates, seed):
    """Scores of people with ("on both") and without an attribute, by the true FMR of each group.

    Some people, and some pairs of people, look more alike than others: pairs are not independent.
    Nobody is refused wrongly.
    """
    random = np.random.default_rng(seed)
    numbers, scores, present = [], [], []
    for has, count, rate in zip((True, False), people, rates, strict=True):
        first = 1000 * (not has)
        meetings = np.array(list(itertools.combinations(range(count), 2)), int).reshape(-1, 2)
        meetings = meetings.repeat(PHOTOS, axis=0)
        alike = random.normal(0, np.sqrt(0.1), count)
        pair_alike = random.normal(0, np.sqrt(0.3), len(meetings) // PHOTOS).repeat(PHOTOS)
        own = random.normal(0, np.sqrt(0.5), len(meetings))
        total = alike[meetings].sum(axis=1) + pair_alike + own  # standard normal
        genuine = np.repeat(np.arange(count), 2).reshape(-1, 2)
        numbers.append(np.concatenate([meetings, genuine]) + first)
        scores.append(np.concatenate([total - norm.ppf(rate), np.full(count, -9)]))
        present.append(np.full((len(meetings) + count, 2), has))
    numbers = np.concatenate(numbers)
    same = numbers[:, 0] == numbers[:, 1]
    return np.concatenate(scores), same, numbers, np.concatenate(present)


def found_in(people, rates, seed, factor=FACTOR):
    """The groups' rates and the report on one such population."""
    scores, same, numbers, present = population(people, rates, seed)
    groups = attribute_groups(present, "Tall")
    options = {"threshold": 0.0, "resampling": Resampling(100, seed)}
    known = metrics.group_error_rates(scores, same, numbers, groups, **options)
    contrast = {"Tall": tuple(groups[name] for name in fairness.compared_groups("Tall"))}
    shares = metrics.fmr_shares(scores, same, numbers, contrast, **options)
    return known, fairness.report(known, shares, factor)


def share_of(verdict, people, rates, times=100):
    """How often so many seeds come to a verdict."""
    found = [found_in(people, rates, seed)[1] for seed in range(times)]
    return np.mean([report["attributes"]["Tall"]["verdict"] == verdict for report in found])


# Planted bias


@pytest.mark.parametrize("people", [(60, 60), (90, 40)])
@pytest.mark.parametrize("biased", [0, 1])
def test_a_planted_bias_is_found(people, biased):
    rates = [0.02, 0.02]
    rates[biased] = 0.2
    assert share_of(fairness.EXCEEDS, people, rates, 10) == 1


def test_the_ratio_and_its_interval_are_about_the_planted_ones():
    groups, report = found_in((80, 80), (0.15, 0.03), seed=5)
    contrast = report["attributes"]["Tall"]
    assert (contrast["higher"], contrast["lower"]) == ("Tall on both", "Tall on none")
    ratio, low, high = (contrast[f"fmr_ratio{end}"] for end in ("", "_low", "_high"))
    both, none = groups["Tall on both"], groups["Tall on none"]
    assert ratio == pytest.approx(both["fmr"] / none["fmr"], rel=1e-3)
    assert 2 < low < 5 < high < 12
    swapped = found_in((80, 80), (0.03, 0.15), seed=5)[1]["attributes"]["Tall"]
    assert swapped["higher"] == "Tall on none"


# False alarms


@pytest.mark.parametrize("people", [(20, 20), (40, 4), (40, 8), (4, 40), (3, 3)])
def test_at_the_limit_itself_chance_raises_an_alarm_in_few_runs(people):
    # 2.5% are due; 100 runs show more than 7 of them once in 250 times.
    assert share_of(fairness.EXCEEDS, people, (0.06, 0.03)) <= 0.07


@pytest.mark.parametrize("people", [(30, 30), (40, 8), (3, 40)])
def test_equal_groups_raise_no_alarm(people):
    assert share_of(fairness.EXCEEDS, people, (0.05, 0.05), 30) == 0


def test_few_people_hide_no_bias_they_are_too_few_to_tell():
    for people in ((40, 5), (5, 40), (4, 4), (2, 40), (40, 1)):
        assert share_of(fairness.WITHIN, people, (0.02, 0.2), 10) == 0, people


def test_many_equal_people_are_mostly_said_to_be_equal():
    assert share_of(fairness.WITHIN, (80, 80), (0.1, 0.1), 10) >= 0.8


@pytest.mark.parametrize("people", [(1, 40), (2, 40), (40, 2), (0, 40)])
def test_one_or_two_people_are_too_few_whatever_they_show(people):
    groups, report = found_in(people, (0.9, 0.01), seed=1)
    contrast = report["attributes"]["Tall"]
    assert contrast["verdict"] == fairness.UNKNOWN
    assert [contrast[f"fmr_ratio{end}"] for end in ("", "_low", "_high")] == [None] * 3
    said = fairness.sentences(report, groups)
    assert said == (
        "Too few people to tell whether the FMR on both and on none differ by more than a factor "
        f"of 2: Tall ({people[0]} and {people[1]} people)."
    )


# Real photos


def test_the_attributes_of_real_photos_make_groups_with_a_verdict(celeba, sample):
    attributes = annotations.read_attributes(celeba / "list_attr_celeba.txt")
    row = {photo: i for i, photo in enumerate(attributes.photos)}
    people = {}
    for photo, person in annotations.read_identities(celeba / "identity_CelebA.txt").items():
        if photo in row and (celeba / "img_align_celeba" / photo).is_file():
            people.setdefault(person, []).append(photo)
    chosen = [(p, photo) for p in sorted(people)[:20] for photo in sorted(people[p])[:2]]
    numbers, names = np.array([p for p, _ in chosen]), [photo for _, photo in chosen]
    described = np.stack([descriptor(celeba / "img_align_celeba" / n, sample) for n in names])

    photos = np.array(list(itertools.combinations(range(len(names)), 2)))
    identities = numbers[photos]
    same = identities[:, 0] == identities[:, 1]
    scores = np.linalg.norm(described[photos[:, 0]] - described[photos[:, 1]], axis=1)
    marks = {a: attributes.column(a)[[row[n] for n in names]][photos] for a in ATTRIBUTES}
    groups = {k: v for a in ATTRIBUTES for k, v in attribute_groups(marks[a], a).items()}
    options = {"threshold": dlib_descriptor.THRESHOLD, "resampling": Resampling(200, 1)}
    known = metrics.group_error_rates(scores, same, identities, groups, **options)
    contrasts = {a: tuple(groups[side] for side in fairness.compared_groups(a)) for a in ATTRIBUTES}
    shares = metrics.fmr_shares(scores, same, identities, contrasts, **options)
    report = fairness.report(known, shares, FACTOR)
    for a in ATTRIBUTES:
        assert sum(known[k]["impostor"] for k in attribute_groups(marks[a], a)) == (~same).sum()
    # dlib's descriptor accepts few of 760 pairs of strangers: 20 people say nothing of groups.
    assert 0 < np.mean(scores[~same] < dlib_descriptor.THRESHOLD) < 0.1
    assert {c["verdict"] for c in report["attributes"].values()} == {fairness.UNKNOWN}


def descriptor(path, sample):
    """dlib's descriptor of an aligned photo."""
    photo = decode_aligned(path.read_bytes())
    whole = dlib.rectangle(0, 0, photo.shape[1] - 1, photo.shape[0] - 1)
    points = find_landmarks(photo, sample / PREDICTOR, otherwise=whole)
    return dlib_descriptor.describe(
        photo, points, sample / "dlib_face_recognition_resnet_model_v1.dat"
    )


# Extremes


def test_a_group_without_a_false_accept_has_no_end_above():
    groups, report = found_in((60, 60), (0.2, 1e-9), seed=1)
    contrast = report["attributes"]["Tall"]
    assert (contrast["fmr_ratio"], contrast["fmr_ratio_high"]) == (None, None)
    both, none = groups["Tall on both"], groups["Tall on none"]
    low = both["fmr_low"] / none["fmr_high"]
    assert contrast["fmr_ratio_low"] == pytest.approx(low, rel=1e-5)
    said = fairness.sentences(report, groups)
    assert said.startswith(
        "**Warning: the FMR with Tall on both is infinitely many "
        f"[{low:.2f}, no end] times that with Tall on none, more than the factor of 2 "
    )


def test_no_false_accept_at_all_tells_nothing():
    _, report = found_in((20, 20), (1e-9, 1e-9), seed=1)
    contrast = report["attributes"]["Tall"]
    assert contrast["verdict"] == fairness.UNKNOWN
    assert [contrast[f"fmr_ratio{end}"] for end in ("", "_low", "_high")] == [None] * 3


def test_data_without_attributes_have_nothing_to_say():
    assert fairness.report({}, {}, 2.0) == {"factor": 2.0, "attributes": {}}
    assert fairness.sentences({"factor": 2.0, "attributes": {}}, {}) == ""


def test_the_factor_decides():
    groups, report = found_in((80, 80), (0.15, 0.03), seed=5)
    assert "Warning" in fairness.sentences(report, groups)
    groups, report = found_in((80, 80), (0.15, 0.03), seed=5, factor=100)
    assert fairness.sentences(report, groups) == (
        "FMR on both and on none within a factor of 100: Tall."
    )


def test_a_rate_says_why_it_has_no_interval():
    figures = {"fmr": 0.5, "fmr_low": None, "fmr_high": None}
    assert fairness.rate(figures, "fmr") == "0.500 (too few people)"
    assert fairness.rate(dict.fromkeys(figures), "fmr") == "-"
    assert fairness.rate({"fmr": 0.5, "fmr_low": 0.4, "fmr_high": 0.6}, "fmr") == (
        "0.500 [0.400, 0.600]"
    )
