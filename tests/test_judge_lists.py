"""Lists of labelled pairs as people write them; what is wrong with one is said in one line."""

import codecs
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from faceverify.base.errors import InputError
from faceverify.judge import different_people, lists
from faceverify.judge.labelled_pairs import NO_GROUP

HEADING = "first,second,same"
NAMED = "first,second,same,first_person,second_person"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*lines: str, name: str = "pairs.csv") -> Path:
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(name)


def fault(path: Path, photos: Path | None = None) -> str:
    with pytest.raises(InputError) as raised:
        lists.read(path, photos)
    return str(raised.value)


def test_a_list_is_read_with_its_columns_in_any_order(folder):
    path = write(
        "group,second_person,first,same,second,first_person",
        "x,ann,1.jpg,1,2.jpg,ann",
        "",
        ',bob,1.jpg,0,"a, b.jpg",ann',
    )
    pairs = lists.read(path, Path("photos"))
    assert pairs.photos == ["1.jpg", "2.jpg", "a, b.jpg"]
    assert pairs.pairs.tolist() == [[0, 1], [0, 2]]
    assert pairs.same.tolist() == [True, False]
    assert pairs.units().tolist() == [[0, 0], [0, 1]]
    assert pairs.groups.code.tolist() == [0, NO_GROUP]
    assert pairs.groups.rows == {"x": [0]}
    assert pairs.path(2) == "photos/a, b.jpg"


def test_without_people_photos_are_drawn(folder):
    pairs = lists.read(write(HEADING, "1,2,1", "1,3,0"), None)
    assert pairs.people is None
    assert pairs.units().tolist() == [[0, 1], [0, 2]]


def test_a_byte_order_mark_and_windows_lines_are_no_fault(folder):
    path = write()
    path.write_bytes(codecs.BOM_UTF8 + f"{HEADING}\r\n1,2,1\r\n1,3,0\r\n".encode())
    assert lists.read(path, None).photos == ["1", "2", "3"]


def test_lfw_names_people_and_files(folder):
    path = write("1\t1", "Ann_A\t1\t12", "Ann_A\t1\tBob\t3", name="pairs.txt")
    pairs = lists.read(path, Path("lfw"))
    assert pairs.photos == ["Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0012.jpg", "Bob/Bob_0003.jpg"]
    assert pairs.same.tolist() == [True, False]
    assert pairs.people.tolist() == [0, 0, 1]
    assert "name the folder of its photos with --photos" in fault(path)
    for line in ("Ann_A\t1", "Ann_A\tx\t2", "../Ann\t1\t2", "Ann\t1\tBob\t-3"):
        path = write("1\t1", "Ann_A\t1\t12", line, name="pairs.txt")
        assert fault(path, Path("lfw")).startswith("pairs.txt, line 3: no pair of LFW's")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "line 1: the heading has no column 'first'"),
        ([HEADING], "pairs.csv holds no pairs"),
        (["first;second;same", "1;2;1"], "its columns are separated by a semicolon"),
        (["first\tsecond\tsame", "1\t2\t1"], "its columns are separated by a tab"),
        ([f"{HEADING},age", "1,2,1,7"], "line 1: the column 'age' is unknown; there may be first"),
        ([f"{HEADING},same", "1,2,1,1"], "line 1: a column comes twice"),
        (["first,second", "1,2"], "line 1: the heading has no column 'same'"),
        ([HEADING, "1,2,yes"], "line 2: same is 'yes'; write 1 for one person, 0 for two"),
        ([HEADING, "1,2"], "line 2: 2 cells for 3 columns"),
        ([HEADING, ",2,1"], "line 2: the row does not name two photos"),
        ([HEADING, '"1,2,1'], "line 2: unexpected end of data; a quoted cell ends"),
        ([HEADING, "1,1,1"], "line 2: a photo beside itself says nothing"),
        ([HEADING, "1,2,1", "1,3,1"], "all 2 pairs are of the same person"),
        ([HEADING, "1,2,0", "1,3,0"], "all 2 pairs are of different people"),
        ([HEADING, "1,2,1", "3,4,0", "2,1,0"], "line 4: the pair of line 2 again, with another"),
        ([NAMED, "1,2,0,ann,ann"], "line 2: labelled different people, yet the people are ann and"),
        ([NAMED, "1,2,1,ann,bob"], "line 2: labelled the same, yet the people are ann and bob"),
        ([NAMED, "1,2,1,ann,"], "line 2: first_person and second_person are named in each row"),
        ([f"{HEADING},first_person", "1,2,1,a"], "line 2: first_person and second_person are"),
        ([NAMED, "1,2,1,ann,ann", "3,1,0,cy,bob"], "line 3: 1 is of bob here, of somebody else"),
        (
            [f"{HEADING},group", *(f"1,{k},1,g{k}" for k in range(2, 30))],
            "line 22: more than 20 different groups",
        ),
    ],
)
def test_what_is_wrong_with_a_list_is_said(folder, lines, said):
    assert said in fault(write(*lines))


def test_text_in_another_encoding_is_named(folder):
    text = f"{HEADING}\n1,2,1\n1,3,0\n"
    for encoding in ("utf-16", "utf-16-le"):
        write().write_bytes(text.encode(encoding))
        assert "is UTF-16 text" in fault(Path("pairs.csv"))
    write().write_bytes(f"{HEADING}\nm\u00fcller,2,1\n".encode("latin-1"))
    assert "is not UTF-8 text" in fault(Path("pairs.csv"))


def test_a_folder_in_place_of_a_list_is_named(folder):
    assert "no regular file" in fault(folder)


def test_wrong_labels_are_pairs_of_the_list(folder):
    pairs = lists.read(write(HEADING, "1,2,1", "1,3,0", "2,3,0"), None)
    path = write("first,second", "3,1", name="wrong.csv")
    assert lists.wrong_labels(path, pairs).tolist() == [False, True, False]
    for line in ("1,4", "1,1"):
        path = write("first,second", "1,3", line, name="wrong.csv")
        with pytest.raises(InputError, match=r"wrong.csv, line 3: this is no pair of the judged"):
            lists.wrong_labels(path, pairs)


# A folder of different people


@pytest.fixture
def people(folder):
    for k in range(7):
        (folder / f"{k}.jpg").write_bytes(bytes([k]) * 20)
    (folder / "notes.txt").touch()
    return folder


def test_all_pairs_of_a_folder_or_a_drawn_number(people):
    pairs = different_people.read(people, None, 100, seed=1)
    assert pairs.photos == [f"{k}.jpg" for k in range(7)]
    assert {tuple(pair) for pair in pairs.pairs.tolist()} == set(combinations(range(7), 2))
    assert not pairs.same.any()
    drawn = [different_people.read(people, None, 9, seed).pairs.tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    for found in drawn:
        assert len({tuple(pair) for pair in found}) == 9
        assert all(first < second for first, second in found)


def test_each_pair_is_drawn_as_often(people):
    counts = np.zeros((7, 7), int)
    for seed in range(700):
        first, second = different_people.read(people, None, 3, seed).pairs.T
        np.add.at(counts, (first, second), 1)
    drawn = counts[np.triu_indices(7, 1)]
    assert drawn.sum() == counts.sum() == 2100
    assert drawn.min() > 60 and drawn.max() < 145


def test_groups_count_by_themselves_and_across(people):
    path = write("photo,group", "0.jpg,a", "1.jpg,a", "2.jpg,b", "3.jpg,c", "4.jpg,", name="g.csv")
    pairs = different_people.read(people, path, 100, seed=1)
    found = {
        name: {tuple(pair) for pair in pairs.pairs[np.isin(pairs.groups.code, codes)].tolist()}
        for name, codes in pairs.groups.rows.items()
    }
    assert found == {
        "a": {(0, 1)}, "b": set(), "c": set(),
        "a / b": {(0, 2), (1, 2)}, "a / c": {(0, 3), (1, 3)}, "b / c": {(2, 3)},
        "across groups": {(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["photo,group", "9.jpg,a"], "line 2: '9.jpg' is no photo of the folder"),
        (["photo,group", "1.jpg,a", "1.jpg,b"], "line 3: '1.jpg' comes twice"),
        (["photo,age", "1.jpg,7"], "line 1: the heading has no column 'group'"),
        (["photo;group", "1.jpg;a"], "its columns are separated by a semicolon"),
        (["photo,group"], "names no group"),
    ],
)
def test_what_is_wrong_with_groups_is_said(people, lines, said):
    with pytest.raises(InputError) as raised:
        different_people.read(people, write(*lines, name="g.csv"), 100, seed=1)
    assert said in str(raised.value)


def test_a_person_with_himself_is_named(people):
    (people / "copy.jpg").write_bytes((people / "3.jpg").read_bytes())
    with pytest.raises(InputError, match=r"copy.jpg is the same file as 3.jpg: a person with"):
        different_people.read(people, None, 100, seed=1)


def test_a_folder_without_two_photos_is_named(folder):
    (folder / "1.jpg").touch()
    for place, said in ((folder, "holds 1 photos"), (folder / "none", "is no folder")):
        with pytest.raises(InputError, match=said):
            different_people.read(place, None, 100, seed=1)
