"""The condition "card": the first photo of each pair is a phone's photo of a printed card.

Each card goes through the face search, the quality checks and the alignment of `verify`, as a
user's would. A pair whose card gets no answer counts as refused.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from faceverify.base.digests import sha256
from faceverify.base.errors import InputError
from faceverify.base.files import replacing_folder
from faceverify.base.row_store import RowStore
from faceverify.base.schema import Capture
from faceverify.base.workers import results
from faceverify.cards import phone
from faceverify.cards.effects import Effects
from faceverify.evaluation import bootstrap, metrics
from faceverify.evaluation.bootstrap import Resampling
from faceverify.evaluation.judged_photos import JudgedPhotos
from faceverify.evaluation.summary import CARD_FIGURES, ENDS
from faceverify.evaluation.verification import VerificationPairs
from faceverify.faces.aligned_photos import decode_aligned, encode_png
from faceverify.faces.alignment import alignment_matrix
from faceverify.faces.landmarks import flatten
from faceverify.verify import camera_photos
from faceverify.verify.capture import find_face
from faceverify.verify.refusals import CaptureError

# The score of a pair without an answer: above every theta and every distance of descriptors.
REFUSED = 4.0
# Change this when a card, or what is found on it, is another for the same photo.
FORMAT = "1"
# Scores (P,) of pairs (P, 2) of rows of embeddings (n, units).
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Cards(NamedTuple):
    """What decides the cards, and whether a face on one can be used."""

    effects: Effects
    seed: int
    landmark_model: Path  # dlib's 68-point model
    limits: Capture


class CardFace(NamedTuple):
    """What `verify` found on a card: an aligned face and its landmarks, or the reason for none."""

    refusal: str  # the code of a CaptureError, or empty
    aligned: bytes  # PNG
    landmarks: np.ndarray  # (136,) pixels of the aligned face: the 68 x's, then the 68 y's


class CardPairs(NamedTuple):
    """The pairs of a split with cards in place of their first photos.

    `cards` are those that got an answer, as aligned photos. `rows` (P, 2) are each pair's places
    among the judged photos with these cards behind them; the first is -1 without an answer.
    `refusals` maps the code of a reason to how many pairs it leaves without an answer.
    """

    cards: JudgedPhotos
    rows: np.ndarray
    refusals: dict[str, int]


def card_pairs(
    judged: JudgedPhotos, pairs: VerificationPairs, cards: Cards, cache: Path, workers: str
) -> CardPairs:
    """Put the first photo of each pair on a card and look for the face there.

    `cache` keeps what was found on each card, under the hash of all that decides it; `workers` is
    who looks, see `base.workers`. Raises InputError for a cache that is damaged.
    """
    firsts, first_of = np.unique(pairs.photos[:, 0], return_inverse=True)
    faces = _card_faces(judged, firsts, cards, cache, workers)
    answered = [i for i, face in enumerate(faces) if not face.refusal]
    place = np.full(len(firsts), -1)
    place[answered] = len(judged.names) + np.arange(len(answered))
    rows = np.stack([place[first_of.reshape(-1)], pairs.photos[:, 1]], axis=1)
    codes = [faces[i].refusal for i in first_of.reshape(-1).tolist()]
    refusals = {code: codes.count(code) for code in sorted({*codes} - {""})}
    found = [(int(firsts[i]), faces[i]) for i in answered]
    return CardPairs(_as_photos(cache / "card-faces", judged, found), rows, refusals)


def card_scores(
    photos: np.ndarray, cards: np.ndarray, rows: np.ndarray, score: Score
) -> np.ndarray:
    """Scores (P,) of the pairs `rows` of CardPairs, REFUSED where there is no answer.

    `photos` (n, units) and `cards` (m, units) are the embeddings of the judged photos and of the
    cards, `score` is that of two embeddings: `verification.thetas` or `distances`.
    """
    answered = rows[:, 0] >= 0
    found = np.full(len(rows), REFUSED)
    found[answered] = score(np.concatenate([photos, cards]), rows[answered])
    return found


def card_report(
    scores: np.ndarray,
    found: CardPairs,
    pairs: VerificationPairs,
    thresholds: metrics.Thresholds,
    resampling: Resampling,
) -> dict[str, float | int | dict[str, int] | None]:
    """CARD_FIGURES of one model with their intervals, and why pairs have no answer."""
    figures = metrics.measure(scores, pairs.same, pairs.identities, thresholds, resampling)
    silent = found.rows[:, 0] < 0
    no_answer = metrics.share(silent, pairs.same, pairs.identities, resampling)
    figures |= bootstrap.flat({"no_answer": no_answer})
    kept = {f"{name}{end}": figures[f"{name}{end}"] for name in CARD_FIGURES for end in ENDS}
    return kept | {"cards": len(np.unique(pairs.photos[:, 0])), "refusals": found.refusals}


def _card_faces(
    judged: JudgedPhotos, rows: np.ndarray, cards: Cards, cache: Path, workers: str
) -> list[CardFace]:
    made_by = f"{FORMAT} {cards.effects.model_dump_json()} {cards.limits.model_dump_json()}"
    made_by += f" {cards.seed} {sha256(cards.landmark_model)} OpenCV {cv2.__version__}"
    file = cache / sha256(made_by) / "cards.sqlite"
    file.parent.mkdir(parents=True, exist_ok=True)
    encoded = {judged.sources[row]: judged.read(judged.names[row]) for row in rows.tolist()}
    keys = {source: (sha256(source, data),) for source, data in encoded.items()}
    try:
        with closing(RowStore(file, made_by, ("photo",), ("refusal", "face", "points"))) as store:
            store.expect(keys.values())
            waiting = set(store.waiting())
            new = [source for source, key in keys.items() if key in waiting]
            jobs = (joblib.delayed(look)(encoded[source], source, cards) for source in new)
            bar = tqdm(
                results(jobs, workers), "Photos of cards", len(new), unit="card", disable=None
            )
            for source, face in zip(new, bar, strict=True):
                points = face.landmarks.astype("<i4").tobytes()
                store.put([(*keys[source], face.refusal, face.aligned, points)])
            return [_kept(store, keys[source], source) for source in encoded]
    except sqlite3.Error as error:
        raise InputError(f"{file}: {error}; remove it and run the same command again") from None


def _kept(store: RowStore, key: tuple[str], source: str) -> CardFace:
    refusal, aligned, points = store.get(key, source)
    return CardFace(refusal, aligned, np.frombuffer(points, "<i4"))


def look(encoded: bytes, source: str, cards: Cards) -> CardFace:
    """Print a face on a card, photograph it, and look for it as `verify` does.

    `encoded` is the aligned photo's file and `source` the name that the card is drawn from.
    """
    photo = phone.photographed_card(decode_aligned(encoded), cards.effects, cards.seed, source)
    try:
        face = find_face(
            camera_photos.decode(photo), cards.landmark_model, cards.limits, any_side=True
        )
    except CaptureError as error:
        return CardFace(error.code, b"", np.empty(0, int))
    matrix = alignment_matrix(face.points)
    points = face.points @ matrix[:, :2].T + matrix[:, 2]
    return CardFace("", encode_png(face.aligned), np.array(flatten(np.rint(points).astype(int))))


def _as_photos(
    folder: Path, judged: JudgedPhotos, found: Sequence[tuple[int, CardFace]]
) -> JudgedPhotos:
    """Faces found on cards, as files of a folder; each with the row of the photo on its card."""
    rows = [row for row, _ in found]
    names = [f"{row}.png" for row in rows]
    with replacing_folder(folder) as temporary:
        for name, (_, face) in zip(names, found, strict=True):
            (temporary / name).write_bytes(face.aligned)
    landmarks = np.array([face.landmarks for _, face in found], int)
    return JudgedPhotos(
        folder,
        names,
        judged.identities[rows],
        [judged.sources[row] for row in rows],
        landmarks.reshape(len(rows), judged.landmarks.shape[1]),
    )
