"""Readers of what an app has, in a folder with an exported verifier: the argument `app`."""

import itertools
import json
from pathlib import Path

from hypothesis import strategies as st

from faceverify.base import digests
from faceverify.base.errors import InputError
from hostile import NAMES, json_bombs
from readers.reader import SAMPLE, Reader, as_json, changed, reader


@reader
def verifier_description(app: Path) -> Reader:
    from faceverify.verify import verifier_file

    text = (app / "models/verifier.json").read_bytes()

    def read(path: Path) -> None:
        found = verifier_file.read(path)
        assert 0 <= found.threshold <= 3.1416
        assert len(found.members) == len({member.name for member in found.members})

    drawn = changed(json.loads(text)).map(as_json)
    return Reader("verifier.json", [text], read, drawn, json_bombs("members"))


@reader
def verifier_model(app: Path) -> Reader:
    import shutil

    from faceverify.verify import verifier_file

    def read(path: Path) -> None:
        if not path.with_name("verifier.json").exists():
            shutil.copy(app / "models/verifier.json", path.parent)
        verifier_file.load(path.with_name("verifier.json"))
        assert path.read_bytes() == model

    model = (app / "models/verifier.tflite").read_bytes()
    return Reader(
        "verifier.tflite", [model], read, bombs=[b"", model[:-1], model + b"\0"], share=0.2
    )


@reader
def list_of_pairs(app: Path) -> Reader:
    import csv
    import io

    from faceverify.verify import pair_list
    from faceverify.verify.verifier import Verifier

    verifier = Verifier.load(app / "models/verifier.json")
    shots = [str(SAMPLE / f"img_align_celeba/{n:06d}.png") for n in (1, 2, 11)]
    rows = [*itertools.pairwise(shots), (shots[0], "/dev/zero"), (str(SAMPLE), "=1+1")]

    def read(path: Path) -> None:
        out = path.with_name("scores.csv")
        out.unlink(missing_ok=True)
        try:
            pair_list.score(verifier, path, out, 0.6)
        except InputError:
            assert not out.exists()
            raise
        for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"), newline="")):
            assert not any(cell.startswith(tuple("=+-@\t\r\n")) for cell in row.values())
            assert (row["theta"] == "") == (row["decision"] == "")
            assert row["decision"] or row["error"]

    seed = "\n".join(",".join(cells) for cells in [pair_list.SLOTS, *rows]).encode()
    cell = st.sampled_from(shots) | st.sampled_from(NAMES).filter(lambda name: "\ud800" not in name)

    def as_csv(chosen: list[tuple[str, str]]) -> bytes:
        file = io.StringIO()
        csv.writer(file).writerows([pair_list.SLOTS, *chosen])
        return file.getvalue().encode()

    drawn = st.lists(st.tuples(cell, cell), max_size=3).map(as_csv)
    bombs = [
        b"first,second\n" + b"a" * 10**6 + b",b\n",
        b'first,second\n"',
        b"first,second\n\0,\0\n",
    ]
    return Reader("pairs.csv", [seed], read, drawn, bombs, share=0.2)


@reader
def kept_embeddings(app: Path) -> Reader:
    from contextlib import closing

    from faceverify.verify import pair_list
    from faceverify.verify.embedding_store import EmbeddingStore, StoredEmbedding, stamp
    from faceverify.verify.verifier import Verifier

    verifier = Verifier.load(app / "models/verifier.json")
    shots = [str(SAMPLE / f"img_align_celeba/{n:06d}.png") for n in (1, 2, 11)]
    pairs = app / "kept-pairs.csv"
    rows = [",".join(cells) for cells in [pair_list.SLOTS, *itertools.pairwise(shots)]]
    pairs.write_text("\n".join(rows))
    made_by = digests.sha256(verifier.description.model_dump_json(), str(False))
    progress = app / ".kept.tmp-progress"
    with closing(EmbeddingStore(progress, made_by)) as store:
        for shot in shots:
            found = verifier.embed(shot, any_side=True)
            kept = StoredEmbedding(found.vector, found.digest, "")
            store.put(shot, stamp(shot), dict.fromkeys(pair_list.SLOTS, kept))
    seed = progress.read_bytes()
    pair_list.score(verifier, pairs, app / "kept.csv", 0.6)
    scores = (app / "kept.csv").read_bytes()

    def read(path: Path) -> None:
        out = path.with_name("scores.csv")
        out.unlink(missing_ok=True)
        try:
            pair_list.score(verifier, pairs, out, 0.6)
        except InputError:
            assert not out.exists()
            raise
        assert out.read_bytes() == scores

    return Reader(".scores.tmp-progress", [seed], read, share=0.5)
