"""Stage 1: who passes the filter, which photos stand in for unusable ones, what is written."""

import bz2
import csv
import functools
import json
import os
import platform
import shutil
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import numpy as np
import pytest

import select_faces
from faceverify.base import digests
from faceverify.base.errors import InputError, UnusableError
from faceverify.base.files import path_inside
from faceverify.data import selection
from faceverify.data.annotations import Attributes
from faceverify.faces import aligned_photos, alignment, dlib_descriptor, landmarks
from helpers import PREDICTOR, encode, error_line, run_script, sample_photos, write_parameters

ORIGINAL_FILTER = {
    "select.require": ["Attractive"],
    "select.exclude": ["Eyeglasses", "Bangs", "Wearing_Hat", "Smiling", "Mouth_Slightly_Open"],
    "select.faces_per_identity": 4,
}
CANVAS = (aligned_photos.PHOTO_HEIGHT, aligned_photos.PHOTO_WIDTH)


UNUSABLE = {
    "missing file": lambda good: None,
    "not a whole JPEG or PNG file": lambda good: good[: len(good) // 2],
    "damaged JPEG or PNG data": lambda good: good[: len(good) // 2] + good[-12:],
    "89 x 109 pixels, not 178 x 218": lambda good: encode(".png", np.zeros((109, 89), np.uint8)),
    "no face found": lambda good: encode(".png", np.full(CANVAS, 90, np.uint8)),
}
ALSO_CUT = {
    "JPEG": lambda good: encode(".jpg", aligned_photos.decode(good))[:2000],
    "one byte": lambda good: good[:1],
    "empty": lambda good: b"",
    "GIF": lambda good: b"GIF89a" + good[6:],
}


@pytest.fixture
def folder(tmp_path, sample):
    """The first six photos of one person of the sample."""
    for name in first_person(sample):
        shutil.copy(sample / "img_align_celeba" / name, tmp_path / name)
    return tmp_path


@functools.cache
def first_person(sample):
    return sample_photos(sample, 1, 6)[1]


def spoil(path, how):
    content = how(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def attributes_of(**columns):
    names, values = list(columns), np.array(list(columns.values()), bool).T
    return Attributes(names, [f"{i}.jpg" for i in range(len(values))], values)


def test_the_filter_keeps_what_has_all_required_and_none_excluded():
    table = attributes_of(
        Good=[1, 1, 1, 1, 0, 0],
        Near=[1, 1, 0, 1, 1, 0],
        Hat=[0, 1, 0, 0, 0, 0],
        Bangs=[0, 0, 0, 1, 0, 0],
    )
    passing = functools.partial(selection.passing, table)
    assert passing([], []) == table.photos
    assert passing(["Good"], []) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert passing(["Good", "Near"], []) == ["0.jpg", "1.jpg", "3.jpg"]
    assert passing([], ["Hat", "Bangs"]) == ["0.jpg", "2.jpg", "4.jpg", "5.jpg"]
    assert passing(["Good", "Near"], ["Hat", "Bangs"]) == ["0.jpg"]


@pytest.mark.parametrize(("require", "exclude"), [(["Smile"], []), ([], ["Smile"])])
def test_a_filter_on_an_unknown_attribute_is_refused(require, exclude):
    with pytest.raises(InputError, match="no attribute 'Smile'"):
        selection.passing(attributes_of(Smiling=[1, 0]), require, exclude)


def test_people_with_enough_photos_qualify_in_order():
    names = {"a": 9, "b": 10, "c": 9, "d": 2, "e": 9, "f": 10, "g": 2, "h": 2, "i": 2}
    identities = {f"{name}.jpg": person for name, person in names.items()}
    passed = ["c.jpg", "h.jpg", "a.jpg", "b.jpg", "d.jpg", "e.jpg", "f.jpg", "g.jpg"]
    people = selection.qualified(identities, passed, 3)
    assert list(people.items()) == [
        (2, ["h.jpg", "d.jpg", "g.jpg"]),
        (9, ["c.jpg", "a.jpg", "e.jpg"]),
    ]


def test_a_photo_that_belongs_to_nobody_is_refused():
    with pytest.raises(InputError, match=r"b\.jpg has attributes, but .* does not list it"):
        selection.qualified({"a.jpg": 1}, ["a.jpg", "b.jpg"], 1)


def test_exactly_the_first_usable_photos_are_kept_in_order(folder, sample):
    names = first_person(sample)[::-1]
    search = selection.search_faces(folder, names, 4, sample / PREDICTOR)
    assert [face.source for face in search.faces] == names[:4]
    assert search.failures == []
    assert all(len(face.landmarks) == 136 for face in search.faces)
    assert all(type(number) is int for face in search.faces for number in face.landmarks)


@pytest.mark.parametrize("reason", UNUSABLE)
def test_the_next_photo_replaces_an_unusable_one(folder, sample, reason):
    names = first_person(sample)
    spoil(folder / names[1], UNUSABLE[reason])
    search = selection.search_faces(folder, names, 4, sample / PREDICTOR)
    assert [face.source for face in search.faces] == [names[i] for i in (0, 2, 3, 4)]
    assert search.failures == [(names[1], reason)]


def test_a_worker_that_does_not_see_the_photos_says_where(tmp_path, sample):
    absent = tmp_path / "img_align_celeba"
    with pytest.raises(InputError, match=rf"{absent} is missing on {platform.node()}; share it"):
        selection.search_faces(absent, ["000001.png"] * 4, 4, sample / PREDICTOR)


@pytest.mark.parametrize("kind", ALSO_CUT)
def test_a_file_that_is_no_whole_photo_is_unusable(folder, sample, kind):
    name = first_person(sample)[0]
    spoil(folder / name, ALSO_CUT[kind])
    search = selection.search_faces(folder, first_person(sample), 4, sample / PREDICTOR)
    assert search.failures == [(name, "not a whole JPEG or PNG file")]


def test_a_photo_that_claims_a_huge_size_is_unusable(folder, sample):
    name = first_person(sample)[0]
    good = (folder / name).read_bytes()
    header = b"IHDR" + 2 * (60_000).to_bytes(4) + good[24:29]
    checksum = zlib.crc32(header).to_bytes(4)
    (folder / name).write_bytes(good[:12] + header + checksum + good[33:])
    search = selection.search_faces(folder, first_person(sample), 4, sample / PREDICTOR)
    assert [photo for photo, _ in search.failures] == [name]
    assert len(search.faces) == 4


def test_a_search_stops_at_the_wanted_number(folder, sample):
    names = first_person(sample)[:5]
    spoil(folder / names[4], UNUSABLE["missing file"])
    assert selection.search_faces(folder, names, 4, sample / PREDICTOR).failures == []


def test_a_search_stops_when_too_few_photos_are_left(folder, sample):
    names = first_person(sample)[:5]
    for name in names[1:3]:
        spoil(folder / name, UNUSABLE["missing file"])
    search = selection.search_faces(folder, names, 4, sample / PREDICTOR)
    assert [face.source for face in search.faces] == names[:1]
    assert [photo for photo, _ in search.failures] == names[1:3]


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/hostname", "..", ".", "", "a/b.png", "a\\b.png"]
)
def test_a_name_that_is_not_a_plain_file_name_is_refused(folder, sample, name):
    with pytest.raises(InputError, match="is not a plain file name"):
        path_inside(folder, name)
    with pytest.raises(InputError) as caught:
        selection.search_faces(folder, [name] * 4, 4, sample / PREDICTOR)
    assert not isinstance(caught.value, UnusableError)


@pytest.mark.parametrize("target", ["outside/photo.png", "outside/absent.png"])
def test_a_link_that_leads_out_is_refused(folder, sample, target, tmp_path_factory):
    outside = tmp_path_factory.mktemp("elsewhere") / "outside"
    outside.mkdir()
    names = first_person(sample)
    shutil.move(folder / names[0], outside / "photo.png")
    (folder / names[0]).symlink_to(outside.parent / target)
    with pytest.raises(InputError, match="is a link that leads out of"):
        selection.search_faces(folder, names, 4, sample / PREDICTOR)


def test_a_link_inside_and_a_linked_folder_are_followed(folder, sample, tmp_path_factory):
    names = first_person(sample)
    (folder / "link.png").symlink_to(names[0])
    linked = tmp_path_factory.mktemp("elsewhere") / "img_align_celeba"
    linked.symlink_to(folder)
    search = selection.search_faces(linked, ["link.png", *names[1:4]], 4, sample / PREDICTOR)
    assert [face.source for face in search.faces] == ["link.png", *names[1:4]]


def test_landmarks_lie_on_the_face_of_several_people(sample):
    for names in list(sample_photos(sample, 40, 1).values())[::6]:
        photo = aligned_photos.decode_aligned((sample / "img_align_celeba" / names[0]).read_bytes())
        points = landmarks.find_landmarks(photo, sample / PREDICTOR)
        assert points.shape == (68, 2)
        offset = np.abs(landmarks.five_points(points) - alignment.CANONICAL_POINTS)
        assert offset.max() < 12  # pixels of a 178 x 218 photo


def test_the_largest_face_is_taken(sample):
    (first, *_), (second, *_) = sample_photos(sample, 2, 1).values()
    large, small = (
        aligned_photos.decode((sample / "img_align_celeba" / name).read_bytes())
        for name in (first, second)
    )
    small = cv2.resize(small, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    both = np.full((218, 400, 3), 128, np.uint8)
    both[:153, :125] = small[:153, :125]
    both[:, 200:378] = large
    assert len(dlib.get_frontal_face_detector()(both, 0)) == 2
    points = landmarks.find_landmarks(both, sample / PREDICTOR)
    assert points[:, 0].min() > 180


def test_flat_numbers_are_the_xs_then_the_ys():
    points = np.stack([np.arange(68), 1000 + np.arange(68)], axis=1)
    numbers = landmarks.flatten(points)
    assert numbers == [*range(68), *range(1000, 1068)]
    np.testing.assert_array_equal(landmarks.unflatten(np.array(numbers)), points)
    np.testing.assert_array_equal(landmarks.unflatten([numbers, numbers])[1], points)


@functools.cache
def trained_predictor(sample, points):
    """A very small predictor of dlib's, as its training gives it."""
    names = sample_photos(sample, 4, 1).values()
    images = [
        aligned_photos.decode((sample / "img_align_celeba" / n).read_bytes()) for (n,) in names
    ]
    box = dlib.rectangle(35, 70, 145, 180)
    found = [landmarks.find_landmarks(image, sample / PREDICTOR)[:points] for image in images]
    truth = [
        [dlib.full_object_detection(box, [dlib.point(x, y) for x, y in face.tolist()])]
        for face in found
    ]
    options = dlib.shape_predictor_training_options()
    options.tree_depth, options.cascade_depth, options.num_trees_per_cascade_level = 2, 2, 5
    options.oversampling_amount, options.num_threads = 2, 1
    return dlib.train_shape_predictor(images, truth, options)


def store_predictor(sample, path, points=68):
    trained_predictor(sample, points).save(str(path))
    return path


def test_a_compressed_predictor_gives_the_same_landmarks(sample, tmp_path):
    plain = store_predictor(sample, tmp_path / PREDICTOR)
    packed = tmp_path / f"{PREDICTOR}.bz2"
    packed.write_bytes(bz2.compress(plain.read_bytes()))
    for (name,) in sample_photos(sample, 3, 1).values():
        photo = aligned_photos.decode((sample / "img_align_celeba" / name).read_bytes())
        expected = landmarks.find_landmarks(photo, plain)
        np.testing.assert_array_equal(landmarks.find_landmarks(photo, packed), expected)


BAD_PREDICTORS = {
    "empty.dat": lambda good: b"",
    "text.dat": lambda good: b"<html>Not found</html>\n",
    "cut.dat": lambda good: good[: len(good) // 2],
    "plain.dat.bz2": lambda good: good,
    "cut.dat.bz2": lambda good: bz2.compress(good)[:-100],
    "empty.dat.bz2": lambda good: b"",
    "text.dat.bz2": lambda good: bz2.compress(b"text"),
}


def summed(path):
    """Write a file's checksum beside it."""
    path.with_name(f"{path.name}.sha256").write_text(f"{digests.digest(path)}  {path.name}\n")
    return path


@pytest.mark.parametrize("known", [False, True], ids=["without checksum", "with its checksum"])
@pytest.mark.parametrize("name", BAD_PREDICTORS)
def test_a_file_that_is_no_predictor_is_refused(sample, tmp_path, name, known):
    good = store_predictor(sample, tmp_path / "good.dat").read_bytes()
    (tmp_path / name).write_bytes(BAD_PREDICTORS[name](good))
    if known:
        summed(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is not (a dlib|dlib's published) landmark model"):
        landmarks.check_predictor(tmp_path / name)


def test_dlibs_models_lie_in_a_folder_of_any_name(sample, tmp_path):
    folder = tmp_path / os.fsdecode(b"s\xff")
    folder.symlink_to(sample)
    landmarks.check_predictor(folder / PREDICTOR)
    dlib_descriptor.check_network(folder / "dlib_face_recognition_resnet_model_v1.dat")


@pytest.mark.parametrize("suffix", [".dat", ".dat.bz2"])
def test_a_predictor_of_ones_own_needs_its_checksum(sample, tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    data = store_predictor(sample, tmp_path / "good.dat").read_bytes()
    path.write_bytes(bz2.compress(data) if suffix == ".dat.bz2" else data)
    with pytest.raises(InputError, match=r"own.* is not dlib's published.*sha256 is missing"):
        landmarks.check_predictor(path)
    landmarks.check_predictor(summed(path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"own\.dat"):
        landmarks.check_predictor(path)


def test_a_packed_model_that_expands_enormously_is_refused(tmp_path):
    path = tmp_path / "bomb.dat.bz2"
    path.write_bytes(bz2.compress(bytes(2**26)) * 100)
    with pytest.raises(InputError, match=r"bomb\.dat\.bz2 holds more than 256 MB"):
        landmarks.check_predictor(path)
    with pytest.raises(InputError, match=r"bomb\.dat\.bz2 holds more than 256 MB"):
        landmarks.predictor(path)


def test_a_predictor_of_other_points_is_refused(sample, tmp_path):
    path = summed(store_predictor(sample, tmp_path / "five.dat", points=5))
    with pytest.raises(InputError, match=r"five\.dat gives 5 landmarks; use dlib's 68-point"):
        landmarks.check_predictor(path)


def test_a_missing_predictor_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.dat is missing"):
        landmarks.check_predictor(tmp_path / "absent.dat")


def make_project(project, sample, predictor=None):
    """params.yaml and a data folder with 5 photos of each of 4 people; one photo is cut off."""
    write_parameters(project, {"select.faces_per_identity": 4})
    people = sample_photos(sample, 4, 5)
    data = project / "data"
    (data / "img_align_celeba").mkdir(parents=True)
    names = [name for own in people.values() for name in own]
    for name in names:
        shutil.copy(sample / "img_align_celeba" / name, data / "img_align_celeba" / name)
    lines = [f"{name} {person}\n" for person, own in people.items() for name in own]
    (data / "identity_CelebA.txt").write_text("".join(lines))
    rows = [f"{name} 1 -1\n" for name in names]
    (data / "list_attr_celeba.txt").write_text(f"{len(names)}\nYoung Smiling\n{''.join(rows)}")
    (data / PREDICTOR).symlink_to(predictor or sample / PREDICTOR)
    if predictor:
        summed(data / PREDICTOR)
    cut = data / "img_align_celeba" / people[2][1]
    spoil(cut, UNUSABLE["not a whole JPEG or PNG file"])
    return people


def written(project):
    """The files below the project that are not its data nor kept for later runs."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and not {"data", ".cache"} & set(path.relative_to(project).parts)
    }


def run_stage(project, *arguments):
    result = run_script("select_faces.py", project, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


class Selected(NamedTuple):
    """A project after the stage: its `folder`, the files that it has beside its data, by name,
    the (name, identity, source) that are expected of it, and what the stage `printed`.
    """

    folder: Path
    outs: dict[str, bytes]
    expected: list[tuple[str, str, str]]
    printed: str


@pytest.fixture(scope="module")
def selected(tmp_path_factory, sample):
    """Four people with five photos each, of whom one has a photo that is cut off."""
    folder = tmp_path_factory.mktemp("selected")
    people = make_project(folder, sample)
    printed = run_stage(folder)
    people[2].pop(1)
    expected = [
        (f"{person}-{k}.png", str(person), name)
        for person, names in people.items()
        for k, name in enumerate(names[:4])
    ]
    return Selected(folder, written(folder), expected, printed)


def test_the_stage_writes_the_photos_and_the_tables_and_nothing_else(selected):
    photos = {f"prepared/selected/{name}" for name, _, _ in selected.expected}
    tables = {"prepared/selected.json", "prepared/selected.csv", "metrics/selection.json"}
    assert set(selected.outs) == photos | tables | {"params.yaml"}


def test_the_stage_copies_the_original_bytes_of_the_photos(selected):
    for name, _, source in selected.expected:
        original = (selected.folder / "data/img_align_celeba" / source).read_bytes()
        assert selected.outs[f"prepared/selected/{name}"] == original


def test_the_stage_writes_whose_each_photo_is_and_where_it_came_from(selected):
    rows = list(csv.reader(selected.outs["prepared/selected.csv"].decode().splitlines()))
    assert rows == [["name", "identity", "source"], *map(list, selected.expected)]


def test_the_stage_writes_the_landmarks_of_each_photo(selected, sample):
    numbers = json.loads(selected.outs["prepared/selected.json"])
    assert list(numbers) == [name for name, _, _ in selected.expected]
    for name, own in numbers.items():
        photo = aligned_photos.decode(selected.outs[f"prepared/selected/{name}"])
        points = landmarks.find_landmarks(photo, sample / PREDICTOR)
        assert own == [*points[:, 0].tolist(), *points[:, 1].tolist()]


def test_the_stage_reports_its_counts(selected):
    assert json.loads(selected.outs["metrics/selection.json"]) == {
        "images": 20,
        "passed": 20,
        "qualified_identities": 4,
        "selected_images": 16,
        "selected_identities": 4,
        "failed": {"not a whole JPEG or PNG file": 1},
    }
    assert "not a whole JPEG or PNG file: 1" in selected.printed


def test_a_person_who_runs_out_is_dropped_and_counted(tmp_path, sample):
    predictor = store_predictor(sample, tmp_path / "small.dat")
    people = make_project(tmp_path, sample, predictor)
    spoil(tmp_path / "data/img_align_celeba" / people[2][3], UNUSABLE["no face found"])
    run_stage(tmp_path)
    outs = written(tmp_path)
    kept = {name.split("/")[-1] for name in outs if name.startswith("prepared/selected/")}
    assert kept == {f"{person}-{k}.png" for person in (1, 3, 4) for k in range(4)}
    report = json.loads(outs["metrics/selection.json"])
    assert (report["qualified_identities"], report["selected_identities"]) == (4, 3)
    assert report["selected_images"] == 12
    assert report["failed"] == {"no face found": 1, "not a whole JPEG or PNG file": 1}


def test_the_stage_takes_a_compressed_predictor(tmp_path, sample):
    predictor = store_predictor(sample, tmp_path / "small.dat")
    make_project(tmp_path, sample, predictor)
    packed = f"{PREDICTOR}.bz2"
    (tmp_path / "data" / packed).write_bytes(bz2.compress(predictor.read_bytes()))
    summed(tmp_path / "data" / packed)
    (tmp_path / "data" / PREDICTOR).unlink()
    changes = {"select.faces_per_identity": 4, "select.landmark_model": packed}
    write_parameters(tmp_path, changes)
    run_stage(tmp_path)
    numbers = json.loads((tmp_path / "prepared/selected.json").read_text())
    photo = aligned_photos.decode((tmp_path / "prepared/selected/3-2.png").read_bytes())
    assert numbers["3-2.png"] == landmarks.flatten(landmarks.find_landmarks(photo, predictor))


def test_a_run_leaves_no_photo_of_an_earlier_one(tmp_path, sample):
    make_project(tmp_path, sample, store_predictor(sample, tmp_path / "small.dat"))
    (tmp_path / "prepared/selected").mkdir(parents=True)
    (tmp_path / "prepared/selected/99-0.png").write_bytes(b"old")
    run_stage(tmp_path)
    assert len(list((tmp_path / "prepared/selected").iterdir())) == 16
    assert not (tmp_path / "prepared/selected/99-0.png").exists()


def test_the_stage_refuses_a_predictor_of_other_points(tmp_path, sample):
    make_project(tmp_path, sample, store_predictor(sample, tmp_path / "five.dat", points=5))
    line = error_line(run_script("select_faces.py", tmp_path))
    assert f"{PREDICTOR} gives 5 landmarks" in line
    assert not (tmp_path / "prepared").exists()


def test_a_failed_copy_leaves_the_earlier_outs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prepared/selected").mkdir(parents=True)
    (tmp_path / "prepared/selected/1-0.png").write_bytes(b"old")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"new")
    faces = [selection.Face("a.png", [0] * 136), selection.Face("absent.png", [0] * 136)]
    with pytest.raises(FileNotFoundError):
        select_faces.write(Path("photos"), {1: faces}, {})
    outs = {"photos/a.png": b"new", "prepared/selected/1-0.png": b"old"}
    assert written(tmp_path) == outs
    assert {path.name for path in (tmp_path / "prepared").iterdir()} == {"selected"}


def lead_out(project):
    photo = project / "data/img_align_celeba/000001.png"
    photo.rename(project / "elsewhere.png")
    photo.symlink_to(project / "elsewhere.png")


def rename_in_lists(project, name):
    for path in (project / "data").glob("*.txt"):
        path.write_text(path.read_text().replace("000001.png", name))


def drop_photos(project):
    for photo in (project / "data/img_align_celeba").iterdir():
        photo.write_bytes(b"")


def replace_predictor(how):
    def replace(project):
        path = project / "data" / PREDICTOR
        content = how(path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return replace


def rewrite(old, new):
    def change(project):
        path = project / "params.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


MISTAKES = {
    "no data folder": (
        lambda p: (p / "data").rename(p / "elsewhere"),
        "identity_CelebA.txt is mis",
    ),
    "no photo folder": (lambda p: shutil.rmtree(p / "data/img_align_celeba"), "celeba is missing"),
    "no list": (lambda p: (p / "data/list_attr_celeba.txt").unlink(), "celeba.txt is missing"),
    "no parameters": (lambda p: (p / "params.yaml").unlink(), "params.yaml is missing"),
    "no predictor": (replace_predictor(lambda good: None), f"{PREDICTOR} is missing"),
    "bad predictor": (
        replace_predictor(lambda good: b"text"),
        f"{PREDICTOR} is not dlib's published landmark model",
    ),
    "cut predictor": (replace_predictor(lambda good: good[:-1]), f"not what {PREDICTOR}.sha256"),
    "a formula": (
        lambda p: rename_in_lists(p, "=1+1.png"),
        "identity_CelebA.txt, line 1: '=1+1.png' is not a plain file name",
    ),
    "a link that leads out": (lead_out, "is a link that leads out of data/img_align_celeba"),
    "a name that climbs": (
        lambda p: rename_in_lists(p, "../000001.png"),
        "identity_CelebA.txt, line 1: '../000001.png' is not a plain file name",
    ),
    "no usable photo": (drop_photos, "no person has enough usable faces"),
    "too many faces wanted": (rewrite("identity: 4", "identity: 6"), "no person has enough"),
    "unknown attribute": (rewrite("require: []", "require: [Hat]"), "no attribute 'Hat'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_and_writes_nothing(tmp_path, sample, mistake):
    predictor = store_predictor(sample, tmp_path / "small.dat")
    make_project(tmp_path, sample, predictor)
    (tmp_path / "prepared/selected").mkdir(parents=True)
    (tmp_path / "prepared/selected/1-0.png").write_bytes(b"earlier")
    make, said = MISTAKES[mistake]
    make(tmp_path)
    before = written(tmp_path)
    line = error_line(run_script("select_faces.py", tmp_path))
    assert line.startswith("select_faces.py: error: ")
    assert said in line
    assert written(tmp_path) == before


def test_a_dry_run_needs_no_photos_and_writes_nothing(tmp_path, sample):
    make_project(tmp_path, sample)
    shutil.rmtree(tmp_path / "data/img_align_celeba")
    (tmp_path / "data").rename(tmp_path / "celeba")
    printed = run_stage(tmp_path, "--data", "celeba", "--dry-run")
    assert json.loads(printed.splitlines()[-1]) == {
        "images": 20,
        "passed": 20,
        "qualified_identities": 4,
        "selected_images": 16,
    }
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "celeba"}


def test_the_originals_filter_on_celebas_official_lists(tmp_path):
    """The counts of docs/celeba.md."""
    lists = os.environ.get("CELEBA_LISTS")
    if not lists:
        pytest.skip("CELEBA_LISTS names no folder with CelebA's two official lists")
    write_parameters(tmp_path, ORIGINAL_FILTER)
    printed = run_stage(tmp_path, "--data", lists, "--dry-run")
    assert json.loads(printed.splitlines()[-1]) == {
        "images": 202_599,
        "passed": 30_982,
        "qualified_identities": 3_018,
        "selected_images": 12_072,
    }


def test_the_originals_filter_on_real_celeba_photos(tmp_path, celeba):
    write_parameters(tmp_path, ORIGINAL_FILTER)
    printed = run_stage(tmp_path, "--data", str(celeba), "--dry-run")
    assert json.loads(printed.splitlines()[-1]) == {
        "images": 4876,
        "passed": 702,
        "qualified_identities": 73,
        "selected_images": 292,
    }


def test_landmarks_lie_on_the_face_of_real_celeba_photos(sample, celeba):
    names = sorted(path.name for path in (celeba / "img_align_celeba").iterdir())[::1200]
    search = selection.search_faces(
        celeba / "img_align_celeba", names, len(names), sample / PREDICTOR
    )
    assert len(search.faces) == len(names)
    for face in search.faces:
        points = landmarks.unflatten(face.landmarks)
        offset = np.abs(landmarks.five_points(points) - alignment.CANONICAL_POINTS)
        assert offset.max() < 12
