"""`faceverify judge` and `evaluate` on the same pairs: one answer, and one arithmetic."""

import csv
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from faceverify.cards.phone import photographed_card
from faceverify.evaluation import card_condition, metrics
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.judged_photos import Trials, load_pairs
from faceverify.evaluation.metrics import Thresholds
from faceverify.evaluation.summary import CARD, ENSEMBLE
from faceverify.evaluation.verification import NO_PHOTO
from faceverify.faces import aligned_photos
from faceverify.judge import figures
from faceverify.judge.labelled_pairs import no_groups
from faceverify.model import store
from faceverify.runs import members, parameters
from helpers import ROOT

pytestmark = pytest.mark.slow

RESAMPLING = Resampling(200, 7)


@pytest.mark.parametrize(("silent", "spread"), [(0.0, 0.3), (0.1, 0.3), (0.0, 0.01)])
def test_the_same_scores_have_the_same_figures_and_intervals(silent, spread):
    rng = np.random.default_rng(3)
    identities = rng.integers(60, size=(14_000, 2))
    identities[:1000, 1] = identities[:1000, 0]
    same = identities[:, 0] == identities[:, 1]
    assert np.count_nonzero(~same) > 10_000  # enough for a TAR at an FMR of 0.1%
    score = rng.normal(np.where(same, 0.5, 1.4), spread)
    refused = rng.random(len(score)) < silent
    ours = metrics.measure(
        np.where(refused, metrics.NO_ANSWER, score),
        same,
        identities,
        Thresholds(0.6, 0.6, 0.6),
        RESAMPLING,
    )
    fmrs = {"1pct": Fraction(1, 100), "0.1pct": Fraction(1, 1000)}
    asked = figures.Judged(same, identities, no_groups(len(same)), fmrs)
    judged = figures.measure(
        {"theta": figures.Scored(np.where(refused, figures.REFUSED, score), 0.6)},
        asked,
        RESAMPLING,
    )["models"]["theta"]
    theirs = judged["figures"] | judged["rates"][figures.ALL]
    for name in ("auc", "fmr", "fnmr", "tar_at_fmr_1pct", "tar_at_fmr_0.1pct"):
        for end in ("", "_low", "_high"):
            assert ours[f"{name}{end}"] is not None
            assert theirs[f"{name}{end}"] == ours[f"{name}{end}"]


@pytest.fixture(scope="module")
def evaluated(clone) -> tuple[Trials, np.ndarray]:
    """What the clone's `evaluate` judges, and the ensemble's theta of the pairs on cards."""
    import evaluate  # brings TensorFlow

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone.folder)
        settings = parameters.load(Path("params.yaml"))
        photos, pairs = load_pairs(
            evaluate.PREPARED, settings.evaluate.genuine_per_identity, settings.seed
        )
        found = card_condition.put_on_cards(
            photos, pairs["val"], evaluate.cards_of(settings), evaluate.CACHE, settings.workers
        )
        trials = Trials(
            photos._replace(folder=clone.folder / photos.folder),
            found.faces._replace(folder=clone.folder / found.faces.folder),
            pairs | {CARD: found.pairs},
        )
        trained = {name: store.load(members.MODELS / name) for name in settings.members}
        scores = evaluate.score_models(trained, trials, settings)
    return trials, scores[ENSEMBLE].values[CARD]


@pytest.fixture(scope="module")
def scored(clone, evaluated, tmp_path_factory) -> list[dict[str, str]]:
    """What `judge` says of the same cards, as files of a phone, and the same second photos."""
    trials, _ = evaluated
    settings = parameters.load(clone.folder / "params.yaml")
    folder = tmp_path_factory.mktemp("judged")
    val = trials.pairs["val"]
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["first", "second", "same"])
        for (first, second), same in zip(val.photos.tolist(), val.same, strict=True):
            card, live = folder / f"card-{first}.jpg", folder / f"live-{second}.png"
            photo = aligned_photos.decode_aligned(trials.read(first))
            name = trials.source(first)
            card.write_bytes(photographed_card(photo, settings.card, settings.seed, name))
            live.write_bytes(trials.read(second))
            rows.writerow([card.name, live.name, int(same)])
    asked = ["judge", "pairs.csv", "--out", "report"]
    asked += ["--verifier", str(clone.folder / "models/verifier.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "faceverify", *asked]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    with (folder / "report/scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_both_refuse_the_same_cards(evaluated, scored):
    trials, _ = evaluated
    refused = trials.pairs[CARD].photos[:, 0] == NO_PHOTO
    assert [bool(row["no_answer_first"]) for row in scored] == refused.tolist()


def test_both_give_the_same_angle_where_both_have_an_answer(evaluated, scored):
    """The second photo is aligned already: `judge` finds its face once more, and moves it a bit."""
    _, theta = evaluated
    there = np.array([row["theta"] != "" for row in scored])
    assert np.count_nonzero(there) >= 20
    judged = np.array([float(row["theta"]) for row in scored if row["theta"] != ""])
    assert np.median(np.abs(judged - theta[there])) < 0.1 * theta[there].std()
    assert np.corrcoef(judged, theta[there])[0, 1] > 0.95
