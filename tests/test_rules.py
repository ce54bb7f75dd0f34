"""The audit of the data: every planted fault is named by its row, and nothing else is."""

import csv
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import cv2
import joblib
import numpy as np
import pytest

import audit_data
from faceverify.audit import observations, rules
from faceverify.base import digests
from faceverify.base.errors import InputError
from faceverify.data.annotations import IdentityRow
from faceverify.faces.aligned_photos import decode
from helpers import (
    PREDICTOR,
    ROOT,
    encode,
    error_line,
    run_script,
    sample_photos,
    write_parameters,
)

NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
LIMITS = rules.Limits(0.35, 0.98, 0.6, 0.5, 2)
WANTED = {"select.faces_per_identity": 4}


# The rules, on made faces


def made(people, faces=None, digests=None, faults=None):
    """Rows and observations of so many photos of each (identity shown, face): labels and faces.

    Faces are points 0.75 apart, the photos of one scattered around it by about 0.35.
    """
    generator = np.random.default_rng(5)
    labels = [label for label, _, count in people for _ in range(count)]
    shown = [face for _, face, count in people for _ in range(count)]
    centres = 0.53 * np.eye(128)
    scatter = generator.normal(0, 0.02, (len(labels), 128))
    rows = [IdentityRow(10 + i, f"{i}.jpg", label) for i, label in enumerate(labels)]
    seen = observations.Observations(
        digests or [str(i) for i in range(len(labels))],
        faults or [""] * len(labels),
        np.ones(len(labels), bool) if faces is None else faces,
        generator.integers(0, 256, (len(labels), 256), np.uint8),
        (centres[shown] + scatter).astype(np.float32),
    )
    return rows, seen


def found(rows, seen, limits=LIMITS):
    return [
        (finding.kind, finding.row, finding.other) for finding in rules.find(rows, seen, limits)
    ]


def test_sound_labels_give_no_finding():
    assert found(*made([(1, 0, 5), (2, 1, 5), (3, 2, 5)])) == []


def test_a_face_under_a_wrong_label_is_named_with_whom_it_shows():
    rows, seen = made([(1, 0, 5), (2, 1, 5), (1, 1, 1), (2, 9, 1)])
    first, second = rules.find(rows, seen, LIMITS)
    assert (first.kind, first.row, first.other) == ("mislabelled", 10, 5)
    assert first.remedy == "label it 2 or remove the row"
    assert (second.kind, second.row, second.other) == ("mislabelled", 11, None)
    assert second.remedy == "remove the row"
    assert first.distance > LIMITS.far


def test_a_face_that_is_not_far_but_nearer_to_another_identity_is_named():
    rows, seen = made([(1, 0, 5), (2, 1, 5), (1, 1, 1)])
    limits = LIMITS._replace(far=2)
    assert found(rows, seen, limits) == [("mislabelled", 10, 5)]
    assert found(rows, seen, limits._replace(alike=0.1)) == []


def test_of_two_copies_the_one_that_fits_worse_is_named():
    rows, seen = made([(2, 1, 1), (1, 0, 5), (2, 0, 1), (2, 1, 4)])
    digests = list(seen.digests)
    digests[3] = digests[6]
    assert found(rows, seen._replace(digests=digests)) == [("same_bytes", 6, 3)]


def test_copies_within_one_identity_are_no_finding():
    rows, seen = made([(1, 0, 5), (2, 1, 5)])
    assert found(rows, seen._replace(digests=["a"] * 5 + list(seen.digests[5:]))) == []


def test_copies_without_others_to_compare_with_leave_the_first():
    rows, seen = made([(1, 0, 1), (2, 0, 1)], digests=["a", "a"])
    assert found(rows, seen, LIMITS._replace(faces_per_identity=1)) == [("same_bytes", 1, 0)]


@pytest.mark.parametrize(("face", "picture"), [(0.05, 1.0), (0.5, 1.0), (0.05, 0.0)])
def test_a_copy_is_alike_in_face_and_in_picture(face, picture):
    rows, seen = made([(1, 0, 5), (2, 1, 5)])
    seen.descriptors[5] = seen.descriptors[0]
    seen.descriptors[5, 100] += face
    if picture:
        seen.thumbnails[5] = seen.thumbnails[0] // 2 + 20  # darker
    expected = ("same_photo", 5, 0) if face < LIMITS.copy_face and picture else None
    kinds = found(rows, seen, LIMITS._replace(far=2, alike=0))
    assert kinds == ([expected] if expected else [])


def test_a_mirrored_copy_is_a_copy():
    rows, seen = made([(1, 0, 5), (2, 1, 5)])
    seen.descriptors[5] = seen.descriptors[0]
    seen.thumbnails[5] = seen.thumbnails[0].reshape(16, 16)[:, ::-1].reshape(-1)
    assert found(rows, seen, LIMITS._replace(far=2, alike=0)) == [("same_photo", 5, 0)]


def test_of_two_identities_that_are_one_person_the_smaller_is_named():
    rows, seen = made([(7, 0, 3), (3, 0, 4), (9, 1, 4)])
    expected = [("one_person", row, 3) for row in range(3)]
    assert found(rows, seen) == expected
    assert {finding.remedy for finding in rules.find(rows, seen, LIMITS)} == {"label it 3"}


def corrected(rows, seen, findings):
    """Rows and observations after every remedy: relabelled where it says so, else removed."""
    kept = np.ones(len(rows), bool)
    rows = list(rows)
    for finding in findings:
        if finding.label is None:
            kept[finding.row] = False
        else:
            rows[finding.row] = rows[finding.row]._replace(identity=finding.label)
    columns = [np.asarray(column)[kept] for column in seen]
    return [row for row, keep in zip(rows, kept, strict=True) if keep], observations.Observations(
        *columns
    )


@pytest.mark.parametrize("counts", [(4, 3, 3), (3, 3, 4), (3, 3, 3)])
def test_all_identities_of_one_person_become_one(counts):
    rows, seen = made([(1, 0, counts[0]), (101, 0, counts[1]), (102, 0, counts[2]), (5, 1, 10)])
    kept = 102 if counts[2] == 4 else 1
    limits = LIMITS._replace(faces_per_identity=9)
    findings = rules.find(rows, seen, limits)
    assert {finding.kind for finding in findings} == {"one_person"}
    assert {rows[finding.row].identity for finding in findings} == {1, 101, 102} - {kept}
    assert {finding.remedy for finding in findings} == {f"label it {kept}"}
    assert rules.find(*corrected(rows, seen, findings), limits) == []


def test_identities_that_only_a_third_one_connects_become_one():
    rows, seen = made([(1, 0, 3), (2, 0, 3), (3, 0, 3)])
    seen.descriptors[:3, 100] += 0.3
    seen.descriptors[6:, 100] -= 0.3
    findings = rules.find(rows, seen, LIMITS)
    assert [(f.row, f.label) for f in findings] == [(row, 1) for row in range(3, 9)]
    near, far = findings[0].distance, findings[-1].distance
    assert near < LIMITS.alike < far


def test_what_the_other_findings_take_away_does_not_count_as_usable():
    rows, seen = made([(1, 0, 5), (2, 1, 4), (2, 0, 1), (3, 2, 4), (3, 9, 1), (4, 3, 5)])
    digests = [*seen.digests[:9], seen.digests[0], *seen.digests[10:]]
    seen, limits = seen._replace(digests=digests), LIMITS._replace(faces_per_identity=5)
    findings = rules.find(rows, seen, limits)
    assert [(f.kind, f.row) for f in findings] == [
        ("same_bytes", 9),
        ("mislabelled", 14),
        *(("too_few", row) for row in (5, 6, 7, 8, 10, 11, 12, 13)),
    ]
    assert findings[-1].remedy.startswith("4 of 5 usable faces")
    assert rules.find(*corrected(rows, seen, findings), limits) == []


def test_two_photos_are_too_few_to_join_two_identities_and_are_named_by_themselves():
    kinds = found(*made([(7, 0, 2), (3, 0, 4)]))
    assert kinds == [("mislabelled", 0, 2), ("mislabelled", 1, 2)]


def test_mixtures_of_the_same_people_are_not_one_person():
    rows, seen = made([(label, face, 2) for label in (1, 2) for face in range(6)])
    assert found(rows, seen, LIMITS._replace(far=2)) == []


def test_identities_without_enough_usable_faces_are_named_by_all_their_rows():
    rows, seen = made([(1, 0, 3), (2, 1, 2), (3, 2, 3)])
    seen.faces[7] = False
    faults = ["", "", "", "", "", "missing file", "", ""]
    limits = LIMITS._replace(faces_per_identity=3)
    assert found(rows, seen._replace(faults=faults), limits) == [
        ("unreadable", 5, None),
        ("too_few", 3, None),
        ("too_few", 4, None),
        ("too_few", 6, None),
        ("too_few", 7, None),
    ]


def test_no_row_is_named_twice_and_the_worst_kind_comes_first():
    rows, seen = made([(1, 0, 5), (2, 1, 1), (2, 0, 1)])
    digests = [*seen.digests[:6], seen.digests[0]]
    kinds = found(rows, seen._replace(digests=digests), LIMITS._replace(faces_per_identity=6))
    assert kinds[0] == ("same_bytes", 6, 0)
    assert [row for _, row, _ in kinds] == [6, 0, 1, 2, 3, 4, 5]


def test_one_row_and_no_face_at_all_are_no_trouble():
    assert found(*made([(1, 0, 1)]), LIMITS._replace(faces_per_identity=1)) == []
    rows, seen = made([(1, 0, 3)], faces=np.zeros(3, bool))
    assert [kind for kind, _, _ in found(rows, seen)] == ["too_few"] * 3


def test_close_pairs_are_those_of_all_distances(monkeypatch):
    monkeypatch.setattr(rules, "BLOCK", 7)
    vectors = np.random.default_rng(1).normal(0, 0.06, (40, 128)).astype(np.float32)
    spreads = np.linspace(0, 0.3, 40)
    every = np.square(vectors[:, None].astype(float) - vectors).sum(axis=2)
    every = np.sqrt(every + spreads[:, None] + spreads)
    limit = float(np.median(every))
    pairs, distances = rules.close_pairs(vectors, spreads, limit)
    expected = np.argwhere(np.triu(every < limit, 1))
    np.testing.assert_array_equal(pairs[np.lexsort(pairs.T[::-1])], expected)
    np.testing.assert_allclose(distances, every[tuple(pairs.T)], rtol=1e-12)


def test_a_fit_is_the_distance_from_the_mean_of_the_others():
    rows, seen = made([(1, 0, 4), (2, 1, 1), (3, 2, 3)])
    identities = np.array([row.identity for row in rows])
    sound = np.arange(8) != 1
    fits = rules.fits(identities, seen.descriptors, sound)
    for i in range(8):
        others = (identities == identities[i]) & sound & (np.arange(8) != i)
        if i in (1, 4):
            assert fits[i] == np.inf
        else:
            mean = seen.descriptors[others].astype(float).mean(axis=0)
            assert fits[i] == pytest.approx(np.linalg.norm(seen.descriptors[i] - mean))


# The script, on planted faults


class Planted:
    """A data folder of the sample's photos with one fault of each kind; `faults` says where."""

    def __init__(self, folder: Path, photos: Path, people: dict[int, list[str]]) -> None:
        self.folder, self.photos = folder, folder / "data/img_align_celeba"
        self.photos.mkdir(parents=True)
        self.people = list(people)
        self.labels = {name: person for person, names in people.items() for name in names}
        for name in self.labels:
            shutil.copyfile(photos / name, self.photos / name)
        self.faults: dict[str, str] = {}
        (copied, *_), (_, reduced, *_), swapped, *_ = people.values()
        p = self.people
        self.add("copy.png", p[4], "same_bytes", (self.photos / copied).read_bytes())
        photo = cv2.resize(decode((self.photos / reduced).read_bytes()), None, fx=0.6, fy=0.6)
        photo = cv2.resize(photo, (178, 218))
        smaller = encode(".jpg", photo, cv2.IMWRITE_JPEG_QUALITY, 70)
        self.add("reduced.jpg", p[4], "same_photo", smaller)
        for name, other in ((swapped[2], p[3]), (people[p[3]][1], p[2])):
            self.labels[name] = other
            self.faults[name] = "mislabelled"
        for name in people[p[5]][:3]:
            self.labels[name] = 1000
            self.faults[name] = "one_person"
        whole = (self.photos / people[p[6]][0]).read_bytes()
        self.add("cut.png", p[6], "unreadable", whole[: len(whole) // 2])
        self.add("absent.png", p[6], "unreadable", None)
        for name in people[p[7]][3:]:
            del self.labels[name]
        self.faults |= dict.fromkeys(people[p[7]][:3], "too_few")

    def add(self, name: str, person: int, kind: str, content: bytes | None) -> None:
        """One more photo, of a fault."""
        self.labels[name] = person
        self.faults[name] = kind
        if content is not None:
            (self.photos / name).write_bytes(content)

    def write(self, form: str) -> dict[str, int]:
        """The identity list in one of its forms; gives the line of each photo."""
        first, separator = {
            "official": ("", " "),
            "header": ("image_id identity\n", " "),
            "CSV": ("image_id,identity\n", ","),
            "blank lines": ("\n\n", "  "),
        }[form]
        lines = [f"{name}{separator}{person}\n" for name, person in self.labels.items()]
        (self.folder / "data/identity_CelebA.txt").write_text(first + "".join(lines))
        start = first.count("\n") + 1
        return {name: start + i for i, name in enumerate(self.labels)}


def project(folder, sample, photos, people):
    write_parameters(folder, WANTED)
    planted = Planted(folder, photos, people)
    for model in (PREDICTOR, NETWORK):
        (folder / "data" / model).symlink_to(sample / model)
    planted.write("official")
    return planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory, sample):
    people = sample_photos(sample, 8, 7)
    folder = tmp_path_factory.mktemp("planted")
    return project(folder, sample, sample / "img_align_celeba", people)


@pytest.fixture
def audited(monkeypatch, capsys):
    """Run the script's `main` in a folder; gives the exit code and what it printed."""

    def run(folder: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["audit_data.py", *arguments])
        # Other processes would stay in the folder of the first test.
        with joblib.parallel_config("sequential"), pytest.raises(SystemExit) as stop:
            audit_data.main()
        return stop.value.code, capsys.readouterr().out

    return run


def findings(folder):
    with (folder / "audit/findings.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("form", ["official", "header", "CSV", "blank lines"])
def test_exactly_the_planted_rows_are_named_by_their_lines(planted, audited, form):
    lines = planted.write(form)
    code, printed = audited(planted.folder)
    assert code == audit_data.FOUND == 1
    table = findings(planted.folder)
    assert {row["photo"]: row["kind"] for row in table} == planted.faults
    assert len(table) == len(planted.faults)
    for row in table:
        assert row["place"] == f"data/identity_CelebA.txt:{lines[row['photo']]}"
        assert row["identity"] == str(planted.labels[row["photo"]])
        assert f"{row['place']}: {row['kind']}: {row['photo']} of" in printed
        if row["other_photo"]:
            assert row["other_place"].endswith(f":{lines[row['other_photo']]}")
            assert row["other_identity"] == str(planted.labels[row["other_photo"]])
    kinds = [row["kind"] for row in table]
    assert kinds == sorted(kinds, key=list(rules.KINDS).index)


def test_a_fault_is_told_with_what_it_was_held_against_and_what_to_do(planted, audited):
    planted.write("official")
    audited(planted.folder)
    table = {row["photo"]: row for row in findings(planted.folder)}
    first, second, third, fourth, _, joined, *_ = planted.people
    assert table["copy.png"]["other_identity"] == str(first)
    assert table["copy.png"]["distance"] == "0.000"
    assert table["reduced.jpg"]["other_identity"] == str(second)
    for row in table.values():
        if row["kind"] == "mislabelled":
            other = third + fourth - int(row["identity"])
            assert row["remedy"] == f"label it {other} or remove the row"
            assert float(row["distance"]) > 0.6
        elif row["kind"] == "one_person":
            assert row["remedy"] == f"label it {joined}"
        elif row["kind"] == "too_few":
            assert row["remedy"].startswith("3 of 4 usable faces")
    assert table["cut.png"]["remedy"].startswith("not a whole JPEG or PNG file")
    assert table["absent.png"]["remedy"].startswith("missing file")


def test_the_page_shows_each_photo_that_is_named(planted, audited):
    planted.write("official")
    audited(planted.folder)
    page = (planted.folder / "audit/index.html").read_text()
    start = 'loading="lazy" src="../data/img_align_celeba/'
    for row in findings(planted.folder):
        assert f'<img class="wrong" {start}{row["photo"]}"' in page
        if row["other_photo"]:
            assert f'<img {start}{row["other_photo"]}"' in page


def test_when_the_named_rows_are_gone_nothing_is_found(planted, audited):
    kept = {name: planted.labels[name] for name in planted.labels if name not in planted.faults}
    lines = "".join(f"{name} {person}\n" for name, person in kept.items())
    (planted.folder / "data/identity_CelebA.txt").write_text(lines)
    code, printed = audited(planted.folder)
    assert code == audit_data.CLEAN == 0
    assert findings(planted.folder) == []
    assert f"{len(kept)} photos of" in printed


def test_two_runs_write_the_same_bytes_and_the_second_observes_nothing(
    planted, audited, monkeypatch
):
    planted.write("official")
    printed = audited(planted.folder)
    before = {path.name: path.read_bytes() for path in (planted.folder / "audit").iterdir()}
    assert set(before) == {"findings.csv", "index.html"}
    monkeypatch.setattr(observations, "observe", None)
    assert audited(planted.folder) == printed
    after = {path.name: path.read_bytes() for path in (planted.folder / "audit").iterdir()}
    assert after == before


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(planted, audited, tmp_path):
    planted.write("official")
    shutil.copytree(planted.folder / "data", tmp_path / "data", symlinks=True)
    write_parameters(tmp_path, WANTED)
    command = [sys.executable, str(ROOT / "src/audit_data.py")]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    counts = []
    while process.poll() is None and not any(counts):
        time.sleep(0.02)
        counts += map(observed, tmp_path.glob(".cache/*/observations.sqlite"))
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "audit").exists()
    (store,) = tmp_path.glob(".cache/*/observations.sqlite")
    early = observed(store)
    assert 0 < early < len(planted.labels) - 2
    with closing(sqlite3.connect(store)) as database:
        kept = database.execute("SELECT digest FROM kept WHERE checksum IS NOT NULL").fetchall()
        # What was seen before is not seen again.
        rows = [(digest, "seen before", None, None) for (digest,) in kept]
        rows = [(*row, digests.sha256(repr(row))) for row in rows]
        database.executemany("REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", rows)
        database.commit()
    audited(tmp_path)
    assert (tmp_path / "audit/findings.csv").read_text().count("seen before") >= len(kept)


def observed(store: Path) -> int:
    try:
        with closing(sqlite3.connect(store)) as database:
            return database.execute(
                "SELECT COUNT(*) FROM kept WHERE checksum IS NOT NULL"
            ).fetchone()[0]
    except sqlite3.OperationalError:  # the table is not there yet
        return 0


@pytest.fixture
def small(tmp_path, sample):
    """Two people with four photos each, without a fault."""
    people = sample_photos(sample, 2, 4)
    write_parameters(tmp_path, WANTED)
    (tmp_path / "data/img_align_celeba").mkdir(parents=True)
    labels = {name: person for person, names in people.items() for name in names}
    for name in labels:
        source = sample / "img_align_celeba" / name
        shutil.copyfile(source, tmp_path / "data/img_align_celeba" / name)
    for model in (PREDICTOR, NETWORK):
        (tmp_path / "data" / model).symlink_to(sample / model)
    lines = "".join(f"{name} {person}\n" for name, person in labels.items())
    (tmp_path / "data/identity_CelebA.txt").write_text(lines)
    return tmp_path


def rename(project, name):
    lists = project / "data/identity_CelebA.txt"
    lists.write_text(lists.read_text().replace("000001.png", name))


def lead_out(project):
    photo = project / "data/img_align_celeba/000001.png"
    photo.rename(project / "elsewhere.png")
    photo.symlink_to(project / "elsewhere.png")


def replace(name, content):
    def change(project):
        path = project / "data" / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return change


MISTAKES = {
    "a name that climbs": (lambda p: rename(p, "../000001.png"), "is not a plain file name"),
    "an absolute name": (lambda p: rename(p, "/etc/a.png"), "is not a plain file name"),
    "a NUL": (lambda p: rename(p, "a\0.png"), "is not a plain file name"),
    "a link that leads out": (lead_out, "is a link that leads out of"),
    "listed twice": (lambda p: rename(p, "000002.png"), "line 2: 000002.png is listed twice"),
    "no list": (replace("identity_CelebA.txt", None), "identity_CelebA.txt is missing"),
    "no photos": (lambda p: shutil.rmtree(p / "data/img_align_celeba"), "celeba is missing"),
    "no predictor": (replace(PREDICTOR, None), f"{PREDICTOR} is missing"),
    "no network": (replace(NETWORK, None), f"{NETWORK} is missing"),
    "bad network": (replace(NETWORK, b"text"), "is not dlib's published face descriptor model"),
    "no parameters": (lambda p: (p / "params.yaml").unlink(), "params.yaml is missing"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_and_leaves_the_earlier_report(small, monkeypatch, mistake):
    make, said = MISTAKES[mistake]
    make(small)
    (small / "audit").mkdir()
    (small / "audit/findings.csv").write_text("earlier")
    monkeypatch.chdir(small)
    # The whole path: dlib's models are kept by it.
    monkeypatch.setattr(sys, "argv", ["audit_data.py", "--data", str(small / "data")])
    with pytest.raises(InputError) as caught:
        audit_data.main()
    assert said in str(caught.value)
    assert (small / "audit/findings.csv").read_text() == "earlier"
    assert not list(small.glob(".audit*"))


def test_a_folder_whose_name_is_not_text_is_refused(small):
    (small / "data").rename(small / os.fsdecode(b"s\xff"))
    line = error_line(run_script("audit_data.py", small, "--data", os.fsdecode(b"s\xff")))
    assert line == r"audit_data.py: error: --data: s\udcff is no name in UTF-8; rename the folder"


@pytest.fixture
def one_photo(small):
    """The arguments of `observe_all` for one photo."""
    models = observations.Models(small / "data" / PREDICTOR, small / "data" / NETWORK)
    return small / "data/img_align_celeba", ["000001.png"], models, small / ".cache"


def test_a_damaged_store_is_told(small, one_photo):
    with joblib.parallel_config("sequential"):
        observations.observe_all(*one_photo)
        (store,) = small.glob(".cache/*/observations.sqlite")
        store.write_bytes(b"no database " * 1000)
        with pytest.raises(
            InputError, match=r"observations\.sqlite: file is not a database; remove it"
        ):
            observations.observe_all(*one_photo)


def test_a_row_that_is_not_what_was_put_in_is_told(small, one_photo):
    with joblib.parallel_config("sequential"):
        observations.observe_all(*one_photo)
        (store,) = small.glob(".cache/*/observations.sqlite")
        with closing(sqlite3.connect(store)) as database:
            database.execute("UPDATE kept SET descriptor = zeroblob(512)")
            database.commit()
        with pytest.raises(
            InputError, match=r"observations\.sqlite: .*000001\.png is damaged; remove it"
        ):
            observations.observe_all(*one_photo)


def test_a_photo_that_changes_while_it_is_observed_is_told(one_photo, monkeypatch):
    observe = observations.observe

    def changed(path, models):
        path.write_bytes(b"another photo")
        return observe(path, models)

    monkeypatch.setattr(observations, "observe", changed)
    with (
        joblib.parallel_config("sequential"),
        pytest.raises(InputError, match=r"000001\.png was changed meanwhile"),
    ):
        observations.observe_all(*one_photo)


def test_as_a_command_it_ends_with_one_line_for_a_mistake_and_with_1_for_findings(small):
    result = run_script("audit_data.py", small)
    assert (result.returncode, result.stderr) == (0, "")
    rename(small, "absent.png")
    result = run_script("audit_data.py", small)
    assert (result.returncode, result.stderr) == (1, "")
    place = "data/identity_CelebA.txt:1: unreadable: absent.png of 1: missing file"
    assert result.stdout.startswith(place)
    rename_back = small / "data/identity_CelebA.txt"
    rename_back.write_text("absent.png one\n")
    line = error_line(run_script("audit_data.py", small))
    assert line.startswith("audit_data.py: error: data/identity_CelebA.txt, line 1: expected")


def sparse(path):
    with path.open("wb") as file:
        file.truncate(5 * 2**30)


NO_PHOTOS = {
    "sparse": (sparse, "larger than 64 MB"),
    "pipe": (os.mkfifo, "not a file"),
    "folder": (os.mkdir, "not a file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "not a file"),
}


@pytest.mark.parametrize("kind", NO_PHOTOS)
def test_what_is_no_photo_file_is_a_row_and_is_not_read(small, audited, kind):
    make, reason = NO_PHOTOS[kind]
    path = small / "data/img_align_celeba/000001.png"
    path.unlink()
    make(path)
    assert audited(small)[0] == audit_data.FOUND
    (row, *_) = findings(small)
    assert (row["kind"], row["photo"]) == ("unreadable", "000001.png")
    assert row["remedy"] == f"{reason}: restore it or remove the row"


def test_a_name_like_a_formula_is_refused(small, audited):
    rename(small, "=1+1.png")
    with pytest.raises(InputError, match=r"line 1: '=1\+1\.png' is not a plain file name"):
        audited(small)


def test_hostile_names_are_text_not_markup(small, audited):
    name = "1+1<img src=x onerror=alert(1)>&quot;'.png"
    rename(small, name.replace(" ", "_"))
    audited(small)
    (row, *_) = findings(small)
    assert row["kind"] == "unreadable"
    assert row["photo"] == name.replace(" ", "_")
    page = (small / "audit/index.html").read_text()
    assert "<img_src" not in page
    assert "&lt;img_src=x" in page


def test_exactly_the_planted_rows_are_named_among_real_photos(tmp_path, sample, celeba, audited):
    people = sample_photos(celeba, 8, 7)
    planted = project(tmp_path, sample, celeba / "img_align_celeba", people)
    audited(planted.folder)
    assert {row["photo"]: row["kind"] for row in findings(tmp_path)} == planted.faults
