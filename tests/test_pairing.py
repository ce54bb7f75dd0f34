"""Stage 1.5: each rule that pairs keep, and the files that hold them."""

import csv
import itertools
import json
from collections import Counter, defaultdict

import numpy as np
import pytest

import pair_faces
from faceverify.base import errors
from faceverify.base.errors import InputError
from faceverify.data import pairing
from faceverify.runs import script
from helpers import error_line, run_script, write_parameters

PEOPLE = [3 + 7 * i for i in range(16)]
# (faces of a person, genuine pairs wanted of each); None is "without using a face twice".
SIZES = [
    *((faces, None) for faces in range(4, 13)),
    (4, 2),
    (4, 6),
    (5, 3),
    (5, 10),
    (6, 2),
    (7, 9),
    (8, 18),
    (9, 36),
    (10, 16),
    (10, 45),
]
SPLITS = ["identity", "pair"]


def made(faces=4, wanted=None, people=PEOPLE, split_by="identity", share=0.25, seed=5, val=()):
    settings = pairing.Pairing(faces, wanted, split_by, share, val)
    return pairing.make_pairs(people, settings, np.random.default_rng(seed))


def faces_of(some):
    return Counter(face for pair in some for face in (pair.first, pair.second))


def people_of(some):
    return Counter(person for pair in some for person, _ in (pair.first, pair.second))


def of(some, **wanted):
    return [p for p in some if all(getattr(p, key) == value for key, value in wanted.items())]


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}-{size[1]}")
def size(request):
    return request.param


def test_named_people_make_up_validation():
    named = [PEOPLE[3], PEOPLE[0], PEOPLE[5], -7]
    found = made(val=named)
    assert set(people_of(of(found, split="val"))) == {PEOPLE[0], PEOPLE[3], PEOPLE[5]}
    assert set(people_of(of(found, split="train"))) == set(PEOPLE) - set(named)


@pytest.mark.parametrize("named", [[-7], [PEOPLE[0], -7], list(PEOPLE), list(PEOPLE)[1:]])
def test_named_people_must_leave_two_on_each_side(named):
    with pytest.raises(InputError, match=r"pair\.val_identities"):
        made(val=named)


@pytest.mark.parametrize("split_by", SPLITS)
@pytest.mark.parametrize("faces", range(4, 11))
def test_no_face_is_used_twice_unless_more_pairs_are_asked_for(faces, split_by):
    used = faces_of(made(faces, None, split_by=split_by))
    assert set(used.values()) == {1}
    assert {person for person, _ in used} == set(PEOPLE)


def test_four_faces_give_two_to_a_pair_and_two_to_anti_pairs():
    some = made(4, None)
    assert people_of(of(some, same=True)) == dict.fromkeys(PEOPLE, 2)
    assert people_of(of(some, same=False)) == dict.fromkeys(PEOPLE, 2)
    assert len(faces_of(some)) == 4 * len(PEOPLE)


@pytest.mark.parametrize("split_by", SPLITS)
def test_labels_tell_whether_two_faces_show_one_person(size, split_by):
    for pair in made(*size, split_by=split_by):
        assert pair.same == (pair.first[0] == pair.second[0])
        assert pair.first != pair.second


@pytest.mark.parametrize("split_by", SPLITS)
def test_faces_and_people_are_those_that_were_given(size, split_by):
    used = faces_of(made(*size, split_by=split_by))
    assert {person for person, _ in used} == set(PEOPLE)
    assert {face for _, face in used} <= set(range(size[0]))


@pytest.mark.parametrize("split_by", SPLITS)
def test_each_person_has_the_wanted_genuine_pairs_and_is_in_twice_as_many_anti_pairs(
    size, split_by
):
    faces, wanted = size
    wanted = wanted or faces // 4
    some = made(*size, split_by=split_by)
    assert people_of(of(some, same=True)) == dict.fromkeys(PEOPLE, 2 * wanted)
    assert people_of(of(some, same=False)) == dict.fromkeys(PEOPLE, 2 * wanted)
    in_anti_pairs = Counter()
    for pair in of(some, same=False):
        in_anti_pairs.update({pair.first[0], pair.second[0]})
    assert in_anti_pairs == dict.fromkeys(PEOPLE, 2 * wanted)


@pytest.mark.parametrize("split_by", SPLITS)
def test_pairs_and_anti_pairs_are_equal_in_number_in_each_split(size, split_by):
    some = made(*size, split_by=split_by)
    for split in ("train", "val"):
        genuine, anti = of(some, split=split, same=True), of(some, split=split, same=False)
        assert len(genuine) == len(anti) > 0
    assert {pair.split for pair in some} == {"train", "val"}


@pytest.mark.parametrize("people", [8, 16])
@pytest.mark.parametrize("split_by", SPLITS)
def test_no_pair_repeats(size, split_by, people):
    some = made(*size, people=PEOPLE[:people], split_by=split_by)
    assert len({frozenset((pair.first, pair.second)) for pair in some}) == len(some)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("faces", range(4, 9))
def test_the_greatest_number_of_pairs_is_possible_with_two_people_on_a_side(faces, seed):
    most = faces * (faces - 1) // 2
    some = made(faces, most, PEOPLE[:4], share=0.5, seed=seed)
    assert len(some) == 4 * 2 * most
    assert len({frozenset((pair.first, pair.second)) for pair in some}) == len(some)
    for person in PEOPLE[:4]:
        own = {
            frozenset((p.first[1], p.second[1])) for p in some if p.same and p.first[0] == person
        }
        assert own == {frozenset(pair) for pair in itertools.combinations(range(faces), 2)}


@pytest.mark.parametrize(
    ("people", "share", "val"),
    [(16, 0.25, 4), (30, 0.25, 8), (40, 0.25, 10), (16, 0.5, 8), (10, 0.2, 2), (8, 0.01, None)],
)
def test_a_quarter_of_the_people_is_in_val_and_nobody_in_both(people, share, val):
    people = [11 * i for i in range(people)]
    if val is None:
        with pytest.raises(InputError, match=r"pair\.val_share"):
            made(4, None, people, share=share)
        return
    some = made(4, None, people, share=share)
    train, held = people_of(of(some, split="train")), people_of(of(some, split="val"))
    assert not set(train) & set(held)
    assert len(held) == val
    assert len(train) == len(people) - val
    assert len(of(some, split="val")) == 2 * val


@pytest.mark.parametrize("split_by", SPLITS)
def test_people_are_drawn_for_val_at_random(split_by):
    drawn = [
        frozenset(people_of(of(made(seed=seed, split_by=split_by), split="val", same=True)))
        for seed in range(40)
    ]
    assert len(set(drawn)) > 30
    assert set().union(*drawn) == set(PEOPLE)


def test_a_split_by_pair_leaks_people_and_keeps_shares():
    some = made(10, 16, split_by="pair")
    assert len(of(some, split="val", same=True)) == len(of(some, same=True)) // 4
    assert len(of(some, split="val", same=False)) == len(of(some, same=False)) // 4
    assert set(people_of(of(some, split="train"))) & set(people_of(of(some, split="val")))


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_sides_of_a_split_by_pair_hold_pairs(share):
    some = made(4, None, split_by="pair", share=share)
    for split, same in itertools.product(("train", "val"), (True, False)):
        assert of(some, split=split, same=same)


def test_anti_pairs_mix_people_and_sides():
    some = made(10, 16, people=[*range(40)])
    partners = defaultdict(set)
    for pair in of(some, same=False, split="train"):
        partners[pair.first[0]].add(pair.second[0])
        partners[pair.second[0]].add(pair.first[0])
    assert min(len(others) for others in partners.values()) > 12  # of 29; two meetings a round
    first = Counter(pair.first[0] for pair in of(some, same=False))
    assert set(first.values()) == {16}  # each as often first as second


def test_faces_are_drawn_at_random():
    drawn = {pair.first[1] for seed in range(20) for pair in made(8, None, seed=seed)}
    assert drawn == set(range(8))
    kinds = defaultdict(set)
    for seed in range(20):
        for pair in made(8, None, seed=seed):
            kinds[pair.first].add(pair.same)
    assert sum(len(kind) == 2 for kind in kinds.values()) > 0.9 * len(kinds)


@pytest.mark.parametrize("people", [8, 40])
def test_faces_repeat_only_where_all_were_used_and_evenly(size, people):
    faces, wanted = size
    for seed in range(3):
        used = faces_of(made(faces, wanted, [*range(people)], seed=seed))
        times = [used[person, face] for person in range(people) for face in range(faces)]
        if 4 * (wanted or faces // 4) <= faces:
            assert max(times) == 1
        else:
            assert min(times) >= 1
            assert max(times) - min(times) <= 2


@pytest.mark.parametrize("split_by", SPLITS)
def test_the_seed_alone_decides(size, split_by):
    first = made(*size, split_by=split_by, seed=1)
    assert made(*size, split_by=split_by, seed=1) == first
    assert made(*size, PEOPLE[::-1], split_by=split_by, seed=1) == first  # not the order of people
    assert made(*size, split_by=split_by, seed=2) != first


@pytest.mark.parametrize(
    ("people", "split_by", "share"),
    [
        (0, "identity", 0.25),
        (1, "identity", 0.25),
        (2, "identity", 0.5),
        (3, "identity", 0.5),
        (4, "identity", 0.25),
        (0, "pair", 0.25),
        (1, "pair", 0.25),
    ],
)
def test_too_few_people_are_one_clear_error(people, split_by, share):
    with pytest.raises(
        InputError, match=r"select more people or change pair\.val_share or"
    ) as caught:
        made(4, None, PEOPLE[:people], split_by, share)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("people", "split_by"), [(4, "identity"), (2, "pair")])
def test_two_people_on_a_side_are_enough(people, split_by):
    some = made(8, None, PEOPLE[:people], split_by, 0.5)
    assert set(faces_of(some).values()) == {1}


@pytest.mark.parametrize("faces", [4, 5, 10])
def test_more_pairs_than_there_are_is_one_clear_error(faces):
    most = faces * (faces - 1) // 2
    with pytest.raises(InputError, match=r"pair\.pairs_per_identity") as caught:
        made(faces, most + 1)
    message = str(caught.value)
    assert str(most) in message
    assert len(message.splitlines()) == 1
    assert len(made(faces, most)) == 2 * most * len(PEOPLE)


def make_selected(project, people=8, faces=4, **changes):
    """What stage 1 leaves, with a few bytes for each photo."""
    write_parameters(project, {"pair.pairs_per_identity": None, **changes})
    selected = project / "prepared/selected"
    selected.mkdir(parents=True)
    rows, numbers = [], {}
    for person in range(people):
        for k in range(faces):
            name = f"{person}-{k}.{'png' if k else 'jpg'}"
            (selected / name).write_bytes(f"photo {person} {k}".encode())
            rows.append(f"{name},{person},source{person}_{k}.jpg\n")
            numbers[name] = [1000 * person + 100 * k + i for i in range(136)]
    (project / "prepared/selected.csv").write_text("name,identity,source\n" + "".join(rows))
    (project / "prepared/selected.json").write_text(json.dumps(numbers))
    return numbers


def run_stage(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr("sys.argv", ["pair_faces.py"])
    pair_faces.main()
    text = (project / "prepared/pairs.csv").read_text()
    points = json.loads((project / "prepared/paired.json").read_text())
    return list(csv.DictReader(text.splitlines())), points


def test_the_stage_writes_the_contract(tmp_path, monkeypatch):
    numbers = make_selected(tmp_path)
    rows, points = run_stage(tmp_path, monkeypatch)
    assert ",".join(rows[0]) == (
        "pair,label,split,first,second,first_identity,second_identity,first_source,second_source"
    )
    assert len(rows) == 16
    expected = {f"{kind}-{n}" for kind in ("pair", "antipair") for n in range(8)}
    assert {row["pair"] for row in rows} == expected
    names = [row[slot] for row in rows for slot in ("first", "second")]
    folder = tmp_path / "prepared/paired"
    assert sorted(names) == sorted(path.name for path in folder.iterdir()) == sorted(points)
    for row in rows:
        label = int(row["pair"].startswith("pair"))
        assert int(row["label"]) == label
        assert (row["first_identity"] == row["second_identity"]) == bool(label)
        for i, slot in enumerate(("first", "second")):
            name, source = row[slot], row[f"{slot}_source"]
            person, k = source.removeprefix("source").removesuffix(".jpg").split("_")
            assert row[f"{slot}_identity"] == person
            suffix = "jpg" if k == "0" else "png"
            assert name == f"{row['pair']}-{i}.{suffix}"
            assert (folder / name).read_bytes() == f"photo {person} {k}".encode()
            assert points[name] == [*numbers[f"{person}-{k}.{suffix}"], label]
    sources = [row[f"{slot}_source"] for row in rows for slot in ("first", "second")]
    assert len(set(sources)) == len(sources) == 32
    val = {row["first_identity"] for row in rows if row["split"] == "val"}
    train = {row["first_identity"] for row in rows if row["split"] == "train"}
    assert (len(val), len(train), val & train) == (2, 6, set())


def test_the_stage_reads_its_parameters(tmp_path, monkeypatch):
    changes = {"pair.pairs_per_identity": 3, "pair.split_by": "pair", "pair.val_share": 0.5}
    make_selected(tmp_path, **changes)
    rows, _ = run_stage(tmp_path, monkeypatch)
    assert len(rows) == 48
    assert Counter((row["label"], row["split"]) for row in rows) == {
        (label, split): 12 for label in "01" for split in ("train", "val")
    }
    people = [
        {row["first_identity"] for row in rows if row["split"] == s} for s in ("train", "val")
    ]
    assert people[0] & people[1]


def test_the_stage_gives_the_same_twice_and_another_with_another_seed(tmp_path, monkeypatch):
    make_selected(tmp_path)
    first = run_stage(tmp_path, monkeypatch)
    assert run_stage(tmp_path, monkeypatch) == first
    write_parameters(tmp_path, {"pair.pairs_per_identity": None, "seed": 1})
    assert run_stage(tmp_path, monkeypatch) != first


def test_a_second_run_leaves_no_photo_of_the_first(tmp_path, monkeypatch):
    make_selected(tmp_path, **{"pair.pairs_per_identity": 3})
    run_stage(tmp_path, monkeypatch)
    write_parameters(tmp_path, {"pair.pairs_per_identity": None})
    rows, _ = run_stage(tmp_path, monkeypatch)
    assert len(list((tmp_path / "prepared/paired").iterdir())) == 2 * len(rows) == 32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"people": 4}, "train and validation need 2 each"),
        ({"pair.pairs_per_identity": 7}, "pair.pairs_per_identity: 4 faces give 6"),
    ],
)
def test_an_impossible_wish_ends_in_one_line_and_writes_nothing(tmp_path, changes, said):
    make_selected(tmp_path, **changes)
    line = error_line(run_script("pair_faces.py", tmp_path))
    assert line.startswith("pair_faces.py: error: ")
    assert said in line
    kept = {"selected", "selected.csv", "selected.json"}
    assert {path.name for path in (tmp_path / "prepared").iterdir()} == kept


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "selected.csv is missing; run `dvc repro`"),
        ("", "selected.csv, line 1: expected the columns"),
        ("name,identity\n1-0.png,1\n", "selected.csv, line 1: expected the columns"),
        ("name,identity,source\n1-0.png,one,a.jpg\n", "selected.csv, line 2: identity is not a"),
        ("name,identity,source\n1-0.png,1,a\n1-1.png,1,b\n2-0.png,2,c\n", "differ in faces"),
        ("name,identity,source\n1-0.png,1,a\n1-0.png,1,b\n", "line 3: 1-0.png comes twice"),
        ("name,identity,source\n1-0.png,1\n", "line 2: 2 cells, not 3"),
        ("name,identity,source\n../1-0.png,1,a\n", "line 2: name is not a plain file name"),
        ("name,identity,source\n1-0.png,1,=1+1\n", "line 2: source is not a plain file name"),
        ("name,identity,source\n", "selected.csv has no rows"),
    ],
)
def test_a_broken_table_ends_in_one_line(tmp_path, monkeypatch, content, said):
    make_selected(tmp_path)
    path = tmp_path / "prepared/selected.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        run_stage(tmp_path, monkeypatch)
    assert said in errors.message(caught.value, script.REMEDIES)


def test_a_table_that_is_a_device_is_refused(tmp_path):
    make_selected(tmp_path)
    path = tmp_path / "prepared/selected.csv"
    path.unlink()
    path.symlink_to("/dev/null")  # one that ends, unlike /dev/zero or a pipe
    line = error_line(run_script("pair_faces.py", tmp_path))
    assert line == "pair_faces.py: error: prepared/selected.csv is no regular file"
