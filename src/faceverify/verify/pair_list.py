"""Score a list of photo pairs: each photo once, on all cores, in bounded memory."""

import csv
import sqlite3
import stat
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from faceverify.base import digests, files, output
from faceverify.base.errors import InputError
from faceverify.base.row_store import why_unusable
from faceverify.base.text_lines import numbered_lines
from faceverify.verify import workers
from faceverify.verify.embedding import Embedding
from faceverify.verify.embedding_store import EmbeddingStore, StoredEmbedding, stamp
from faceverify.verify.refusals import CaptureError, UnreadablePhotoError
from faceverify.verify.verifier import ACCEPT, COPY, REJECT, SLOTS, Verifier

COLUMNS = (*SLOTS, "theta", "decision", "error")
ROWS_AT_ONCE = 4096  # bounds the memory
IDENTICAL = "warning: both photos are one and the same file"
COPIED = "warning: both photos seem to be one photo, turned, scaled or encoded again"


def score(
    verifier: Verifier, pairs: Path, out: Path, threshold: float, *, allow_several: bool = False
) -> Counter[str]:
    """Score the pairs of a CSV file into another; gives the number of rows by decision.

    `pairs` has the columns `first,second`, the paths of an identity card's photo and of a live
    one; `out` gets `first,second,theta,decision,error`, a row for each, in the same order. A
    photo that cannot be used leaves theta and the decision of its rows empty and says why. What
    was embedded is kept in a file beside `out` until all is done: a run that was killed goes on
    from there. Raises InputError, naming file and line, for a list that is none, and for an
    `out` that is the list, a photo of it or no regular file.
    """
    if not stat.S_ISREG(pairs.stat().st_mode):
        raise InputError(f"{pairs} is read several times; write the list to a regular file first")
    deque(_rows(pairs), maxlen=0)  # what is wrong with it is told before any work
    named = (cell for cells in _rows(pairs) for cell in cells)
    out = output.path_to_write(out, {"the list itself": [pairs], "a photo of the list": named})
    out.parent.mkdir(parents=True, exist_ok=True)
    progress = out.with_name(f".{out.stem}.tmp-progress")
    made_by = digests.sha256(verifier.description.model_dump_json(), str(allow_several))
    try:
        with closing(EmbeddingStore(progress, made_by)) as store:
            rows = (cells for cells in _rows(pairs) if not _fault(cells))
            store.expect(named for cells in rows for named in zip(cells, SLOTS, strict=True))
            _embed(verifier, store, allow_several)
            decisions = _write(verifier, pairs, store, out, threshold)
            progress.unlink()  # while it is held: afterwards it may be that of another run
    except sqlite3.Error as error:
        in_use = f"another run writes {out} now; wait until it has ended, or choose another --out"
        raise InputError(why_unusable(progress, error, in_use)) from None
    return decisions


def _rows(path: Path) -> Iterator[list[str]]:
    """The rows below the heading, but for blank lines."""
    rows = _cells(path)
    heading = next(rows, None)
    if heading != list(SLOTS):
        raise InputError(f"{path}, line 1: expected the columns {','.join(SLOTS)}{_found(heading)}")
    yield from rows


def _found(heading: list[str] | None) -> str:
    """What a list has in place of its heading, in words that follow what was expected."""
    if heading is None:
        return ", and the file is empty"
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if sign in heading[0]:
            return f", with commas between the cells, and found {name}; save it with commas"
    return f", and found {','.join(heading)}"


def _cells(path: Path) -> Iterator[list[str]]:
    """The cells of each line by itself: a quote that is left open swallows no other rows."""
    for number, line in numbered_lines(path):
        try:
            yield next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise InputError(
                f"{path}, line {number}: {error}; a quoted cell ends with a quote, on its line"
            ) from None


def _fault(cells: list[str]) -> str:
    """What is wrong with a row; empty for a good one."""
    if len(cells) != len(SLOTS):
        return f"the row has {len(cells)} cells, not {len(SLOTS)}"
    if not all(cells):
        return "the row does not name two photos"
    return " / ".join(
        f"{slot}: {UnreadablePhotoError.code}: the path holds characters that cannot be printed"
        for slot, cell in zip(SLOTS, cells, strict=True)
        if _printable(cell) != cell
    )


def _printable(cell: str) -> str:
    """The cell with what cannot be printed escaped.

    A space of another width, which names of screenshots have, can be.
    """
    if cell.isprintable():
        return cell
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in cell
    )


def _embed(verifier: Verifier, store: EmbeddingStore, allow_several: bool) -> None:
    """Embed all photos of the list that are not embedded yet."""
    from tqdm import tqdm  # takes time and memory that two photos do not need

    def found(item: tuple[str, list[str]]) -> tuple[str, str, dict[str, StoredEmbedding]]:
        photo, slots = item
        return photo, stamp(photo), _faces(verifier, photo, slots, allow_several)

    done, total = store.counts()
    with (
        closing(workers.results(found, store.waiting())) as embedded,
        tqdm(desc="Photos", initial=done, total=total, unit="photo", disable=None) as bar,
    ):
        for rows in embedded:
            store.put(*rows)
            bar.update()


def _faces(
    verifier: Verifier, photo: str, slots: list[str], allow_several: bool
) -> dict[str, StoredEmbedding]:
    """Embed a photo for each of its slots, or say why it cannot be used there."""
    found: dict[str, StoredEmbedding] = {}
    embedding: Embedding | None = None
    for slot in slots:
        # The face that the card's search found upright is the one that a live photo's finds.
        if embedding is None or embedding.face.turns:
            try:
                embedding = verifier.embed(
                    photo, any_side=slot == "first", allow_several=allow_several
                )
            except CaptureError as error:
                found[slot] = StoredEmbedding(None, "", f"{error.code}: {error}")
                continue
        found[slot] = StoredEmbedding(embedding.vector, embedding.digest, "")
    return found


def _write(
    verifier: Verifier, pairs: Path, store: EmbeddingStore, out: Path, threshold: float
) -> Counter[str]:
    decisions: Counter[str] = Counter()
    with (
        files.replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = _rows(pairs)
        while part := list(islice(rows, ROWS_AT_ONCE)):
            for row in _scored(verifier, part, store, threshold):
                decisions[row[COLUMNS.index("decision")]] += 1
                writer.writerow([output.spreadsheet_cell(_printable(cell)) for cell in row])
    return decisions


def _scored(
    verifier: Verifier, rows: list[list[str]], store: EmbeddingStore, threshold: float
) -> Iterable[list[str]]:
    """The rows of the result for some rows of the list."""
    results, vectors, places = [], [], []
    for cells in rows:
        if fault := _fault(cells):
            results.append([*[*cells, ""][: len(SLOTS)], "", "", fault])
            continue
        kept = [store.get(cell, slot) for cell, slot in zip(cells, SLOTS, strict=True)]
        faults = [f"{slot}: {k.error}" for slot, k in zip(SLOTS, kept, strict=True) if k.error]
        if not faults:
            places.append(len(results))
            vectors.append([k.vector for k in kept])
            if kept[0].digest == kept[1].digest:
                faults = [IDENTICAL]
        results.append([*cells, "", "", " / ".join(faults)])
    if places:
        first, second = np.stack(vectors, axis=1)
        theta, _ = verifier.network.compare(first, second)
        for place, value in zip(places, theta, strict=True):
            results[place][2:4] = [f"{value:.6f}", ACCEPT if value < threshold else REJECT]
            if value < COPY and not results[place][4]:
                results[place][4] = COPIED
    return results
