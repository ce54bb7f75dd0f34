"""A list of pairs scored: a row for each row, each photo once, going on where it was killed."""

import csv
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceverify.base.errors import InputError
from faceverify.verify import pair_list
from faceverify.verify.verifier import COPY, Verifier
from helpers import ROOT, error_line, run_script, sample_photos
from phone import encoded, phone_photo

HEADING = ["first", "second", "theta", "decision", "error"]
EXPECTED = "pairs.csv, line 1: expected the columns first,second"
PROGRESS = ".scores.tmp-progress"


@pytest.fixture(scope="module")
def verifier(app_folder):
    return Verifier.load(app_folder / "models/verifier.json")


@pytest.fixture
def folder(sample, tmp_path, monkeypatch):
    """A folder with photos p0.jpg ... p5.jpg of three people, in which the test runs."""
    names = [name for names in sample_photos(sample, 3, 2).values() for name in names]
    for k, name in enumerate(names):
        photo = phone_photo(sample / "img_align_celeba" / name, 240, 320, 0.8)
        (tmp_path / f"p{k}.jpg").write_bytes(encoded(photo))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def embedded_photos(monkeypatch):
    """The photos that were embedded, in their order."""
    calls = []
    embed = Verifier.embed

    def counted(self, photo, **options):
        calls.append(str(photo))
        return embed(self, photo, **options)

    monkeypatch.setattr(Verifier, "embed", counted)
    return calls


def write(rows, name="pairs.csv") -> Path:
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADING[:2], *rows])
    return Path(name)


def score(verifier, rows, threshold=0.6, **options) -> list[list[str]]:
    pair_list.score(verifier, write(rows), Path("scores.csv"), threshold, **options)
    with Path("scores.csv").open(newline="", encoding="utf-8") as file:
        heading, *found = csv.reader(file)
    assert heading == HEADING
    return found


def test_a_row_comes_for_each_row_in_the_same_order(verifier, folder):
    rows = [("p0.jpg", "p1.jpg"), ("p0.jpg", "p4.jpg"), ("p0.jpg", "p1.jpg"), ("p3.jpg", "p2.jpg")]
    found = score(verifier, rows)
    assert [(row[0], row[1]) for row in found] == rows
    for first, second, theta, decision, error in found:
        expected = verifier.compare(first, second)
        assert float(theta) == pytest.approx(expected.theta, abs=2e-5)
        assert decision == ("accept" if expected.accepted else "reject")
        assert error == (pair_list.COPIED if expected.copied else "")
    assert not (folder / PROGRESS).exists()


def test_whatever_happens_to_a_row_it_is_there_and_says_so(verifier, folder):
    (folder / "empty.jpg").touch()
    (folder / "dark.png").write_bytes(encoded(np.zeros((300, 300, 3), np.uint8), "PNG"))
    rows = [
        ("p0.jpg", "none.jpg"),
        ("empty.jpg", "dark.png"),
        ("p0.jpg",),
        ("p0.jpg", "p1.jpg", "p2.jpg"),
        ("", "p1.jpg"),
        ("p0.jpg", "p0.jpg"),
        ("p0.jpg", "a\0b"),
        ("p0.jpg", str(folder)),
        ("p0.jpg", "p1.jpg"),
    ]
    found = score(verifier, rows)
    shown = [[*row, ""][:2] for row in rows]
    shown[6] = ["p0.jpg", "a\\x00b"]
    assert [row[:2] for row in found] == shown
    errors = [row[4] for row in found]
    assert errors[0].startswith("second: unreadable: the photo cannot be read: no such file")
    assert errors[1].startswith("first: unreadable: the file is empty")
    assert " / second: no_face: no face was found" in errors[1]
    assert errors[2:4] == ["the row has 1 cells, not 2", "the row has 3 cells, not 2"]
    assert errors[4] == "the row does not name two photos"
    assert errors[5] == "warning: both photos are one and the same file"
    assert errors[6].startswith("second: unreadable")
    assert "folder" in errors[7]
    assert errors[8] in ("", pair_list.COPIED)
    decided = [row[2] != "" and row[3] in ("accept", "reject") for row in found]
    assert decided == [False] * 5 + [True] + [False] * 2 + [True]


def test_each_photo_is_embedded_once(verifier, folder, embedded_photos):
    rows = [(f"p{i}.jpg", f"p{j}.jpg") for i in range(6) for j in range(6) if i != j]
    score(verifier, rows)
    assert Counter(embedded_photos) == {f"p{i}.jpg": 1 for i in range(6)}


def test_a_photo_in_both_columns_is_searched_as_each_wants_it(verifier, folder, sample):
    name = sample_photos(sample, 1, 1)[1][0]
    photo = phone_photo(sample / "img_align_celeba" / name, 240, 320, 0.8)
    Path("turned.png").write_bytes(encoded(np.ascontiguousarray(photo[::-1, ::-1]), "PNG"))
    as_card, as_live = score(verifier, [("turned.png", "p1.jpg"), ("p1.jpg", "turned.png")])
    assert as_card[3]
    assert as_live[4].startswith("second: no_face")


def test_several_faces_are_refused_or_allowed(verifier, folder, sample):
    names = [names[0] for names in sample_photos(sample, 2, 1).values()]
    both = [phone_photo(sample / "img_align_celeba" / name, 240, 320, 0.8) for name in names]
    Path("both.jpg").write_bytes(encoded(np.concatenate(both, axis=1)))
    (refused,) = score(verifier, [("p0.jpg", "both.jpg")])
    assert refused[4].startswith("second: several_faces")
    (allowed,) = score(verifier, [("p0.jpg", "both.jpg")], allow_several=True)
    assert allowed[2] and not allowed[4]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_is_a_formula_to_a_spreadsheet(verifier, folder, start):
    name = f"{start}cmd|'calc'!A1,\"x\".jpg"
    Path(name).write_bytes(Path("p0.jpg").read_bytes())
    (row,) = score(verifier, [(name, "p1.jpg")])
    assert row[0] == f"'{name}"
    assert row[3]


@pytest.mark.parametrize("sign", ["\0", "\t", "\x1b", "\x85", "\u2028", "\u202e"], ids=ascii)
def test_a_path_that_cannot_be_printed_is_told_in_its_row(verifier, folder, sign):
    (row,) = score(verifier, [("p0.jpg", f"{sign}=1+1.jpg")])
    assert row[1] == ascii(sign)[1:-1] + "=1+1.jpg"
    said = "second: unreadable: the path holds characters that cannot be printed"
    assert row[2:] == ["", "", said]
    assert Path("scores.csv").read_text().replace("\n", "").isprintable()


def test_names_with_commas_quotes_spaces_and_letters_of_the_world(verifier, folder):
    names = ["a, b.jpg", 'a "b".jpg', "9.41\u202fAM.jpg", "Wajah-é-顔.jpg"]
    for name in names:
        Path(name).write_bytes(Path("p0.jpg").read_bytes())
    found = score(verifier, [(name, "p1.jpg") for name in names])
    assert [row[0] for row in found] == names
    assert all(row[3] for row in found)


def test_a_byte_order_mark_and_blank_lines_do_no_harm(verifier, folder):
    Path("pairs.csv").write_bytes("\ufefffirst,second\r\n\r\np0.jpg,p1.jpg\r\n\r\n".encode())
    counts = pair_list.score(verifier, Path("pairs.csv"), Path("scores.csv"), 3.0)
    assert counts == {"accept": 1}
    assert Path("scores.csv").read_bytes().startswith(b"first,second,theta,decision,error\np0.jpg,")


def test_a_copy_of_a_photo_is_told(verifier, folder):
    photo = np.asarray(Image.open("p0.jpg"))
    Path("copy.png").write_bytes(encoded(np.ascontiguousarray(np.rot90(photo)), "PNG"))
    ((*_, decision, said), other) = score(verifier, [("copy.png", "p0.jpg"), ("p0.jpg", "p2.jpg")])
    assert (decision, said) == ("accept", pair_list.COPIED)
    assert float(other[2]) > COPY and not other[4]


def test_an_empty_list_gives_an_empty_result(verifier, folder):
    assert score(verifier, []) == []


# Killed and started again

KILLED = """
import os, signal, sys
from pathlib import Path
from faceverify.verify import pair_list
from faceverify.verify.embedding_store import EmbeddingStore
from faceverify.verify.verifier import COPY, Verifier

put, count = EmbeddingStore.put, 0

def counted(self, *arguments):
    global count
    put(self, *arguments)
    count += 1
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)

EmbeddingStore.put = counted
verifier = Verifier.load(Path(sys.argv[1]) / "models/verifier.json")
pair_list.score(verifier, Path("pairs.csv"), Path("scores.csv"), 0.6)
"""


@pytest.fixture
def killed(verifier, folder, app_folder):
    """The folder after a run that was killed when two of six photos were embedded."""
    rows = [(f"p{i}.jpg", f"p{j}.jpg") for i in range(6) for j in range(6)]
    score(verifier, rows)
    Path("scores.csv").rename("whole.csv")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run([sys.executable, "-c", KILLED, app_folder], env=environment)
    assert result.returncode == -signal.SIGKILL
    assert not (folder / "scores.csv").exists()
    assert (folder / PROGRESS).exists()
    return rows


def test_a_killed_run_goes_on_and_gives_the_same_bytes(verifier, killed, embedded_photos):
    score(verifier, killed)
    assert sorted(embedded_photos) == ["p2.jpg", "p3.jpg", "p4.jpg", "p5.jpg"]
    assert Path("scores.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert not Path(PROGRESS).exists()


def test_a_photo_that_has_changed_meanwhile_is_embedded_again(verifier, killed, embedded_photos):
    os.utime("p0.jpg", (1, 1))
    score(verifier, killed)
    assert sorted(embedded_photos) == ["p0.jpg", "p2.jpg", "p3.jpg", "p4.jpg", "p5.jpg"]


def test_what_other_options_gave_is_not_taken_up(verifier, killed, embedded_photos):
    score(verifier, killed, allow_several=True)
    assert len(embedded_photos) == 6


def test_what_an_earlier_version_kept_in_other_columns_is_not_taken_up(
    verifier, killed, embedded_photos
):
    with closing(sqlite3.connect(PROGRESS)) as database:
        database.execute("UPDATE made_by SET made_by = replace(made_by, '''digest'', ', '')")
        database.execute("ALTER TABLE kept DROP COLUMN digest")
        database.commit()
    score(verifier, killed)
    assert len(embedded_photos) == 6
    assert Path("scores.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_a_damaged_file_is_told_and_one_that_finds_no_room(verifier, killed):
    Path(PROGRESS).write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"not a database; remove it and run the same command"):
        score(verifier, killed)
    Path(PROGRESS).unlink()
    Path(PROGRESS).mkdir()
    with pytest.raises(InputError, match=r"unable to open database file; see that there is room"):
        score(verifier, killed)


@pytest.mark.parametrize("change", ["vector = zeroblob(64)", "error = 'blurred: hold still'"])
def test_what_is_kept_and_is_not_what_was_put_in_is_told(verifier, killed, change):
    with closing(sqlite3.connect(PROGRESS)) as database:
        database.execute(f"UPDATE kept SET {change} WHERE photo = 'p1.jpg'")
        database.commit()
    with pytest.raises(InputError, match=r"kept of 'p1\.jpg' is damaged; remove it and run"):
        score(verifier, killed)
    assert not Path("scores.csv").exists()


def test_what_is_kept_is_a_plain_database(killed):
    with closing(sqlite3.connect(PROGRESS)) as database:
        rows = database.execute("SELECT photo, vector FROM kept WHERE error = ''").fetchall()
    assert sorted({photo for photo, _ in rows}) == ["p0.jpg", "p1.jpg"]
    assert all(len(np.frombuffer(vector, np.float32)) == 16 for _, vector in rows)


# Memory

MEASURED = r"""
import re, sys
from pathlib import Path
from faceverify.verify import pair_list
from faceverify.verify.verifier import COPY, Verifier

verifier = Verifier.load(Path(sys.argv[1]) / "models/verifier.json")
for _ in range(20):  # what each thread makes once, and an interpreter for each
    verifier.compare("p0.jpg", "p1.jpg")
for name in ("few", "few", "many"):  # the first fills what is made once, whatever the rows
    pair_list.score(verifier, Path(f"{name}.csv"), Path(f"{name}-scores.csv"), 0.6)
    # What getrusage tells has the parent's memory in it.
    print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_memory_does_not_grow_with_the_list(folder, app_folder):
    # Every second row names a photo of its own, which is not there. Few are enough to fill the
    # cache of the database that keeps what is known of photos. There is one photo, so that no
    # thread waits for an interpreter and makes another one in a later list.
    many = [("p0.jpg", f"none-{i}.jpg" if i % 2 else "p0.jpg") for i in range(100_000)]
    write(many[:50_000], "few.csv")
    write(many, "many.csv")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, app_folder],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, few, many = (int(line) / 1024 for line in result.stdout.split())
    assert many - few < 5  # MB; the rows as Python objects take 10
    assert Path("many-scores.csv").read_bytes().count(b"\n") == 100_001


LONG_LINE = r"""
import re
from pathlib import Path
from faceverify.verify import pair_list
from faceverify.base.errors import InputError

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

before = peak()
try:
    pair_list.score(None, Path("pairs.csv"), Path("scores.csv"), 0.6)
except InputError as error:
    print(error, peak() - before, sep="\n")
"""


def test_memory_does_not_grow_with_a_line(folder):
    Path("pairs.csv").write_bytes(b"first,second\n" + b"\0" * 10**8)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", LONG_LINE],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    message, grown = result.stdout.splitlines()
    assert message == "pairs.csv, line 2: over 16,384 characters"
    assert int(grown) < 5000  # kB


# The command


def test_a_second_run_to_the_same_result_says_that_another_writes_it(app_folder, folder):
    write([(f"p{i}.jpg", f"p{j}.jpg") for i in range(6) for j in range(6)])
    verifier = ("--verifier", str(app_folder / "models/verifier.json"))
    arguments = ("--pairs", "pairs.csv", *verifier, "--out")
    script = [sys.executable, str(ROOT / "src/verify.py")]
    first = subprocess.Popen([*script, *arguments, "scores.csv"], stderr=subprocess.PIPE)
    progress = folder / PROGRESS
    while not (progress.exists() and progress.stat().st_size):
        assert first.poll() is None, first.stderr.read()
    first.send_signal(signal.SIGSTOP)  # it holds the file, and does not end meanwhile
    try:
        second = run_script("verify.py", folder, *arguments, "scores.csv")
        other = run_script("verify.py", folder, *arguments, "other.csv")
    finally:
        first.send_signal(signal.SIGCONT)
    assert error_line(second) == (
        "verify.py: error: another run writes scores.csv now; wait until it has ended, or choose "
        "another --out"
    )
    assert (other.returncode, other.stderr) == (0, "")
    assert (first.wait(), first.stderr.read()) == (0, b"")
    assert Path("scores.csv").read_bytes() == Path("other.csv").read_bytes()
    assert not list(folder.glob(".*"))


def test_the_command_scores_a_list(app_folder, folder):
    pairs, out = folder / "pairs.csv", folder / "new/scores.csv"
    write([(folder / "p0.jpg", folder / "p1.jpg"), (folder / "p0.jpg", "none.jpg")])
    verifier = ("--verifier", str(app_folder / "models/verifier.json"))
    arguments = ("--pairs", str(pairs), "--out", str(out), "--threshold", "3", *verifier)
    result = run_script("verify.py", folder, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{out}: 2 pairs, 1 accepted, 0 rejected, 1 with an error\n"
    assert sorted(p.name for p in out.parent.iterdir()) == ["scores.csv"]
    again = run_script("verify.py", folder, *arguments, "--out", str(pairs))
    assert error_line(again) == f"verify.py: error: {pairs} is the list itself"
    onto_a_folder = run_script("verify.py", folder, *arguments, "--out", str(folder))
    assert "is a folder" in error_line(onto_a_folder)
    assert (folder / "p0.jpg").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", f"{EXPECTED}, and the file is empty"),
        (b"a.jpg,b.jpg\n", f"{EXPECTED}, and found a.jpg"),
        (
            b"first;second\np0.jpg;p1.jpg\n",
            "pairs.csv, line 1: expected the columns first,second, "
            "with commas between the cells, and found semicolons; save it with commas",
        ),
        (
            b"first\tsecond\np0.jpg\tp1.jpg\n",
            "pairs.csv, line 1: expected the columns first,second, "
            "with commas between the cells, and found tabs; save it with commas",
        ),
        ("first,second\np0.jpg,p1.jpg\n".encode("utf-16"), "pairs.csv is UTF-16 text; save it as"),
        (b"first,second,third\n", "pairs.csv, line 1: expected"),
        (b"first,second\np0.jpg,\xff\xfe.jpg\n", "pairs.csv is not UTF-8 text"),
        (b"first,second\np0.jpg," + b"a" * 140_000, "pairs.csv, line 2: over 16,384 characters"),
        (b'first,second\np0.jpg,"p1.jpg\np0.jpg,p0.jpg\n', "pairs.csv, line 2: unexpected end"),
        (b'first,second\np0.jpg,p1.jpg\n"a\nb.jpg",p0.jpg\n', "pairs.csv, line 3: unexpected"),
        (b'first,second\n"a\r=1+1.jpg",p0.jpg\n', "pairs.csv, line 2: unexpected end"),
        (b'first,second\n"p0"x,p1.jpg\n', "pairs.csv, line 2: ',' expected after '\"'"),
    ],
)
def test_a_list_that_is_none_is_named(verifier, folder, data, said):
    Path("pairs.csv").write_bytes(data)
    with pytest.raises(InputError) as caught:
        pair_list.score(verifier, Path("pairs.csv"), Path("scores.csv"), 0.6)
    assert str(caught.value).startswith(said)
    assert not list(folder.glob("*scores*")) and not (folder / PROGRESS).exists()


def test_a_list_that_is_not_there_is_named(verifier, folder):
    with pytest.raises(FileNotFoundError):
        pair_list.score(verifier, Path("none.csv"), Path("scores.csv"), 0.6)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_list_that_can_be_read_only_once_is_refused(verifier, folder, kind):
    make = {"pipe": os.mkfifo, "folder": os.mkdir}
    make.get(kind, lambda path: path.symlink_to("/dev/zero"))(Path("list"))
    with pytest.raises(InputError, match="list is read several times; write the list to a regu"):
        pair_list.score(verifier, Path("list"), Path("scores.csv"), 0.6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("p1.jpg", "p1.jpg is a photo of the list"),
        ("hard", "hard is a photo of the list"),
        ("soft", "soft is a photo of the list"),
        ("listed", "listed is the list itself"),
        ("null", "null is no regular file"),
        ("pipe", "pipe is no regular file"),
    ],
)
def test_a_result_replaces_no_input_and_no_device(verifier, folder, name, said):
    pairs = write([("p0.jpg",), ("none\0.jpg", "p0.jpg"), ("p0.jpg", "p1.jpg")])
    Path("hard").hardlink_to("p1.jpg")
    for link, place in {"soft": "p1.jpg", "listed": "pairs.csv", "null": "/dev/null"}.items():
        Path(link).symlink_to(place)
    os.mkfifo("pipe")
    before = {path.name: path.lstat() for path in folder.iterdir()}
    with pytest.raises(InputError) as caught:
        pair_list.score(verifier, pairs, Path(name), 0.6)
    assert str(caught.value) == said
    assert {path.name: path.lstat() for path in folder.iterdir()} == before


def test_a_result_goes_where_a_link_leads(verifier, folder):
    Path("link.csv").symlink_to("new/scores.csv")
    for _ in range(2):
        pair_list.score(verifier, write([("p0.jpg", "p1.jpg")]), Path("link.csv"), 0.6)
    assert Path("link.csv").is_symlink()
    assert [path.name for path in Path("new").iterdir()] == ["scores.csv"]


def test_a_result_does_not_replace_the_file_that_messages_go_to(app_folder, folder):
    pairs, out = write([("p0.jpg", "p1.jpg")]).resolve(), folder / "scores.csv"
    verifier = app_folder / "models/verifier.json"
    command = [sys.executable, ROOT / "src/verify.py", "--pairs", pairs, "--out", out]
    command += ["--verifier", verifier]
    with out.open("w") as file:
        result = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr == f"verify.py: error: {out} is where messages go; name another file\n"
    assert out.read_text() == ""
