"""Two photos in, a decision out: the library, the command, and what it says of bad photos."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import faceverify
import faceverify.__main__
import verify
from faceverify.base.errors import InputError
from faceverify.verify import face_networks
from faceverify.verify.embedding import Embedding
from faceverify.verify.refusals import (
    CaptureError,
    NoFaceError,
    TooDarkError,
    UnreadablePhotoError,
    WrongPointsError,
)
from faceverify.verify.verifier import Verifier
from helpers import ROOT, error_line, run_script, sample_photos
from phone import encoded, phone_photo


@pytest.fixture(scope="module")
def verifier(app_folder):
    return Verifier.load(app_folder / "models/verifier.json")


@pytest.fixture(scope="module")
def people(sample, tmp_path_factory):
    """Two photos, as a phone takes them, of each of some people: files by person.

    They are not shots in a row, which may be alike enough to be taken for copies.
    """
    folder = tmp_path_factory.mktemp("people")
    files = []
    for person, names in sample_photos(sample, 3, 5).items():
        own = [folder / f"{person}-{k}.jpg" for k in range(2)]
        for path, name in zip(own, names[::4], strict=True):
            path.write_bytes(encoded(phone_photo(sample / "img_align_celeba" / name, 600, 800)))
        files.append(own)
    return files


@pytest.fixture(scope="module")
def good(people):
    """A small photo that can be used, for tests of many runs."""
    path = people[0][0].with_name("good.jpg")
    Image.open(people[0][0]).resize((240, 320)).crop((30, 80, 210, 240)).save(path)
    return path


# The library


def test_an_embedding_says_what_a_comparison_needs(verifier, people):
    found = verifier.embed(people[0][0])
    assert (found.vector.shape, found.vector.dtype) == ((16,), np.float32)
    assert found.face.aligned.shape == (218, 178, 3)
    again = verifier.embed(people[0][0].read_bytes())
    np.testing.assert_array_equal(found.vector, again.vector)
    assert found.digest == again.digest


def test_photos_paths_and_embeddings_compare_alike(verifier, people):
    one, other = people[0][0], people[1][1]
    by_path = verifier.compare(one, str(other))
    by_bytes = verifier.compare(one.read_bytes(), other.read_bytes())
    by_embedding = verifier.compare(verifier.embed(one), verifier.embed(other))
    assert by_path.theta == by_bytes.theta == by_embedding.theta
    assert isinstance(by_path.first, Embedding)
    assert not by_path.identical
    assert 0 < by_path.theta < np.pi
    assert set(by_path.thetas) == {"ja", "mar"}
    assert by_path.theta == pytest.approx(
        0.75 * by_path.thetas["ja"] + 0.25 * by_path.thetas["mar"], abs=1e-5
    )


def test_theta_below_the_threshold_is_accepted_and_at_it_is_not(verifier, people):
    theta = verifier.compare(*people[0]).theta
    assert verifier.compare(*people[0], threshold=theta + 1e-6).accepted
    assert not verifier.compare(*people[0], threshold=theta).accepted
    assert verifier.compare(*people[0]).threshold == 0.6


def test_one_file_twice_is_told(verifier, people):
    found = verifier.compare(people[0][0], people[0][0])
    assert found.identical
    assert found.theta == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_card_on_its_side_is_the_card(verifier, people, turns):
    card, live = (np.asarray(Image.open(path)) for path in people[0])
    upright = encoded(card, "PNG")
    turned = encoded(np.ascontiguousarray(np.rot90(card, turns)), "PNG")
    expected = verifier.compare(upright, encoded(live, "PNG"))
    found = verifier.compare(turned, encoded(live, "PNG"))
    assert found.first.face.turns == 4 - turns
    assert found.theta == pytest.approx(expected.theta, abs=0.02)


def test_a_fault_names_its_photo_and_code(verifier, people):
    with pytest.raises(NoFaceError) as caught:
        verifier.compare(people[0][0], encoded(np.zeros((300, 300, 3), np.uint8)))
    assert (caught.value.slot, caught.value.code) == ("second", "no_face")
    with pytest.raises(UnreadablePhotoError) as caught:
        verifier.compare(b"", people[0][0])
    assert (caught.value.slot, caught.value.code) == ("first", "unreadable")


def test_two_members_of_a_crowd_are_refused_or_the_largest_taken(verifier, people):
    photos = [np.asarray(Image.open(own[0])) for own in people[:2]]
    both = encoded(np.concatenate(photos, axis=1))
    with pytest.raises(CaptureError) as caught:
        verifier.compare(people[0][0], both)
    assert (caught.value.slot, caught.value.code) == ("second", "several_faces")
    assert verifier.compare(people[0][0], both, allow_several=True).second.face.others == 1


def test_several_threads_get_what_one_gets(verifier, people):
    expected = [verifier.compare(*own).theta for own in people]
    found = {}

    def work(i):
        found[i] = verifier.compare(*people[i % 3]).theta

    threads = [threading.Thread(target=work, args=(i,)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(9)] == expected * 3


def test_a_forked_process_has_threads_of_its_own(verifier, good):
    expected = verifier.embed(good).vector  # the parent's threads run
    child = os.fork()
    if child == 0:
        found = verifier.embed(good).vector
        os._exit(0 if np.array_equal(found, expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Compares a photo with itself in a process of its own, and prints how many kilobytes it grew by
# after the first calls. Half of the calls come from one thread, half from threads of their own.
GROWTH = """
import sys, threading
from pathlib import Path
from faceverify import Verifier

verifier, photo = Verifier.load(sys.argv[1]), Path(sys.argv[2])
first, half = map(int, sys.argv[3:])

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

def compare():
    verifier.compare(photo, photo)

def from_its_own_thread():
    thread = threading.Thread(target=compare)
    thread.start()
    thread.join()

for call in (compare, from_its_own_thread) * (first // 2):
    call()
before = resident()
for call in (compare, from_its_own_thread):
    for _ in range(half):
        call()
print(resident() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_calls(app_folder, good):
    arguments = (app_folder / "models/verifier.json", good, 200, 5000)
    result = subprocess.run(
        [sys.executable, "-c", GROWTH, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(result.stdout) < 2048  # kB, in 10,000 calls


@pytest.mark.parametrize("name", [face_networks.FINDER, face_networks.MESH])
def test_the_networks_that_find_a_face_lie_beside_it(app_folder, tmp_path, name):
    folder = shutil.copytree(app_folder / "models", tmp_path / "models")
    (folder / name).write_bytes((app_folder / "models/verifier.tflite").read_bytes())
    with pytest.raises(InputError, match=r"is not the file that verifier\.json describes"):
        Verifier.load(folder / "verifier.json")
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing; it belongs beside verifier\.json"):
        Verifier.load(folder / "verifier.json")


# A caller's own points


def test_a_callers_own_points_give_what_the_own_search_gives(verifier, people):
    photo = people[0][0]
    found = verifier.embed(photo)
    own = verifier.embed_points(photo, found.face.points)
    np.testing.assert_array_equal(own.vector, found.vector)
    assert own.digest == found.digest
    np.testing.assert_array_equal(verifier.embed_aligned(found.face.aligned).vector, found.vector)


def test_points_of_a_large_photo_are_in_its_own_pixels(verifier, people, tmp_path):
    with Image.open(people[0][0]) as photo:
        factor = 3000 / max(photo.size)
        large = photo.resize(
            [round(side * factor) for side in photo.size], Image.Resampling.BICUBIC
        )
    large.save(tmp_path / "large.png")
    points = (verifier.embed(people[0][0]).face.points + 0.5) * factor - 0.5
    own = verifier.embed_points(tmp_path / "large.png", points)
    assert verifier.compare(own, people[0][0]).theta < 0.1
    assert own.face.interocular == pytest.approx(np.linalg.norm(points[1] - points[0]))


@pytest.mark.parametrize("order", [[1, 0, 2, 4, 3], [1, 0, 2, 3, 4]])
def test_points_with_left_and_right_swapped_are_refused(verifier, people, order):
    points = verifier.embed(people[0][0]).face.points
    with pytest.raises(WrongPointsError):
        verifier.embed_points(people[0][0], points[order])


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_points_that_are_no_places_are_refused(verifier, people, value):
    with pytest.raises(WrongPointsError):
        verifier.embed_points(people[0][0], np.full((5, 2), value))
    with pytest.raises(ValueError, match=r"points must be \(5, 2\), not \(68, 2\)"):
        verifier.embed_points(people[0][0], np.zeros((68, 2)))


def test_an_aligned_face_of_another_kind_is_refused(verifier, people):
    aligned = verifier.embed(people[0][0]).face.aligned
    for other in (aligned[:-1], aligned.astype(float), aligned[..., 0]):
        with pytest.raises(ValueError, match="an aligned face must be uint8"):
            verifier.embed_aligned(other)
    with pytest.raises(TooDarkError):
        verifier.embed_aligned(aligned // 10)


def test_neither_tensorflow_nor_pandas_is_needed():
    code = "import sys, verify; print(sorted({name.split('.')[0] for name in sys.modules}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(result.stdout.replace("'", '"')))
    assert {"ai_edge_litert", "cv2"} <= loaded
    assert not loaded & {"dlib", "tensorflow", "keras", "pandas", "joblib", "dvc", "matplotlib"}


# The command


@pytest.fixture
def run_main(verifier, tmp_path, monkeypatch, capsys):
    """Run a program's main in a folder of its own: exit code, stdout, stderr's lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Verifier, "load", lambda path: verifier)

    def run(main, name, *arguments) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err.splitlines()

    return run


@pytest.fixture
def command(run_main):
    """Run the script, as `run_main` does."""
    return functools.partial(run_main, lambda: verify.script.run(verify.main), "verify.py")


@pytest.fixture
def package(run_main):
    """Run the package's command, as `run_main` does."""
    return functools.partial(run_main, faceverify.__main__.main, "faceverify")


def test_the_exit_code_is_the_decision(command, people):
    code, out, err = command(*people[0], "--threshold", "3.14")
    assert (code, err) == (0, [])
    assert out.startswith("accept: theta 0.")
    assert out.endswith("below the threshold 3.1400: the photos show one person\n")
    code, out, err = command(*people[0], "--threshold", "0")
    assert (code, err) == (1, [])
    assert out.startswith("reject: theta 0.")
    assert "not below the threshold 0.0000" in out


def test_json_says_all(command, people):
    code, out, err = command("--json", *people[0])
    found = json.loads(out)
    assert code == {"accept": 0, "reject": 1}[found["decision"]]
    assert (found["threshold"], found["warnings"], err) == (0.6, [], [])
    assert set(found["members"]) == {"ja", "mar"}
    assert found["first"]["faces"] == found["second"]["faces"] == 1
    assert found["first"]["interocular"] == pytest.approx(70, rel=0.15)


def test_an_error_as_json_has_the_stable_code(command, people):
    code, out, err = command("--json", people[0][0], "none.jpg")
    found = json.loads(out)["error"]
    assert (code, found["photo"], found["code"]) == (2, "second", "unreadable")
    assert err == [f"verify.py: error: {found['message']}"]
    assert found["message"] == (
        "live photo none.jpg: the photo cannot be read: no such file or directory"
    )


def test_warnings_are_told_once_and_change_nothing(command, people, tmp_path):
    one = people[0][0]
    code, out, err = command(one, one)
    assert (code, out[:7]) == (0, "accept:")
    assert len(err) == 1
    assert "one and the same file" in err[0]
    photos = [np.asarray(Image.open(own[0])) for own in people[:2]]
    both = tmp_path / "both.jpg"
    both.write_bytes(encoded(np.concatenate(photos, axis=1)))
    assert command(both, one)[0] == 2
    code, out, err = command(both, one, "--allow-several", "--threshold", "3")
    assert code == 0
    assert err == ["verify.py: warning: ID photo: it shows 2 faces; the largest was taken"]


def test_a_refusal_says_which_photo_could_be_better(command, people, tmp_path):
    live = tmp_path / "live.png"
    photo = np.asarray(Image.open(people[0][1]))
    live.write_bytes(encoded(cv2.GaussianBlur(photo, (0, 0), 3.2), "PNG"))
    told = "live photo: the face is rather blurred; hold the phone still and use more light"
    code, _, err = command(people[0][0], live, "--threshold", "0")
    assert (code, err) == (1, [f"verify.py: warning: {told}"])
    code, out, err = command(people[0][0], live, "--threshold", "0", "--json")
    assert json.loads(out)["warnings"] == [told]
    told = told.replace("live photo", "ID photo")
    assert command(live, people[0][0], "--threshold", "0")[2] == [f"verify.py: warning: {told}"]
    assert command(people[0][0], live, "--threshold", "3")[2] == []
    assert command(people[0][0], people[0][1], "--threshold", "0")[2] == []


def test_the_picture_shows_both_photos_and_is_the_same_again(command, people, tmp_path):
    command(*people[0], "--picture", "one.png")
    command(*people[0], "--picture", "two.png")
    first = (tmp_path / "one.png").read_bytes()
    assert first == (tmp_path / "two.png").read_bytes()
    picture = cv2.cvtColor(cv2.imread("one.png"), cv2.COLOR_BGR2RGB)
    width = picture.shape[1]
    assert width > 900
    for half in (picture[:, : width // 2], picture[:, width // 2 :]):
        yellow = (half[..., 0] > 220) & (half[..., 1] > 180) & (half[..., 2] < 60)
        assert yellow.sum() > 300  # the box and the points
    command(*people[0], "--picture", "red.png", "--threshold", "0")
    assert first != (tmp_path / "red.png").read_bytes()


def test_a_turned_card_is_drawn_upright(command, people, tmp_path):
    card = np.asarray(Image.open(people[0][0]))
    (tmp_path / "up.png").write_bytes(encoded(card, "PNG"))
    turned = np.ascontiguousarray(np.rot90(card))
    (tmp_path / "turned.png").write_bytes(encoded(turned, "PNG"))
    command("up.png", people[0][1], "--picture", "a.png")
    command("turned.png", people[0][1], "--picture", "b.png")
    difference = cv2.imread("a.png").astype(int) - cv2.imread("b.png")
    assert np.abs(difference[:480]).mean() < 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name two photos"),
        (["a.jpg"], "name two photos"),
        (["--pairs", "a.csv"], "a list takes --pairs and --out"),
        (["--out", "a.csv"], "a list takes --pairs and --out"),
        (["a.jpg", "b.jpg", "--pairs", "a.csv", "--out", "b.csv"], "a list takes"),
        (["--json", "--pairs", "a.csv", "--out", "b.csv"], "a list takes"),
        (["--threshold", "4", "a.jpg", "b.jpg"], "--threshold: 4.0 is not in 0 .. pi"),
        (["--threshold", "nan", "a.jpg", "b.jpg"], "--threshold: nan is not"),
        (["--picture", "a.jpg", "a.jpg", "b.jpg"], "--picture: a.jpg is no file name"),
        (["a.jpg", "b.jpg"], "ID photo a.jpg: the photo cannot be read: no such file"),
    ],
    ids=str,
)
def test_a_wrong_command_is_one_line_and_writes_nothing(command, tmp_path, arguments, said):
    code, _out, err = command(*arguments)
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith(f"verify.py: error: {said}")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_is_named(command, people, tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png/kept").touch()
    code, _out, err = command(*people[0], "--picture", "folder.png")
    assert (code, len(err)) == (2, 1)
    assert "folder.png" in err[0]
    assert (tmp_path / "folder.png/kept").exists()


@pytest.fixture
def results(good, tmp_path):
    """Names of files that a result must not replace, by what is wrong with them."""
    (tmp_path / "id.png").write_bytes(good.read_bytes())
    (tmp_path / "hard.png").hardlink_to(tmp_path / "id.png")
    (tmp_path / "soft.png").symlink_to("id.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("id.png", "id.png is the ID photo"),
        ("hard.png", "hard.png is the ID photo"),
        ("soft.png", "soft.png is the ID photo"),
        ("null.png", "null.png is no regular file"),
        ("pipe.png", "pipe.png is no regular file"),
    ],
)
def test_a_picture_replaces_no_photo_and_no_device(command, results, good, name, said):
    before = {path.name: path.lstat() for path in results.iterdir()}
    code, out, err = command("id.png", good, "--picture", name)
    assert (code, out, err) == (2, "", [f"verify.py: error: {said}"])
    assert {path.name: path.lstat() for path in results.iterdir()} == before


def test_a_picture_goes_where_a_link_leads(command, good, tmp_path):
    (tmp_path / "link.png").symlink_to("new.png")
    for _ in range(2):
        assert command(good, good, "--picture", "link.png")[0] == 0
    assert (tmp_path / "link.png").is_symlink()
    assert cv2.imread(str(tmp_path / "new.png")) is not None


@pytest.mark.parametrize(
    "arguments",
    [["--threshold", "9"], ["--picture", "/proc/x.png"], ["--picture", "a.jpg"]],
    ids=str,
)
def test_each_error_is_told_as_json(command, good, arguments):
    code, out, err = command("--json", good, good, *arguments)
    assert code == 2
    error = json.loads(out)["error"]
    assert (error["photo"], error["code"]) == (None, "setup")
    assert err == [f"verify.py: error: {error['message']}"]


def test_an_error_of_the_system_is_told_as_json(good, tmp_path):
    (tmp_path / "itself.json").symlink_to("itself.json")
    photos = (str(good), str(good))
    result = run_script("verify.py", tmp_path, "--json", *photos, "--verifier", "itself.json")
    message = json.loads(result.stdout)["error"]["message"]
    assert message.startswith("itself.json: Too many levels")
    assert error_line(result) == f"verify.py: error: {message}"


# Malformed files


def malformed(photo: np.ndarray) -> dict[str, bytes]:
    """More than 200 files that are no whole photo, by what is wrong with them."""
    made = {}
    rng = np.random.default_rng(4)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        data = encoded(photo, kind)
        for share in np.linspace(0.001, 0.95, 30):
            made[f"{kind} cut at {share:.3f}"] = data[: int(len(data) * share)]
        for length in (4, 16, 64, 1000):
            noise = rng.integers(0, 256, 5000, np.uint8).tobytes()
            made[f"{kind}, noise from {length}"] = data[:length] + noise
        made[f"{kind}, a byte too early"] = b"\0" + data
        made[f"{kind}, zeros"] = data[:12] + bytes(len(data))
        made[f"{kind} as text"] = data.hex().encode()
    for i in range(20):
        made[f"noise {i}"] = rng.integers(0, 256, 50 * i, np.uint8).tobytes()
    return made


def test_200_malformed_files_give_an_exit_code_and_a_line(command, good, people, tmp_path):
    photo = np.asarray(Image.open(people[0][1]).resize((150, 200)))
    cases = malformed(photo)
    assert len(cases) >= 200
    path = tmp_path / "bad"
    for i, (wrong, data) in enumerate(cases.items()):
        path.write_bytes(data)
        # A good photo costs the time: it is beside some of them only.
        title, photos = ("live photo", (good, path)) if i % 10 == 0 else ("ID photo", (path, path))
        code, out, err = command(*photos)
        assert (code, out, len(err)) == (2, "", 1), wrong
        assert err[0].startswith(f"verify.py: error: {title} {path}: "), wrong
    assert list(tmp_path.iterdir()) == [path]


def test_a_photo_with_a_changed_byte_never_gives_a_traceback(command, good, people, tmp_path):
    photo = np.asarray(Image.open(people[0][1]).resize((150, 200)))
    rng, path = np.random.default_rng(5), tmp_path / "bad"
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        data = bytearray(encoded(photo, kind))
        for _ in range(8):
            changed = data.copy()
            changed[int(rng.integers(min(len(data), 700)))] = int(rng.integers(256))
            path.write_bytes(changed)
            code, out, err = command(good, path)
            assert (code in (0, 1) and out and not err) or (code == 2 and len(err) == 1)


def test_the_command_as_a_user_runs_it(app_folder, people, tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    named = ("--verifier", str(app_folder / "models/verifier.json"))
    photos = tuple(map(str, people[0]))
    good = run_script("verify.py", tmp_path, *photos, "--threshold", "3", *named)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("accept: theta ")
    line = error_line(run_script("verify.py", tmp_path, photos[0], str(empty), *named))
    assert line == f"verify.py: error: live photo {empty}: the file is empty; send the photo again"
    line = error_line(run_script("verify.py", tmp_path, str(tmp_path), str(empty), *named))
    assert line.startswith(f"verify.py: error: ID photo {tmp_path}: this is a folder")


# Where the verifier lies, and the package's own command


@pytest.fixture(scope="module")
def checkout(app_folder, tmp_path_factory):
    """A checkout with its code and an exported verifier; nothing else is needed to verify."""
    folder = tmp_path_factory.mktemp("checkout")
    copied = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=copied)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "models").symlink_to(app_folder / "models")
    return folder


@pytest.fixture
def run_at(checkout, tmp_path):
    """Run the script or the package's command of that checkout in another folder."""

    def run(kind: str, *arguments: object) -> subprocess.CompletedProcess:
        started = {"script": [checkout / "src/verify.py"], "package": ["-m", "faceverify"]}[kind]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        if kind == "package":
            environment["PYTHONPATH"] = str(checkout / "src")
        return subprocess.run(
            [sys.executable, *started, *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    return run


def test_the_models_of_the_checkout_are_found_from_any_folder(run_at, people, verifier):
    decided = verifier.compare(*people[0])
    for kind, first in (("script", ()), ("package", ("verify",))):
        found = run_at(kind, *first, *people[0], "--json")
        assert (found.returncode, found.stderr) == (0 if decided.accepted else 1, "")
        assert json.loads(found.stdout)["theta"] == pytest.approx(decided.theta, abs=1e-6)


def test_the_package_scores_a_list_as_the_script_does(command, package, people, tmp_path):
    rows = [",".join(map(str, own)) for own in people]
    (tmp_path / "pairs.csv").write_text("\n".join(["first,second", *rows, ""]))
    options = ("--threshold", 3, "--allow-several")
    told = package("pairs", "pairs.csv", "--out", "scores.csv", *options)
    assert told == (0, "scores.csv: 3 pairs, 3 accepted, 0 rejected, 0 with an error\n", [])
    scores = (tmp_path / "scores.csv").read_bytes()
    assert command("--pairs", "pairs.csv", "--out", "scores.csv", *options) == told
    assert (tmp_path / "scores.csv").read_bytes() == scores


def test_a_verifier_that_is_not_there_is_named_with_what_helps(run_at, checkout, people):
    usual = f"{checkout}/models/verifier.json is missing"
    models, away = checkout / "models", checkout / "away"
    models.rename(away)
    try:
        script = error_line(run_at("script", *people[0]))
        package = error_line(run_at("package", "verify", *people[0]))
        told = json.loads(run_at("script", *people[0], "--json").stdout)["error"]["message"]
    finally:
        away.rename(models)
    assert script == f"verify.py: error: {usual}; run `dvc repro`, which makes it"
    assert script == f"verify.py: error: {told}"
    assert package == f"faceverify: error: {usual}; name a verifier.json with --verifier FILE"
    named = ("--verifier", "none.json")
    for kind, first, name in (("script", (), "verify.py"), ("package", ("verify",), "faceverify")):
        line = error_line(run_at(kind, *first, *people[0], *named))
        assert line == f"{name}: error: --verifier: none.json is missing"


def test_the_package_names_itself_in_warnings_and_errors(package, good, tmp_path):
    code, out, err = package("verify", good, good)
    assert (code, out[:7]) == (0, "accept:")
    assert err[0].startswith("faceverify: warning: both photos are one and the same file")
    code, out, err = package("verify", good, "none.jpg")
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("faceverify: error: live photo none.jpg: the photo cannot be read")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["a.jpg", "b.jpg"], "invalid choice: 'a.jpg'"),
        (["verify", "a.jpg"], "required: live_photo"),
        (["verify", "a.jpg", "b.jpg", "--out", "c.csv"], "unrecognized arguments: --out c.csv"),
        (["pairs"], "required: CSV, --out"),
        (["pairs", "a.csv"], "required: --out"),
        (["pairs", "a.csv", "--out", "b.csv", "--json"], "unrecognized arguments: --json"),
        (["verify", "a.jpg", "b.jpg", "--threshold", "4"], "4.0 is not in 0 .. pi radians"),
        (["pairs", "a.csv", "--out", "b.csv", "--threshold", "-1"], "-1.0 is not in 0 .. pi"),
        (["verify", "a.jpg", "b.jpg", "--picture", "c.jpg"], "c.jpg is no file name that ends"),
        (["pairs", "none.csv", "--out", "b.csv"], "none.csv: No such file"),
    ],
    ids=str,
)
def test_a_wrong_command_of_the_package_writes_nothing(package, tmp_path, arguments, said):
    code, out, err = package(*arguments)
    assert (code, out) == (2, "")
    assert err[-1].startswith("faceverify") and said in err[-1]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_package_imports_is_one_line(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "faceverify", "verify", "a.png", "b.png"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while "cv2" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None, "it ended before it was stopped"
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        printed = process.communicate()
    assert printed == ("", "faceverify: error: stopped; run the same command again\n")
    assert process.returncode == 130


@pytest.mark.parametrize("name", [(), ("verify",), ("pairs",)], ids=str)
def test_the_package_explains_its_commands(package, name):
    code, out, err = package(*name, "--help")
    assert (code, err) == (0, [])
    assert out.startswith(" ".join(["usage: faceverify", *name]))
    assert ("--verifier FILE" in out) == bool(name)
    assert {"verify", "pairs", "--version"} <= set(out.split()) or name


def test_the_version_stands_in_one_place(package):
    assert package("--version") == (0, f"faceverify {faceverify.__version__}\n", [])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "faceverify.__version__"}


# The names that the package gives


def test_each_public_name_is_the_one_of_its_module():
    assert faceverify.Verifier is Verifier
    assert faceverify.CaptureError is CaptureError
    for name in faceverify.__all__:
        assert getattr(faceverify, name).__name__ == name
        assert name in dir(faceverify)
    with pytest.raises(AttributeError, match="module 'faceverify' has no attribute 'Verifyer'"):
        faceverify.Verifyer  # noqa: B018


def test_importing_the_package_loads_none_of_its_modules():
    code = (
        "import sys, faceverify; print([n for n in sys.modules if 'faceverify' in n or n == 'cv2'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "['faceverify']\n"
