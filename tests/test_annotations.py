"""CelebA's two lists in every published form, and the line that names what is wrong in them."""

import os
import tracemalloc

import numpy as np
import pytest

from faceverify.base.errors import InputError
from faceverify.data import annotations

IDENTITY_FORMS = {
    "official": "000001.jpg 2880\n000002.jpg 2937\n000003.png 2880\n",
    "header": "image_id identity_id\n000001.jpg 2880\n000002.jpg 2937\n000003.png 2880\n",
    "csv": "image_id,identity\n000001.jpg,2880\n000002.jpg,2937\n000003.png,2880\n",
    "csv without header": "000001.jpg,2880\n000002.jpg,2937\n000003.png,2880\n",
    "csv with spaces": "image_id, identity\n000001.jpg, 2880\n000002.jpg, 2937\n000003.png ,2880\n",
    "tabs": "000001.jpg\t2880\n000002.jpg\t2937\n000003.png\t2880\n",
    "blank lines": "\n000001.jpg 2880  \n\n000002.jpg   2937\n000003.png 2880\n\n",
    "no final newline": "000001.jpg 2880\n000002.jpg 2937\n000003.png 2880",
}

ROWS = "000001.jpg -1  1 -1\n000002.jpg  1  1 -1\n000003.png -1 -1  1\n"
CSV_ROWS = "000001.jpg,-1,1,-1\n000002.jpg,1,1,-1\n000003.png,-1,-1,1\n"
ATTRIBUTE_FORMS = {
    "official": f"3\n5_o_Clock_Shadow Male Young \n{ROWS}",
    "without count": f"5_o_Clock_Shadow Male Young\n{ROWS}",
    "csv with image_id": f"image_id,5_o_Clock_Shadow,Male,Young\n{CSV_ROWS}",
    "csv with an unnamed first column": f",5_o_Clock_Shadow,Male,Young\n{CSV_ROWS}",
    "csv without image_id": f"5_o_Clock_Shadow,Male,Young\n{CSV_ROWS}",
    "csv with count": f"3\nimage_id,5_o_Clock_Shadow,Male,Young\n{CSV_ROWS}",
    "blank lines": f"3\n\n5_o_Clock_Shadow Male Young\n\n{ROWS}\n\n",
    "no final newline": f"3\n5_o_Clock_Shadow Male Young\n{ROWS.rstrip()}",
}

# As a file may have been saved.
ENCODINGS = {
    "plain": lambda text: text.encode(),
    "BOM": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "BOM and CRLF": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
}


@pytest.fixture
def stored(tmp_path):
    def store(content):
        path = tmp_path / "list.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return store


def refusal(read, path):
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message.removeprefix(str(path))


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("text", IDENTITY_FORMS.values(), ids=IDENTITY_FORMS)
def test_identities_are_read_in_every_form(stored, text, encode):
    identities = annotations.read_identities(stored(encode(text)))
    expected = [("000001.jpg", 2880), ("000002.jpg", 2937), ("000003.png", 2880)]
    assert list(identities.items()) == expected


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("text", ATTRIBUTE_FORMS.values(), ids=ATTRIBUTE_FORMS)
def test_attributes_are_read_in_every_form(stored, text, encode):
    attributes = annotations.read_attributes(stored(encode(text)))
    assert attributes.names == ["5_o_Clock_Shadow", "Male", "Young"]
    assert attributes.photos == ["000001.jpg", "000002.jpg", "000003.png"]
    assert attributes.values.dtype == bool
    expected = [[False, True, False], [True, True, False], [False, False, True]]
    assert attributes.values.tolist() == expected
    assert attributes.column("Male").tolist() == [True, True, False]


def test_a_single_attribute_and_a_single_photo_are_enough(stored):
    attributes = annotations.read_attributes(stored("1\nMale\n000001.jpg -1\n"))
    assert (attributes.names, attributes.photos) == (["Male"], ["000001.jpg"])
    assert attributes.values.tolist() == [[False]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("000001.jpg 1\n000002.jpg two\n", 2),
        ("000001.jpg 1\n000002.jpg -2\n", 2),
        ("000001.jpg 1\n000002.jpg 2.0\n", 2),
        ("000001.jpg 1\n000002.jpg 1234567890\n", 2),
        ("000001.jpg 1\n\n000002.jpg\n", 3),
        ("000001.jpg 1\n000002.jpg 2 3\n", 2),
        ("000001.jpg\n000002.jpg 2\n", 1),
        ("image_id identity\n000001.jpg x\n", 2),
        ("image_id identity\nimage_id identity\n000001.jpg 1\n", 2),
        ("image_id,identity\n000001.jpg,\n", 2),
        ("000001.jpg 1\nphoto 2\n", 2),
    ],
)
def test_a_wrong_identity_line_is_named(stored, text, line):
    message = refusal(annotations.read_identities, stored(text))
    assert message.startswith(f", line {line}: expected")


def test_a_photo_listed_twice_is_named_with_its_line(stored):
    text = "000001.jpg 1\n000002.jpg 2\n000001.jpg 1\n"
    message = refusal(annotations.read_identities, stored(text))
    assert message.startswith(", line 3: 000001.jpg is listed twice")
    text = f"4\nA B C\n{ROWS}000002.jpg 1 1 1\n"
    message = refusal(annotations.read_attributes, stored(text))
    assert message.startswith(", line 6: 000002.jpg is listed twice")


@pytest.mark.parametrize("mark", ["0", "2", "x", "+1", "1.0", "True"])
def test_a_wrong_mark_is_named_with_its_line(stored, mark):
    text = f"3\nA B\n000001.jpg 1 -1\n000002.jpg -1 {mark}\n000003.jpg 1 1\n"
    message = refusal(annotations.read_attributes, stored(text))
    assert message == f", line 4: {mark!r} is neither 1 nor -1"


@pytest.mark.parametrize("separator", [" ", ","], ids=["official", "csv"])
@pytest.mark.parametrize("marks", [["1"], ["1", "-1", "1"]], ids=["short", "long"])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_short_or_long_row_is_named_with_its_line(stored, row, marks, separator):
    rows = [[f"00000{i}.jpg", "1", "-1"] for i in range(3)]
    rows[row][1:] = marks
    text = "\n".join(separator.join(fields) for fields in [["A", "B"], *rows])
    message = refusal(annotations.read_attributes, stored(text))
    assert message.startswith(f", line {row + 2}: expected a photo name and 2 values")


@pytest.mark.parametrize("photos", [1, 2, 3])
def test_official_rows_that_lack_a_value_are_never_read_one_off(stored, photos):
    rows = "".join(f"00000{i}.jpg 1 -1\n" for i in range(photos))
    message = refusal(annotations.read_attributes, stored(f"{photos}\nA B C\n{rows}"))
    assert message.startswith(", line 3: expected a photo name and 3 values")


@pytest.mark.parametrize("count", [0, 2, 4, 202599])
def test_a_wrong_count_is_refused(stored, count):
    message = refusal(annotations.read_attributes, stored(f"{count}\nA B C\n{ROWS}"))
    assert message == f", line 1: says {count} photos, but 3 follow"


@pytest.mark.parametrize(
    "text",
    ["A A B\n000001.jpg 1 1 1\n", "000001.jpg 1 -1\n000002.jpg 1 -1\n"],
    ids=["a name twice", "no names"],
)
def test_a_wrong_line_of_names_is_refused(stored, text):
    message = refusal(annotations.read_attributes, stored(text))
    assert message.startswith(", line 1: expected the attributes' names, each once")


@pytest.mark.parametrize(
    "name",
    ["../1.jpg", "/etc/1.jpg", "a\\b.jpg", "nul\0.jpg", "\x1b[31m.jpg", "=1+1.jpg", "-n.jpg",
     "@a.png", "+1.jpg", f"{'a' * 252}.jpg"],
)  # fmt: skip
def test_a_name_that_is_more_than_a_name_is_refused_with_its_line(stored, name):
    said = "is not a plain file name; rename the photo"
    message = refusal(annotations.read_identities, stored(f"000001.jpg 1\n{name} 2\n"))
    assert message.startswith(", line 2: ")
    assert message.endswith(said)
    message = refusal(annotations.read_attributes, stored(f"Male\n{name} 1\n"))
    assert message.startswith(", line 2: ")
    assert message.endswith(said)


def test_a_broken_first_row_is_not_taken_for_a_header(stored):
    message = refusal(annotations.read_identities, stored("000001.jp 1\n000002.jpg 2\n"))
    assert message.startswith(", line 1: expected")


@pytest.mark.parametrize("text", ["", "\n\n", "3\n", "0\nMale Young\n", "Male Young\n"])
def test_a_list_without_photos_is_refused(stored, text):
    assert refusal(annotations.read_attributes, stored(text)) == " lists no photos"


@pytest.mark.parametrize("text", ["", "\n \n", "image_id identity\n"])
def test_an_identity_list_without_photos_is_refused(stored, text):
    assert refusal(annotations.read_identities, stored(text)) == " lists no photos"


@pytest.mark.parametrize("read", [annotations.read_identities, annotations.read_attributes])
def test_a_binary_file_is_refused(stored, sample, read):
    photo = next((sample / "img_align_celeba").iterdir()).read_bytes()
    assert refusal(read, stored(photo)) == " is not a text file"


@pytest.mark.parametrize("read", [annotations.read_identities, annotations.read_attributes])
def test_a_missing_file_is_refused(tmp_path, read):
    assert refusal(read, tmp_path / "list.txt").startswith(" is missing; data/ must hold")


@pytest.mark.parametrize("read", [annotations.read_identities, annotations.read_attributes])
def test_a_device_is_refused(tmp_path, read):
    (tmp_path / "list.txt").symlink_to("/dev/null")  # one that ends, unlike /dev/zero or a pipe
    assert refusal(read, tmp_path / "list.txt") == " is no regular file"


@pytest.mark.parametrize(
    ("read", "limit"),
    [
        (annotations.read_identities, annotations.IDENTITIES_BYTES),
        (annotations.read_attributes, annotations.ATTRIBUTES_BYTES),
    ],
)
def test_a_list_of_any_size_is_refused(stored, read, limit):
    path = stored("")
    os.truncate(path, limit + 1)
    assert refusal(read, path) == f" is larger than {limit // 2**20} MB"


@pytest.mark.parametrize("read", [annotations.read_identities, annotations.read_attributes])
@pytest.mark.parametrize(("text", "line"), [("1 " * 5_001, 1), ("1\nA B\n" + "-1 " * 10**6, 3)])
def test_a_line_of_any_length_is_refused(stored, read, text, line):
    assert refusal(read, stored(text)) == f", line {line}: longer than 10,000 characters"


def test_the_first_wrong_line_of_many_ends_it_in_little_memory(stored):
    path = stored("A\n000001.jpg 1\n" + "x\n" * 3 * 10**6)
    tracemalloc.start()
    try:
        message = refusal(annotations.read_attributes, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message.startswith(", line 3: expected a photo name")
    assert peak < annotations.ATTRIBUTES_BYTES + 50 * 10**6  # what may be read, and little more


def test_an_unknown_attribute_is_refused_with_the_known_ones(stored):
    attributes = annotations.read_attributes(stored(f"A B C\n{ROWS}"))
    with pytest.raises(InputError, match="there is no attribute 'Smile'; there are A, B, C"):
        attributes.column("Smile")


def test_the_lists_of_real_celeba_photos_agree(celeba):
    identities = annotations.read_identities(celeba / "identity_CelebA.txt")
    attributes = annotations.read_attributes(celeba / "list_attr_celeba.txt")
    assert set(attributes.photos) == set(identities)
    assert len(attributes.names) == 40
    assert (attributes.names[0], attributes.names[-1]) == ("5_o_Clock_Shadow", "Young")
    shares = attributes.values.mean(axis=0)
    assert np.all((shares > 0) & (shares < 1))  # no attribute is one constant
