"""A list judged from its file to its report, which is written whole or not at all."""

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from tqdm import tqdm

from faceverify.base import digests, files
from faceverify.base.errors import GivenFileError, InputError
from faceverify.faces import dlib_descriptor, landmarks
from faceverify.judge import different_people, lists, page, report, scoring
from faceverify.judge.card_effects import EFFECTS
from faceverify.judge.figures import ALL
from faceverify.judge.labelled_pairs import LabelledPairs
from faceverify.judge.report import Question
from faceverify.judge.scoring import Scores
from faceverify.judge.subject import CardPrinter, DlibModels, Subject
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import SLOTS, Verifier

PAGE, VALUES, SCORES = "index.html", "report.json", "scores.csv"
# Draws the cards, and the pairs of a folder of different people.
SEED = 2356
# Suspected labels whose pictures are shown.
SHOWN = 24
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 80)


class Request(NamedTuple):
    """What a user asks for; see `faceverify judge --help`."""

    pairs: Path | None
    different_people: Path | None
    photos: Path | None
    groups: Path | None
    draw: int | None
    card: bool
    beside: Path | None  # the folder of a verifier.json, where dlib's models are looked for
    wrong_labels: Path | None
    fmr: Fraction | None
    out: Path


def judge(request: Request, verifier: Verifier) -> dict[str, Any]:
    """Judge a verifier and write `out`: a page, its values, and the scores; gives the values.

    Beside `out` lies a folder with what is done so far, for a run that goes on; it is removed at
    the end. Raises InputError for a list, folder or option that cannot be used, for an `out` that
    holds something else, and for damaged progress.
    """
    out = _output_folder(request.out)
    pairs = _read(request)
    wrong = None
    if request.wrong_labels is not None:
        wrong = lists.wrong_labels(request.wrong_labels, pairs)
    subject = _subject(request, verifier, pairs.folder)
    work = out.with_name(f".{out.name}.tmp-judge")
    work.mkdir(parents=True, exist_ok=True)
    key, scores = _scores(subject, pairs, work, out)
    question = Question(verifier.description.threshold, request.fmr, wrong)
    found = report.make(pairs, scores, question)
    pictures = _pictures(subject, pairs, _shown(found))
    title = str(request.pairs or request.different_people)
    condition = "first photos on simulated cards" if request.card else "photos as they are"
    with files.replacing_folder(out) as folder:
        scoring.write(folder / SCORES, pairs, scores)
        found = {
            "list": title,
            "condition": condition,
            "scores": {"key": key, "sha256": digests.digest(folder / SCORES)},
            **found,
        }
        files.write_json(folder / VALUES, found, indent=1)
        (folder / PAGE).write_text(page.render(title, condition, found, pictures), "utf-8")
    shutil.rmtree(work)
    return found


def _output_folder(out: Path) -> Path:
    """Where the report goes; InputError where something lies that is no former report."""
    out = Path(os.path.realpath(out))
    if out.exists():
        if not out.is_dir():
            raise InputError(f"--out: {out} is no folder")
        others = sorted({path.name for path in out.iterdir()} - {PAGE, VALUES, SCORES})
        if others:
            raise InputError(f"--out: {out} holds {others[0]!r}, no part of a report; name another")
    return out


def _read(request: Request) -> LabelledPairs:
    if request.different_people is None:
        return lists.read(request.pairs, request.photos)
    wanted = different_people.PAIRS if request.draw is None else request.draw
    return different_people.read(request.different_people, request.groups, wanted, SEED)


def _subject(request: Request, verifier: Verifier, folder: Path) -> Subject:
    printer = CardPrinter(EFFECTS, SEED, folder) if request.card else None
    dlib = request.beside and _dlib_models(request.beside)
    return Subject(verifier, printer, dlib)


def _dlib_models(folder: Path) -> DlibModels:
    """dlib's two models, beside a verifier.json or in the data of its project."""
    places = folder, folder.parent / "data"
    place = next((place for place in places if (place / landmarks.PREDICTOR).is_file()), places[0])
    models = DlibModels(place / landmarks.PREDICTOR, place / dlib_descriptor.NETWORK)
    try:
        landmarks.check_predictor(models.predictor)
        dlib_descriptor.check_network(models.network)
    except GivenFileError as error:
        raise InputError(f"--beside dlib: {error}; put dlib's published file there") from None
    return models


def _scores(subject: Subject, pairs: LabelledPairs, work: Path, out: Path) -> tuple[str, Scores]:
    """The scores, and the hash of all they depend on; of a former or stopped run where it fits."""
    list_file = work / "pairs.csv"
    scoring.write_list(list_file, pairs)
    settings = subject.settings()
    key = scoring.key(list_file, pairs, settings)
    kept = work / f"scores-{key}.csv"
    if not kept.is_file() and _has_scores(out, key):
        shutil.copy(out / SCORES, kept)
    if not kept.is_file():
        scores = scoring.score(subject, list_file, work / f"{digests.sha256(settings)}.csv")
        scoring.write(kept, pairs, scores)
    return key, scoring.read(kept)


def _has_scores(out: Path, key: str) -> bool:
    """Whether the report in `out` has the scores of this key, as they were written."""
    with suppress(InputError, OSError, KeyError, TypeError):
        noted = files.read_json(out / VALUES)["scores"]
        return noted["key"] == key and noted["sha256"] == digests.digest(out / SCORES)
    return False


def _shown(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs whose pictures the page has."""
    worst = [pair for pairs in found["worst"].values() for pair in pairs]
    return [*worst, *found.get("suspected_labels", [])[:SHOWN]]


def _pictures(
    subject: Subject, pairs: LabelledPairs, shown: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], bytes]:
    """The faces of some pairs as JPEG, by slot and photo."""
    wanted = sorted({(slot, pair[slot]) for pair in shown for slot in SLOTS})

    def encoded(item: tuple[str, str]) -> bytes | None:
        slot, photo = item
        try:
            face = subject.aligned(str(pairs.folder / photo), first=slot == SLOTS[0])
        except CaptureError:
            return None  # its file has changed meanwhile
        return cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), JPEG)[1].tobytes()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(
            tqdm(pool.map(encoded, wanted), "Pictures", len(wanted), unit="photo", disable=None)
        )
    return {item: jpeg for item, jpeg in zip(wanted, made, strict=True) if jpeg is not None}


def told(found: Mapping[str, Any], out: Path) -> str:
    """The report in a few lines: where it is, and the rates at the threshold."""
    counts = found["pairs"]
    said = [
        f"{out / PAGE}: {counts['genuine']:,} pairs of one person, "
        f"{counts['impostor']:,} of different people"
    ]
    said.append(f"no answer: {_share(found['no_answer_share'], 'no_answer')}")
    for model, own in found["models"].items():
        rates = own["rates"][ALL]
        parts = [
            f"{rate.upper()} {_share(rates, rate)}"
            for rate in ("fmr", "fnmr")
            if rates[rate] is not None
        ]
        said.append(f"{model}: {', '.join(parts)}")
    return "\n".join(said)


def _share(figures: Mapping[str, float | None], name: str) -> str:
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    ends = "" if low is None else f" [{low:.2%}, {high:.2%}]"
    return f"{figures[name]:.2%}{ends}"
