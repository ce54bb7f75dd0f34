"""A judged list from photos to report: figures, cards, no answers, going on, and faults."""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from faceverify.base.errors import InputError
from faceverify.cards.effects import Effects
from faceverify.faces import dlib_descriptor
from faceverify.judge import command, judging
from faceverify.judge.card_effects import EFFECTS
from faceverify.judge.subject import CardPrinter, Subject
from faceverify.runs import parameters
from faceverify.verify import camera_photos
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import Verifier
from helpers import ROOT, error_line, sample_photos
from phone import encoded

pytestmark = pytest.mark.slow

REPORT = {"index.html", "report.json", "scores.csv"}


@pytest.fixture(scope="module")
def app(app_folder, sample, tmp_path_factory) -> Path:
    """The app with both of dlib's models."""
    folder = tmp_path_factory.mktemp("judged")
    shutil.copytree(app_folder, folder, dirs_exist_ok=True)
    shutil.copy(sample / dlib_descriptor.NETWORK, folder / "data")
    return folder


@pytest.fixture(scope="module")
def photos(sample, tmp_path_factory) -> Path:
    """A folder of photos p0-0.png ... p4-2.png: three each of five people."""
    folder = tmp_path_factory.mktemp("photos")
    for person, names in enumerate(sample_photos(sample, 5, 3).values()):
        for k, name in enumerate(names):
            shutil.copy(sample / "img_align_celeba" / name, folder / f"p{person}-{k}.png")
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def judge(app, folder):
    """Judge with some arguments into `report`; gives the values of report.json."""
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())

    def run(*arguments) -> dict:
        verifier = ["--verifier", str(app / "models/verifier.json")]
        asked = ["judge", *map(str, arguments), "--out", "report", *verifier]
        assert command.run(parser.parse_args(asked)) == 0
        assert {path.name for path in Path("report").iterdir()} == REPORT
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
        return json.loads(Path("report/report.json").read_text())

    return run


@pytest.fixture
def embedded_photos(monkeypatch):
    """The photos that were embedded, in their order."""
    calls = []
    embed = Subject.embed

    def counted(self, photo, **options):
        calls.append(Path(photo).name)
        return embed(self, photo, **options)

    monkeypatch.setattr(Subject, "embed", counted)
    return calls


def all_pairs(photos: Path) -> list[tuple]:
    names = sorted(path.name for path in photos.iterdir())
    return [(a, b, int(a[:2] == b[:2]), a[:2], b[:2]) for a, b in combinations(names, 2)]


def write(rows, *columns: str) -> Path:
    heading = ("first", "second", "same", "first_person", "second_person", *columns)
    with Path("pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([heading[: len(rows[0])], *rows])
    return Path("pairs.csv")


def scored() -> tuple[list[dict[str, str]], np.ndarray, np.ndarray]:
    """The rows of scores.csv, the angles, infinite without an answer, and the labels."""
    with Path("report/scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    theta = np.array([float(row["theta"] or "inf") for row in rows])
    return rows, theta, np.array([row["same"] == "1" for row in rows])


def test_the_figures_are_those_of_the_scores_and_the_scores_those_of_verify(app, judge, photos):
    pairs = all_pairs(photos)
    found = judge(write(pairs), "--photos", photos, "--fmr", "0.2")
    rows, theta, same = scored()
    assert [(row["first"], row["second"], int(row["same"])) for row in rows] == [
        pair[:3] for pair in pairs
    ]
    verifier = Verifier.load(app / "models/verifier.json")
    for row, angle in list(zip(rows, theta, strict=True))[::20]:
        expected = verifier.compare(*(photos / row[slot] for slot in ("first", "second")))
        assert angle == pytest.approx(expected.theta, abs=2e-5)
    own = found["models"]["verifier"]
    assert own["rates"]["all pairs"]["fmr"] == pytest.approx(np.mean(theta[~same] < 0.6), abs=1e-6)
    assert own["rates"]["all pairs"]["fnmr"] == pytest.approx(np.mean(theta[same] >= 0.6), abs=1e-6)
    assert own["figures"]["auc"] == pytest.approx(roc_auc_score(same, -theta), abs=1e-6)
    angles = np.sort(theta[~same])
    assert own["thresholds"]["20pct"] == angles[len(angles) // 5]
    assert own["figures"]["tar_at_fmr_1pct"] is None  # fewer than 1,000 impostor pairs
    assert found["pairs"] == {
        "genuine": 15, "impostor": 90, "photos": 15, "people": 5, "drawn": "people",
        "identical_files": 0,
    }  # fmt: skip
    assert found["no_answer"] == {"genuine": 0, "impostor": 0, "reasons": []}


def test_each_photo_is_embedded_once(judge, photos, embedded_photos):
    judge(write(all_pairs(photos)), "--photos", photos)
    assert set(Counter(embedded_photos).values()) == {1}


def test_no_answers_are_counted_by_reason_and_as_refused(judge, photos, folder):
    (folder / "dark.png").write_bytes(encoded(np.zeros((300, 300, 3), np.uint8), "PNG"))
    rows = [(photos / a, photos / b, same) for a, b, same, *_ in all_pairs(photos)[::5]]
    good = len(rows)
    rows += [(photos / "p0-0.png", "none.jpg", 1), ("dark.png", "none.jpg", 1)]
    rows += [("dark.png", photos / "p0-0.png", 0)]
    found = judge(write(rows))
    reasons = {(r["reason"], r["slot"]): (r["photos"], r["pairs"])
               for r in found["no_answer"]["reasons"]}  # fmt: skip
    assert reasons == {("unreadable", "second"): (1, 2), ("no_face", "first"): (1, 2)}
    assert (found["no_answer"]["genuine"], found["no_answer"]["impostor"]) == (2, 1)
    _, theta, same = scored()
    assert np.isinf(theta[good:]).all()
    assert found["no_answer_share"]["no_answer"] == pytest.approx(3 / len(rows), abs=1e-6)
    rates = found["models"]["verifier"]["rates"]["all pairs"]
    assert rates["fnmr"] == pytest.approx(np.mean(~(theta[same] < 0.6)), abs=1e-6)
    assert rates["fmr"] == pytest.approx(np.mean(theta[~same] < 0.6), abs=1e-6)
    assert found["pairs"]["drawn"] == "photos"
    assert found["curves"]["verifier"][-1]["fnmr"] >= 2 / same.sum() - 1e-6


def test_dlib_is_judged_on_the_same_photos(app, judge, photos, sample):
    pairs = all_pairs(photos)[::3]
    found = judge(write(pairs), "--photos", photos, "--beside", "dlib")
    rows, _, same = scored()
    distance = np.array([float(row["dlib"]) for row in rows])
    assert roc_auc_score(same, -distance) > 0.99  # what an untrained verifier cannot
    dlib = found["models"]["dlib"]
    assert dlib["rates"]["all pairs"]["fmr"] == pytest.approx(np.mean(distance[~same] < 0.6))
    assert dlib["figures"]["auc"] == pytest.approx(roc_auc_score(same, -distance), abs=1e-6)
    own = found["models"]["verifier"]["figures"]["auc"]
    assert found["differences"]["auc"] == pytest.approx(dlib["figures"]["auc"] - own, abs=2e-6)
    assert found["better"]["auc"] in ("dlib", "")
    page = Path("report/index.html").read_text()
    assert "dlib less verifier" in page and page.count("<svg") == 3


def test_cards_are_the_first_photos_alone(app, judge, photos):
    pairs = [pair for pair in all_pairs(photos) if {*pair[3:]} <= {"p0", "p1"}][::3]
    pairs += [(b, a, same, q, p) for a, b, same, p, q in pairs]  # each photo in both slots
    plain = judge(write(pairs), "--photos", photos)
    _, angles, _ = scored()
    found = judge(write(pairs), "--photos", photos, "--card")
    _, carded, _ = scored()
    assert (found["condition"], plain["condition"]) == (
        "first photos on simulated cards", "photos as they are",
    )  # fmt: skip
    both = np.isfinite(carded) & np.isfinite(angles)
    assert both.sum() >= len(pairs) / 2
    assert (np.abs(carded - angles)[both] > 1e-4).all()
    half = len(pairs) // 2
    assert np.allclose(angles[:half], angles[half:], atol=1e-5)
    turned = np.isfinite(carded[:half]) & np.isfinite(carded[half:])
    assert (np.abs(carded[:half] - carded[half:])[turned] > 1e-4).all()


def test_a_card_depends_on_the_photo_and_its_name_in_the_folder_alone(app, photos, folder):
    verifier = Verifier.load(app / "models/verifier.json")
    shutil.copy(photos / "p1-0.png", folder / "p1-0.png")
    shutil.copy(photos / "p1-0.png", folder / "other.png")
    vectors = []
    for place, name in ((photos, "p1-0.png"), (folder, "p1-0.png"), (folder, "other.png")):
        printer = CardPrinter(judging.EFFECTS, judging.SEED, place)
        subject = Subject(verifier, printer, None)
        face = subject.aligned(str(place / name), first=True)
        vectors.append(face.astype(float))
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_the_cards_are_those_of_the_evaluation():
    ranges = yaml.safe_load((ROOT / "params.yaml").read_text())["card"]
    assert Effects.model_validate(ranges) == judging.EFFECTS


def test_a_photo_without_a_face_gives_no_card(app, folder):
    (folder / "dark.png").write_bytes(encoded(np.zeros((300, 300, 3), np.uint8), "PNG"))
    verifier = Verifier.load(app / "models/verifier.json")
    subject = Subject(verifier, CardPrinter(judging.EFFECTS, 1, folder), None)
    with pytest.raises(CaptureError, match="no card can be made of the photo: no face") as raised:
        subject.embed(str(folder / "dark.png"), any_side=True)
    assert raised.value.code == "no_card"


@pytest.fixture
def stopped(judge, photos, monkeypatch):
    """A list, and the progress of a run that was stopped while it judged that."""
    path, decode, calls = write(all_pairs(photos)), camera_photos.decode, []

    def failing(data):
        calls.append(data)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return decode(data)

    with monkeypatch.context() as patch:
        patch.setattr(camera_photos, "decode", failing)
        with pytest.raises(KeyboardInterrupt):
            judge(path, "--photos", photos)
    assert not Path("report").exists()
    (progress,) = Path(".report.tmp-judge").glob("*-progress")
    return path, progress


def test_a_stopped_run_goes_on(stopped, judge, photos, embedded_photos):
    judge(stopped[0], "--photos", photos)
    assert 0 < len(embedded_photos) < 15


def test_damaged_progress_is_named_and_can_be_removed(stopped, judge, photos, embedded_photos):
    path, progress = stopped
    progress.write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"-progress: .*; remove it and run"):
        judge(path, "--photos", photos)
    progress.unlink()
    judge(path, "--photos", photos)
    assert len(embedded_photos) == 15


def test_scores_of_a_report_serve_again_until_a_photo_changes(
    judge, photos, embedded_photos, folder, monkeypatch
):
    own = shutil.copytree(photos, folder / "own")
    path = write(all_pairs(photos))
    first = judge(path, "--photos", own)
    del embedded_photos[:]
    Path("wrong.csv").write_text("first,second\np1-0.png,p0-0.png\n")
    again = judge(path, "--photos", own, "--wrong-labels", "wrong.csv")
    assert embedded_photos == []
    assert again["models"] == first["models"]
    without = again["without_wrong_labels"]
    assert without["left_out"] == 1
    assert without["models"]["verifier"]["rates"]["all pairs"]["impostor"] == 89
    assert "Without the 1 pairs whose labels are wrong" in Path("report/index.html").read_text()
    with Path("report/scores.csv").open("a") as file:
        file.write("changed,by,hand\n")
    assert judge(path, "--photos", own)["scores"] == first["scores"]
    assert len(embedded_photos) == 15
    os.utime(own / "p0-0.png", (1, 1))
    del embedded_photos[:]
    judge(path, "--photos", own)
    assert len(embedded_photos) == 15


def test_two_photos_of_different_people_that_are_one_file_are_suspected(judge, photos, folder):
    own = shutil.copytree(photos, folder / "own")
    shutil.copy(own / "p0-0.png", own / "p5-0.png")
    pair = ("p0-0.png", "p5-0.png", 0, "p0", "p5")
    rows = [pair, *(row for row in all_pairs(own)[::2] if row != pair)]
    found = judge(write(rows), "--photos", own, "--beside", "dlib")
    suspected = found["suspected_labels"][0]
    assert (suspected["first"], suspected["second"]) == ("p0-0.png", "p5-0.png")
    assert (suspected["theta"], suspected["same"]) == (0, False)
    assert found["pairs"]["identical_files"] == 1
    assert "one and the same file" in Path("report/index.html").read_text()


def test_the_page_needs_no_network_and_takes_no_name_for_markup(judge, photos, folder):
    own = shutil.copytree(photos, folder / "own")
    shutil.move(own / "p0-0.png", own / "<script>&\"'.png")
    # Labelled the wrong way round, so that both pairs are among the errors that the page shows.
    rows = [("<script>&\"'.png", "p1-0.png", 1), ("<script>&\"'.png", "p0-1.png", 0)]
    judge(write(rows), "--photos", own)
    page = Path("report/index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;&amp;" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "http" not in re.sub(r'src="[^"]*"', "", page)


def test_a_folder_of_different_people_by_group(judge, sample, folder):
    names = [names[0] for names in sample_photos(sample, 8, 1).values()]
    own = folder / "people"
    own.mkdir()
    for name in names:
        shutil.copy(sample / "img_align_celeba" / name, own)
    lines = [f"{name},{'a' if k < 4 else 'b'}" for k, name in enumerate(names)]
    Path("groups.csv").write_text("\n".join(["photo,group", *lines]))
    found = judge("--different-people", own, "--groups", "groups.csv", "--fmr", "1/2")
    rates = found["models"]["verifier"]["rates"]
    assert {name: rate["impostor"] for name, rate in rates.items()} == {
        "all pairs": 28, "a": 6, "b": 6, "a / b": 16, "across groups": 16,
    }  # fmt: skip
    _, theta, _ = scored()
    assert rates["all pairs"]["fmr"] == pytest.approx(np.mean(theta < 0.6), abs=1e-6)
    assert rates["all pairs"]["fnmr"] is None
    assert found["models"]["verifier"]["thresholds"]["50pct"] == np.sort(theta)[14]
    drawn = judge("--different-people", own, "--draw", "5")
    assert drawn["pairs"]["impostor"] == 5


def test_a_report_is_written_whole_or_not_at_all(judge, photos, monkeypatch):
    path = write(all_pairs(photos)[::4])
    judge(path, "--photos", photos)
    before = {p.name: p.read_bytes() for p in Path("report").iterdir()}

    def broken(*_):
        raise OSError(28, "No space left on device", "index.html")

    with monkeypatch.context() as patch:
        patch.setattr(judging.page, "render", broken)
        with pytest.raises(OSError, match="No space"):
            judge(path, "--photos", photos, "--fmr", "0.2")
    assert {p.name: p.read_bytes() for p in Path("report").iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a list of pairs, or a folder with --different-people"),
        (["pairs.csv", "--different-people", "."], "name a list of pairs, or a folder with"),
        (["pairs.csv", "--groups", "g.csv"], "--groups goes with --different-people"),
        (["pairs.csv", "--draw", "5"], "--draw goes with --different-people"),
        (["--different-people", ".", "--draw", "0"], "--draw: 0 is no number of pairs"),
        (["--different-people", ".", "--photos", "."], "--photos goes with a list"),
        (["pairs.csv", "--fmr", "1.5"], "--fmr: '1.5' is no share between 0 and 1"),
        (["pairs.csv", "--fmr", "x"], "--fmr: 'x' is no share between 0 and 1"),
    ],
)
def test_arguments_that_do_not_go_together(judge, arguments, said):
    with pytest.raises(InputError) as raised:
        judge(*arguments)
    assert str(raised.value).startswith(said)


def test_a_folder_that_holds_something_else_stays_as_it_is(judge, photos, folder):
    path = write(all_pairs(photos)[::4])
    (folder / "report").mkdir()
    (folder / "report/thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"report holds 'thesis.txt', no part of a report"):
        judge(path, "--photos", photos)
    assert [p.name for p in (folder / "report").iterdir()] == ["thesis.txt"]
    shutil.rmtree(folder / "report")
    (folder / "report").touch()
    with pytest.raises(InputError, match="report is no folder"):
        judge(path, "--photos", photos)


def test_a_missing_descriptor_model_is_named(app_folder, photos, folder):
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    path = write(all_pairs(photos)[::4])
    arguments = ["judge", str(path), "--out", "report", "--beside", "dlib"]
    arguments += ["--verifier", str(app_folder / "models/verifier.json")]
    with pytest.raises(InputError, match=r"--beside dlib: .*\.dat is missing; put dlib's"):
        command.run(parser.parse_args(arguments))


def test_the_command_as_a_user_runs_it(app, photos, folder):
    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "faceverify", "judge", *arguments, "--out", "report",
             "--verifier", str(app / "models/verifier.json")],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True,
        )  # fmt: skip

    path = write(all_pairs(photos)[::4])
    good = run(str(path), "--photos", str(photos))
    assert (good.returncode, good.stderr) == (0, "")
    first, silent, rates = good.stdout.splitlines()
    assert first.startswith("report/index.html: ")
    assert silent.startswith("no answer: 0.00% [0.00%")
    assert re.fullmatch(r"verifier: FMR \d+\.\d\d%.*, FNMR \d+\.\d\d%.*", rates)
    path.write_text("first;second;same\n1;2;1\n")
    assert error_line(run(str(path))) == (
        "faceverify: error: pairs.csv: its columns are separated by a semicolon; "
        "separate by a comma"
    )
    assert error_line(run("none.csv")) == "faceverify: error: none.csv: No such file or directory"


# Real photos


@pytest.mark.slow
def test_strangers_of_real_sets_by_group(judge, folder, people):
    with (people / "people.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["held_out"] == "1"]
    chosen = [row for row in rows if row["set"] in ("thai", "aaf")][:40]
    chosen += [row for row in rows if row["set"] == "thai"][:40]
    own = folder / "people"
    own.mkdir()
    groups = {row["photo"]: row["set"] for row in chosen}
    for photo in groups:
        shutil.copy(people / "img_align_celeba" / photo, own)
    lines = [f"{photo},{group}" for photo, group in groups.items()]
    Path("groups.csv").write_text("\n".join(["photo,group", *lines]))
    found = judge("--different-people", own, "--groups", "groups.csv", "--draw", "300")
    assert found["no_answer_share"]["no_answer"] < 0.1
    assert found["pairs"]["impostor"] == 300


@pytest.mark.slow
def test_pairs_of_real_celebrities(judge, celeba, folder):
    photos = sample_photos(celeba, 30, 4)
    named = [(photo, person) for person, names in photos.items() for photo in names]
    rows = [(a, b, int(p == q), p, q) for (a, p), (b, q) in combinations(named, 2)]
    rows = [row for row in rows if row[2]] + [row for row in rows if not row[2]][::30]
    found = judge(write(rows), "--photos", celeba / "img_align_celeba", "--beside", "dlib")
    assert found["models"]["dlib"]["figures"]["auc"] > 0.95
    assert found["no_answer_share"]["no_answer"] < 0.15


def test_judged_cards_are_those_of_the_projects_parameters():
    assert parameters.load(ROOT / "params.yaml").card == EFFECTS
