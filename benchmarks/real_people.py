"""How the shipped verifier, each member and dlib's descriptor do on real people, photo and card.

Run it from the repository's root when `dvc repro` has made the models:
`CELEBA_DIR=... PEOPLE_DIR=... python benchmarks/real_people.py` writes benchmarks/real_people.json,
of which `make card` makes the tables of docs/people.md. What CELEBA_DIR and PEOPLE_DIR hold is said
there; only people on whom nothing was trained are judged.
"""

import csv
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import dlib
import joblib
import numpy as np
from tqdm import tqdm

import evaluate
from faceverify.base import errors, files
from faceverify.base.workers import results
from faceverify.evaluation import card_condition, metrics
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.judged_photos import JudgedPhotos, Trials, load_pairs
from faceverify.evaluation.report import ModelScores
from faceverify.evaluation.summary import CARD
from faceverify.evaluation.verification import NO_PHOTO, VerificationPairs
from faceverify.faces import aligned_photos, landmarks
from faceverify.model import quality, store
from faceverify.runs import members, parameters, script

OUT = ROOT / "benchmarks/real_people.json"
ALIGNED = evaluate.CACHE / "real-people"
# Where the eyes of CelebA's frame are, dlib's box of the face is about this.
FACE_BOX = dlib.rectangle(38, 75, 138, 175)
PHOTOS_EACH = 10  # of a person with many
MOST_CARDS = 300  # in a set
MOST_PAIRS = 20_000  # of different people in a set
RESAMPLES = 400
SEED = 2356
# Names of groups that differ between the sets of PEOPLE_DIR.
GROUPS = {"asian": "Asian", "black": "Black", "caucasian": "White", "hispanic": "Hispanic",
          "indian": "Indian", "mideastern": "Middle Eastern", "other": "Other"}  # fmt: skip
NEAR = ("East Asian", "Southeast Asian", "Asian")
CONDITIONS = {"val": "photo", CARD: "card"}


class Photo(NamedTuple):
    """A photo in CelebA's frame, of any size, who is on it, and what it is judged as."""

    path: Path
    person: str
    sets: tuple[str, ...]


def main() -> None:
    """Judge all sets in both conditions and write the figures."""
    settings = parameters.load(Path("params.yaml"))
    photos = [*celeba(Path(folder_of("CELEBA_DIR"))), *people(Path(folder_of("PEOPLE_DIR")))]
    judged = brought_to_size(photos, settings)
    sample, sample_pairs = load_pairs(evaluate.PREPARED, None, settings.seed)
    found = {"ORL": figures(sample, {"ORL": sample_pairs["val"]}, settings)["ORL"]}
    found |= figures(judged, dict(pairs_of(photos, judged)), settings)
    files.write_json(OUT, {"resamples": RESAMPLES, "sets": found}, indent=1)
    print(f"{OUT.relative_to(ROOT)} is written; `make card` brings docs/people.md up to date")


def folder_of(variable: str) -> str:
    """The folder that a variable names."""
    folder = os.environ.get(variable)
    if not folder or not Path(folder).is_dir():
        raise errors.InputError(f"{variable} must name a folder with photos; see docs/people.md")
    return folder


def celeba(folder: Path) -> Iterator[Photo]:
    """At most PHOTOS_EACH photos of each person on whom no weights were trained."""
    unseen = set((ROOT / "pretrain/held_out.txt").read_text().split())
    taken = defaultdict(int)
    for line in (folder / "identity_CelebA.txt").read_text().splitlines():
        name, person = line.split()[:2]
        if person in unseen and taken[person] < PHOTOS_EACH:
            taken[person] += 1
            yield Photo(folder / "img_align_celeba" / name, f"celeba {person}", ("CelebA",))


def people(folder: Path) -> Iterator[Photo]:
    """The held-out photos: strangers by group, and actors with several photos each."""
    with (folder / "people.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["held_out"] != "1":
                continue
            name, group = row["photo"], GROUPS.get(row["group"], row["group"])
            path = folder / "img_align_celeba" / name
            if row["set"] == "rmfrd":
                yield Photo(path, name.rpartition("_")[0], ("actors",))
            else:
                near = ("East and Southeast Asian",) if group in NEAR else ()
                yield Photo(path, name, (f"strangers: {group}", *(f"strangers: {n}" for n in near)))


def brought_to_size(photos: list[Photo], settings: parameters.Parameters) -> JudgedPhotos:
    """All photos at CelebA's size, as PNG files, with dlib's landmarks."""
    predictor = evaluate.DATA / settings.select.landmark_model
    numbers = {person: i for i, person in enumerate(dict.fromkeys(p.person for p in photos))}
    names = [f"{photo.path.stem}.png" for photo in photos]
    with files.replacing_folder(ALIGNED) as temporary:
        jobs = (
            joblib.delayed(bring_to_size)(photo.path, temporary / name, predictor)
            for photo, name in zip(photos, names, strict=True)
        )
        bar = tqdm(results(jobs, settings.workers), "Photos", len(photos), disable=None)
        points = np.array([landmarks.flatten(found) for found in bar])
    identities = np.array([numbers[photo.person] for photo in photos])
    return JudgedPhotos(ALIGNED, names, identities, names, points)


def bring_to_size(photo: Path, out: Path, predictor: Path) -> np.ndarray:
    """Write one photo at CelebA's size; its landmarks, (68, 2)."""
    pixels = aligned_photos.decode(photo.read_bytes())
    pixels = aligned_photos.resized(pixels, aligned_photos.PHOTO_WIDTH / pixels.shape[1])
    out.write_bytes(aligned_photos.encode_png(pixels))
    return landmarks.find_landmarks(pixels, predictor, FACE_BOX)


def pairs_of(photos: list[Photo], judged: JudgedPhotos) -> Iterator[tuple[str, VerificationPairs]]:
    """Name of a set -> its pairs: all genuine ones, and impostor pairs drawn from all there are."""
    rows_of = defaultdict(list)
    for row, photo in enumerate(photos):
        for name in photo.sets:
            rows_of[name].append(row)
    for name, rows in rows_of.items():
        rng = np.random.default_rng(SEED)
        rows = np.array(rows)
        first = np.sort(rng.permutation(rows)[:MOST_CARDS]) if "strangers" in name else rows
        other = np.setdiff1d(rows, first)
        pairs = np.array([(a, b) for a in first for b in (*first[first > a], *other)])
        people = judged.identities[pairs]
        same = people[:, 0] == people[:, 1]
        impostors = np.flatnonzero(~same)
        drawn = rng.choice(impostors, min(MOST_PAIRS, len(impostors)), replace=False)
        kept = np.concatenate([np.flatnonzero(same), np.sort(drawn)])
        yield name, VerificationPairs(pairs[kept], people[kept], same[kept])


def figures(
    judged: JudgedPhotos, sets: Mapping[str, VerificationPairs], settings: parameters.Parameters
) -> dict[str, dict]:
    """The figures of each set, by condition and model."""
    joined = VerificationPairs(*map(np.concatenate, zip(*sets.values(), strict=True)))
    cards = card_condition.put_on_cards(
        judged, joined, evaluate.cards_of(settings), evaluate.CACHE, settings.workers
    )
    cards = card_condition.without_doubtful(
        cards, len(judged.names), quality.load(), settings.capture.min_quality
    )
    pairs = {"train": joined, "val": joined, CARD: cards.pairs}
    trained = {name: store.load(members.MODELS / name) for name in settings.members}
    scores = evaluate.score_models(trained, Trials(judged, cards.faces, pairs), settings)
    ends = np.cumsum([len(part.same) for part in sets.values()])
    places = zip(sets, np.split(np.arange(ends[-1]), ends[:-1]), strict=True)
    return {
        name: {
            "people": len(np.unique(joined.identities[part])),
            "genuine": int(joined.same[part].sum()),
            "impostor": int((~joined.same[part]).sum()),
        }
        | {
            shown: {
                model: measured(found, condition, cards.pairs, part)
                for model, found in scores.items()
            }
            for condition, shown in CONDITIONS.items()
        }
        for name, part in tqdm(list(places), "Figures", disable=None)
    }


def measured(
    found: ModelScores, condition: str, cards: VerificationPairs, part: np.ndarray
) -> dict[str, float | None]:
    """The figures of one model on the pairs `part`."""
    score, same, people = found.values[condition][part], cards.same[part], cards.identities[part]
    resampling = Resampling(RESAMPLES, SEED)
    limit = found.thresholds.accept_threshold
    everyone = {"all": np.ones(len(part), bool)}
    rates = metrics.group_error_rates(score, same, people, everyone, limit, resampling)["all"]
    kept = {name: value for name, value in rates.items() if name.startswith(("fmr", "fnmr"))}
    if same.any():
        thresholds = found.thresholds
        more = metrics.measure(score, same, people, thresholds, resampling)
        kept |= {name: more[name] for name in more if name.startswith(("auc", "tar"))}
    if condition == CARD:
        silent = (cards.photos[part] == NO_PHOTO).any(axis=1)
        kept |= metrics.share("no_answer", silent, same, people, resampling)
    return kept


if __name__ == "__main__":
    script.run(main)
