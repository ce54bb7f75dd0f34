"""What blur and light cost: error rates by sharpness and brightness, on which `capture` rests.

Run it from the repository's root when `dvc repro` has made the models:
`CELEBA_DIR=... python benchmarks/capture_limits.py` writes benchmarks/capture_limits.json, of which
`make card` makes the tables of docs/verify.md. Photos of people on whom weights were trained are
blurred, lit and put on cards, and each is compared with photos that stay as they are.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import cv2
import numpy as np
from tqdm import tqdm

import evaluate
from faceverify.base import errors, files
from faceverify.data import annotations
from faceverify.evaluation import card_condition, metrics, verification
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.judged_photos import JudgedPhotos, member_outputs
from faceverify.evaluation.summary import CARD
from faceverify.evaluation.verification import VerificationPairs
from faceverify.faces import aligned_photos
from faceverify.model import store
from faceverify.runs import members, parameters, script
from faceverify.verify import capture
from real_people import folder_of

OUT = ROOT / "benchmarks/capture_limits.json"
PHOTOS = evaluate.CACHE / "capture-limits"
PEOPLE, EACH = 60, 5  # and photos of each
BLURS = (1.0, 1.5, 2.0, 2.5, 3.0)  # out of focus: standard deviations, pixels of the aligned photo
SHAKES = (3, 5, 7, 9, 12, 15)  # lengths, pixels of the aligned photo, along either axis
MEANS = (20, 35, 205, 215, 225, 235)  # mean luma of the face, by gain and clipping
IMPOSTORS = 40  # photos of others that a picture is compared with
RESAMPLES = 400
SEED = 2356
# Ends of the ranges that are told apart; what lies outside is not counted.
SHARPNESS = (0.2, 0.25, 0.3, 0.35, 0.42, 0.5, 0.6, 2.0)
BRIGHTNESS = (15, 30, 40, 200, 210, 220, 230, 240, 250)


class Picture(NamedTuple):
    """A photo, as it is, changed or on a card, and what `capture` measures of it."""

    photo: int  # the number of the photo that it was made from
    made_by: str  # "photo", "blur", "shake", "light" or CARD
    sharpness: float
    brightness: float


class Compared(NamedTuple):
    """Pairs of a picture and a photo as it is, by their rows, and the ensemble's angles."""

    pictures: list[Picture]
    pairs: VerificationPairs
    theta: np.ndarray  # of each pair, radians


def main() -> None:
    """Compare all pictures and write the figures."""
    settings = parameters.load(Path("params.yaml"))
    paths, people = training_photos(Path(folder_of("CELEBA_DIR")))
    with files.replacing_folder(PHOTOS) as temporary:
        pictures = list(written(paths, temporary))
    judged = as_judged(pictures, paths, people)
    cards = on_cards(judged, settings)
    pictures += pictures_of(cards, judged)
    pairs = pairs_of(pictures, people)
    compared = Compared(pictures, pairs, thetas([judged, cards], pairs, settings))
    rates = partial(error_rates, compared, settings.accept_threshold)
    stated = {"people": PEOPLE, "photos": len(paths), "cards": len(cards.names)}
    found = {
        "sharpness": rates(
            "sharpness", SHARPNESS, {"out of focus": "blur", "shaken": "shake", CARD: CARD}
        ),
        "brightness": rates("brightness", BRIGHTNESS, {"photo": "light", CARD: CARD}),
    }
    files.write_json(OUT, stated | {"resamples": RESAMPLES} | found, indent=1)
    print(f"{OUT.relative_to(ROOT)} is written; `make card` brings docs/verify.md up to date")


def training_photos(folder: Path) -> tuple[list[Path], np.ndarray]:
    """EACH photos of each of PEOPLE people whom training has seen, and the person of each photo.

    Raises InputError where there are fewer people with so many photos.
    """
    unseen = set(map(int, (ROOT / "pretrain/held_out.txt").read_text().split()))
    photos_of = defaultdict(list)
    for name, person in annotations.read_identities(folder / "identity_CelebA.txt").items():
        if person not in unseen:
            photos_of[person].append(folder / "img_align_celeba" / name)
    rng = np.random.default_rng(SEED)
    known = [photos for photos in photos_of.values() if len(photos) >= EACH]
    if len(known) < PEOPLE:
        raise errors.InputError(
            f"CELEBA_DIR: {PEOPLE} people with {EACH} photos are needed who are not among those of "
            "pretrain/held_out.txt"
        )
    chosen = [known[i] for i in np.sort(rng.permutation(len(known))[:PEOPLE])]
    drawn = [photos[i] for photos in chosen for i in rng.permutation(len(photos))[:EACH]]
    return drawn, np.repeat(np.arange(PEOPLE), EACH)


def written(paths: list[Path], folder: Path) -> Iterator[Picture]:
    """Write all photos as PNG files by their numbers, first as they are and then changed."""
    photos = [aligned_photos.decode_aligned(path.read_bytes()) for path in paths]
    kinds = [("photo", lambda photo: photo)]
    kinds += [("blur", partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=sigma)) for sigma in BLURS]
    for length in SHAKES:
        kinds += [("shake", partial(cv2.blur, ksize=size)) for size in ((length, 1), (1, length))]
    kinds += [("light", partial(lit, mean=mean)) for mean in MEANS]
    number = 0
    for made_by, change in tqdm(kinds, "Photos", disable=None):
        for photo, pixels in enumerate(photos):
            changed = change(pixels)
            (folder / f"{number}.png").write_bytes(aligned_photos.encode_png(changed))
            number += 1
            yield measured(photo, made_by, changed)


def lit(photo: np.ndarray, mean: float) -> np.ndarray:
    """A photo, uint8 RGB, with the gain that brings its face to a mean luma; it clips at 255."""
    low, high = 1e-2, 1e2
    for _ in range(20):
        gain = np.sqrt(low * high)
        changed = cv2.convertScaleAbs(photo, alpha=gain)
        low, high = (gain, high) if capture.brightness(changed) < mean else (low, gain)
    return changed


def measured(photo: int, made_by: str, pixels: np.ndarray) -> Picture:
    """A picture's numbers."""
    return Picture(photo, made_by, capture.sharpness(pixels), capture.brightness(pixels))


def as_judged(pictures: list[Picture], paths: list[Path], people: np.ndarray) -> JudgedPhotos:
    """The pictures for the models, which read no landmarks."""
    photos = [picture.photo for picture in pictures]
    return JudgedPhotos(
        PHOTOS,
        [f"{number}.png" for number in range(len(pictures))],
        people[photos],
        [paths[photo].name for photo in photos],
        np.zeros((len(pictures), 136), int),
    )


def on_cards(judged: JudgedPhotos, settings: parameters.Parameters) -> JudgedPhotos:
    """The faces found on cards with the photos as they are, whatever their quality."""
    rows = np.repeat(np.arange(PEOPLE * EACH)[:, None], 2, axis=1)  # the second is not looked at
    pairs = VerificationPairs(rows, judged.identities[rows], np.ones(len(rows), bool))
    limits = {"min_sharpness": 0, "min_brightness": 0, "max_brightness": 255}
    cards = evaluate.cards_of(settings)
    cards = cards._replace(limits=cards.limits.model_copy(update=limits))
    return card_condition.put_on_cards(judged, pairs, cards, evaluate.CACHE, settings.workers).faces


def pictures_of(cards: JudgedPhotos, judged: JudgedPhotos) -> list[Picture]:
    """What `capture` measures of the faces on cards."""
    photo_of = {source: photo for photo, source in enumerate(judged.sources[: PEOPLE * EACH])}
    return [
        measured(photo_of[source], CARD, aligned_photos.decode_aligned(cards.read(name)))
        for source, name in zip(cards.sources, cards.names, strict=True)
    ]


def pairs_of(pictures: list[Picture], people: np.ndarray) -> VerificationPairs:
    """Each picture with the person's other photos as they are, and with IMPOSTORS of others."""
    rng = np.random.default_rng(SEED)
    own = [np.flatnonzero(people == person) for person in range(PEOPLE)]
    others = [np.flatnonzero(people != person) for person in range(PEOPLE)]
    pairs = []
    for row, picture in enumerate(pictures):
        person = people[picture.photo]
        genuine = own[person][own[person] != picture.photo]
        impostor = rng.choice(others[person], IMPOSTORS, replace=False)
        pairs += [(row, other) for other in (*genuine, *impostor)]
    photos = np.array(pairs)
    of_first = people[[picture.photo for picture in pictures]][photos[:, 0]]
    identities = np.stack([of_first, people[photos[:, 1]]], axis=1)
    return VerificationPairs(photos, identities, identities[:, 0] == identities[:, 1])


def thetas(
    parts: list[JudgedPhotos], pairs: VerificationPairs, settings: parameters.Parameters
) -> np.ndarray:
    """The ensemble's theta of each pair, radians."""
    theta = np.zeros(len(pairs.same))
    for name, weight in settings.ensemble_weights.items():
        member = store.load(members.MODELS / name)
        tails = [member_outputs(member, part, evaluate.CACHE)[0] for part in parts]
        theta += weight * verification.thetas(np.concatenate(tails), pairs.photos)
    return theta


def error_rates(
    compared: Compared,
    limit: float,
    measure: str,
    ends: tuple[float, ...],
    conditions: dict[str, str],
) -> dict[str, dict[str, dict]]:
    """FMR and FNMR at `limit` by what `capture` measures: condition -> range -> figures.

    `conditions` maps a condition to how its pictures were made; photos as they are belong to each
    but that of cards.
    """
    pictures, pairs, theta = compared
    values = np.array([getattr(picture, measure) for picture in pictures])[pairs.photos[:, 0]]
    made_by = np.array([picture.made_by for picture in pictures])[pairs.photos[:, 0]]
    found = {}
    for condition, how in conditions.items():
        chosen = np.isin(made_by, [how] if how == CARD else [how, "photo"])
        own = values[chosen]
        groups = {f"{a:g} to {b:g}": (own >= a) & (own < b) for a, b in pairwise(ends)}
        found[condition] = metrics.group_error_rates(
            theta[chosen],
            pairs.same[chosen],
            pairs.identities[chosen],
            {name: mask for name, mask in groups.items() if mask.any()},
            limit,
            Resampling(RESAMPLES, SEED),
        )
    return found


if __name__ == "__main__":
    script.run(main)
