"""The condition "card": the first photo of each pair is a phone's photo of a printed card.

Each card goes through the face search, the quality checks and the alignment of `verify`, as a
user's would.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
import keras
import numpy as np
from tqdm import tqdm

from faceverify.base.digests import sha256
from faceverify.base.errors import InputError
from faceverify.base.files import replacing_folder
from faceverify.base.row_store import RowStore, why_unusable
from faceverify.base.workers import results
from faceverify.evaluation.card_faces import CardFace, Cards, face_on_card
from faceverify.evaluation.judged_photos import JudgedPhotos
from faceverify.evaluation.verification import NO_PHOTO, VerificationPairs
from faceverify.model import features
from faceverify.verify import face_networks
from faceverify.verify.refusals import DoubtfulError

# Change this when a card, or what is found on it, is another for the same photo.
FORMAT = "5"


class CardPairs(NamedTuple):
    """Pairs with cards in place of their first photos.

    `faces`: what was found on the cards, as aligned photos. `pairs`: the pairs, whose rows are
    those of the judged photos with these faces behind them, NO_PHOTO for a card without an answer.
    `cards`: how many cards there are. `refusals`: why cards have no answer, code -> how many.
    """

    faces: JudgedPhotos
    pairs: VerificationPairs
    cards: int
    refusals: dict[str, int]


def put_on_cards(
    judged: JudgedPhotos, pairs: VerificationPairs, cards: Cards, cache: Path, workers: str
) -> CardPairs:
    """Put the first photo of each pair on a card and look for the face there.

    `cache` is the folder where what was found on each card is kept, under the hash of all that
    decides it; `workers` is who looks, see `base.workers`. Raises InputError for a cache that is
    damaged, and as `results` does.
    """
    firsts, first_of = np.unique(pairs.photos[:, 0], return_inverse=True)
    folder, found, codes = cache / "card-faces", [], []
    with replacing_folder(folder) as temporary:
        for row, face in zip(firsts, _faces(judged, firsts, cards, cache, workers), strict=True):
            codes.append(face.refusal)
            if not face.refusal:
                (temporary / f"{row}.png").write_bytes(face.aligned)
                found.append(face.landmarks)
    answered = np.array([not code for code in codes], bool)
    places = np.where(answered, len(judged.names) + np.cumsum(answered) - 1, NO_PHOTO)
    photos = np.stack([places[first_of.reshape(-1)], pairs.photos[:, 1]], axis=1)
    refusals = {code: codes.count(code) for code in sorted({*codes} - {""})}
    faces = _as_photos(folder, judged, firsts[answered], found)
    return CardPairs(faces, pairs._replace(photos=photos), len(firsts), refusals)


def without_doubtful(
    found: CardPairs, photos: int, network: keras.Model, least: float
) -> CardPairs:
    """Refuse the faces on cards whose quality is below `least`, as `verify` does.

    `photos` is the number of judged photos, whose rows come before those of the faces; `network`
    that of `model.quality`.
    """
    values = [*features.run_photos(network, found.faces.names, found.faces.read), np.empty((0, 1))]
    doubtful = np.concatenate(values)[:, 0] < least
    rows = found.pairs.photos.copy()
    there = np.flatnonzero(rows[:, 0] != NO_PHOTO)
    rows[there[doubtful[rows[there, 0] - photos]], 0] = NO_PHOTO
    refusals = found.refusals | {DoubtfulError.code: int(doubtful.sum())}
    return found._replace(
        pairs=found.pairs._replace(photos=rows),
        refusals={code: refusals[code] for code in sorted(refusals) if refusals[code]},
    )


def _faces(
    judged: JudgedPhotos, rows: np.ndarray, cards: Cards, cache: Path, workers: str
) -> Iterator[CardFace]:
    """What is on the card of each photo, one after the other: from the cache where it is known."""
    made_by = f"{FORMAT} {cards.effects.model_dump_json()} {cards.limits.model_dump_json()}"
    models = *face_networks.paths(cards.networks), cards.landmark_model
    made_by += f" {cards.seed} {sha256(*models)} OpenCV {cv2.__version__}"
    file = cache / f"cards-{sha256(made_by)}.sqlite"
    cache.mkdir(parents=True, exist_ok=True)
    sources = [judged.sources[row] for row in rows]
    paths = [judged.folder / judged.names[row] for row in rows]
    keys = [(sha256(source, path),) for source, path in zip(sources, paths, strict=True)]
    try:
        with closing(RowStore(file, made_by, ("photo",), ("refusal", "face", "points"))) as store:
            store.expect(keys)
            waiting = set(store.waiting())
            new = [i for i, key in enumerate(keys) if key in waiting]
            jobs = (joblib.delayed(face_on_card)(paths[i], sources[i], cards) for i in new)
            made = results(jobs, workers)
            bar = tqdm(made, "Photos of cards", len(new), unit="card", disable=None)
            for i, face in zip(new, bar, strict=True):
                points = face.landmarks.astype("<i4").tobytes()
                store.put([(*keys[i], face.refusal, face.aligned, points)])
            for key, source in zip(keys, sources, strict=True):
                refusal, aligned, points = store.get(key, source)
                yield CardFace(refusal, aligned, np.frombuffer(points, "<i4"))
    except sqlite3.Error as error:
        raise InputError(why_unusable(file, error)) from None


def _as_photos(
    folder: Path, judged: JudgedPhotos, rows: np.ndarray, landmarks: Sequence[np.ndarray]
) -> JudgedPhotos:
    """Faces found on the cards of some photos, which lie in `folder` by the photos' rows."""
    return JudgedPhotos(
        folder,
        [f"{row}.png" for row in rows],
        judged.identities[rows],
        [judged.sources[row] for row in rows],
        np.array(landmarks, int).reshape(len(rows), judged.landmarks.shape[1]),
    )
