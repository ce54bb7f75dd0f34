"""Labelled pairs scored by the verifier, and by dlib beside it: each photo once, taken up again."""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base import digests, files
from faceverify.base.output import spreadsheet_cell
from faceverify.judge.labelled_pairs import LabelledPairs
from faceverify.judge.lists import LABEL
from faceverify.judge.subject import Subject
from faceverify.verify import pair_list
from faceverify.verify.embedding_store import stamp
from faceverify.verify.verifier import SLOTS

THETA, DLIB, IDENTICAL = "theta", "dlib", "identical"
NO_ANSWER = tuple(f"no_answer_{slot}" for slot in SLOTS)
COLUMNS = (*SLOTS, LABEL, THETA, DLIB, *NO_ANSWER, IDENTICAL)
# What `pair_list` says of a photo that cannot be used: its slot, and the code of the reason.
_FAULT = re.compile(rf"(?:^| / )({'|'.join(SLOTS)}): (\w+): ")


class Scores(NamedTuple):
    """What P pairs score.

    `theta`: float64 (P,), radians, NaN without an answer. `distance`: dlib's, in the same way;
    None where dlib is not judged. `reasons`: codes of CaptureErrors. `reason`: int8 (P, 2), places
    among them of what is wrong with the first and the second photo, -1 for nothing. `identical`:
    bool (P,), whether both photos are one file, byte by byte.
    """

    theta: np.ndarray
    distance: np.ndarray | None
    reasons: list[str]
    reason: np.ndarray
    identical: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """Which pairs have an answer, bool (P,)."""
        return ~np.isnan(self.theta)

    def without(self, left_out: np.ndarray) -> "Scores":
        """The scores of the pairs but for those of a mask, bool (P,)."""
        kept = ~left_out
        distance = None if self.distance is None else self.distance[kept]
        return Scores(
            self.theta[kept], distance, self.reasons, self.reason[kept], self.identical[kept]
        )


def write_list(path: Path, pairs: LabelledPairs) -> None:
    """Write the list as `pair_list` reads it: the paths of both photos of each pair."""
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(SLOTS)
        writer.writerows((pairs.path(one), pairs.path(other)) for one, other in pairs.pairs)


def key(list_file: Path, pairs: LabelledPairs, settings: str) -> str:
    """A hash of all that scores depend on: the list, the photos' files, and the judged subject."""
    stamps = (stamp(pairs.path(photo)) for photo in range(len(pairs.photos)))
    return digests.sha256(settings, list_file, "\n".join(stamps))


def score(subject: Subject, list_file: Path, out: Path) -> Scores:
    """Score the pairs of a list that `write_list` wrote.

    `out`, the result of `pair_list.score`, is written on the way; beside it lies what a killed run
    has embedded. Raises InputError as `pair_list.score` does.
    """
    pair_list.score(subject, list_file, out, subject.description.threshold)
    found = _read_scored(out)
    out.unlink()
    if subject.dlib is None:
        return found
    distance = np.full(len(found.theta), np.nan)
    # The network compares the pairs that have an answer, in the order of the list.
    distance[found.answered] = np.concatenate([np.empty(0), *subject.network.distances])
    return found._replace(distance=distance)


def _read_scored(path: Path) -> Scores:
    """The result of `pair_list.score`."""

    def parsed(row: dict[str, str]) -> tuple[str, str, list[str], bool]:
        said = row["error"]
        faults = dict(_FAULT.findall(said))
        return row[THETA], "", [faults.get(slot, "") for slot in SLOTS], said == pair_list.IDENTICAL

    return _collected(map(parsed, _rows(path)), beside=False)


def read(path: Path) -> Scores:
    """Scores that `write` wrote."""

    def parsed(row: dict[str, str]) -> tuple[str, str, list[str], bool]:
        reasons = [row[column] for column in NO_ANSWER]
        return row[THETA], row.get(DLIB, ""), reasons, bool(row[IDENTICAL])

    rows = _rows(path)
    return _collected(map(parsed, rows), beside=DLIB in _columns(path))


def _columns(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _collected(rows: Iterator[tuple[str, str, list[str], bool]], beside: bool) -> Scores:
    """Arrays of rows of theta, dlib's distance, the codes of both slots, and identity."""
    reasons: dict[str, int] = {"": -1}
    parts = []
    while part := list(islice(rows, 10_000)):
        numbers = [[float(cell or "nan") for cell in row[:2]] for row in part]
        codes = [[reasons.setdefault(code, len(reasons) - 1) for code in row[2]] for row in part]
        same_file = [row[3] for row in part]
        parts.append((np.array(numbers), np.array(codes, np.int8), np.array(same_file, bool)))
    numbers, codes, same_file = (np.concatenate(column) for column in zip(*parts, strict=True))
    distance = numbers[:, 1] if beside else None
    return Scores(numbers[:, 0], distance, list(reasons)[1:], codes, same_file)


def write(path: Path, pairs: LabelledPairs, scores: Scores) -> None:
    """Write the pairs with their scores as CSV: COLUMNS, without DLIB where it is not judged."""
    beside = scores.distance is not None
    codes = [*scores.reasons, ""]  # the last one for -1
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow([column for column in COLUMNS if beside or column != DLIB])
        for i, (one, other) in enumerate(pairs.pairs):
            names = [spreadsheet_cell(pairs.photos[k]) for k in (one, other)]
            numbers = [scores.theta[i], *([scores.distance[i]] if beside else [])]
            writer.writerow(
                [*names, int(pairs.same[i])]
                + ["" if np.isnan(number) else f"{number:.6f}" for number in numbers]
                + [codes[place] for place in scores.reason[i]]
                + [1 if scores.identical[i] else ""]
            )
