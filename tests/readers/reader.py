"""What a reader of files is, and of what hostile files are made up."""

import importlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from hostile import NAMES, NUMBERS

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data"


class Reader(NamedTuple):
    """A file that is read, and how to damage it.

    `seeds` are whole files of this kind; `read` reads one and checks what it gives; `drawn`
    makes up others; `bombs` are those to try once. `share`: of the number of cases.
    """

    file: str
    seeds: list[bytes]
    read: Callable[[Path], None]
    drawn: st.SearchStrategy[bytes] | None = None
    bombs: Sequence[bytes] = ()
    share: float = 1.0


READERS: dict[str, Callable[[Path], Reader]] = {}


def reader(make: Callable[[Path], Reader]) -> Callable[[Path], Reader]:
    """Add a function that makes a reader, given a folder to work in."""
    READERS[make.__name__] = make
    return make


def readers_of(group: str) -> dict[str, Callable[[Path], Reader]]:
    """The functions of a module beside this one that make readers, by name, in their order."""
    module = importlib.import_module(f"readers.{group}")
    return {name: make for name, make in READERS.items() if make.__module__ == module.__name__}


# What values are made up of.

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 2**63, 1e308])
    | st.floats()
    | st.sampled_from(NAMES)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A parsed file with one to three of its values replaced, taken out or added to."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        place, places = value, []
        while isinstance(place, dict | list) and place:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            places.append((place, draw(st.sampled_from(keys))))
            place = place[places[-1][1]]
        if not places:
            break
        group, key = draw(st.sampled_from(places))
        match draw(st.integers(0, 3)):
            case 0:
                del group[key]
            case 1 if isinstance(group, dict):
                group[draw(st.text(max_size=5))] = draw(JSON_VALUES)
            case _:
                group[key] = draw(JSON_VALUES)
    return value


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@st.composite
def rows_of(draw: st.DrawFn, cells: list[st.SearchStrategy[str]], head: list[str]) -> bytes:
    """A table of cells that mostly fit, between separators that mostly do."""
    odd = st.sampled_from(NAMES) | st.sampled_from(NUMBERS) | st.text(max_size=8)
    separator = draw(st.sampled_from([" ", ",", ", ", "\t", "  ", ";"]))
    lines = [draw(st.sampled_from([separator.join(head), "", "3", *head]))]
    for _ in range(draw(st.integers(0, 6))):
        row = [draw(odd if draw(st.integers(0, 19)) == 0 else cell) for cell in cells]
        lines.append(separator.join(row[: draw(st.sampled_from([len(row)] * 9 + [1]))]))
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    return end.join(lines).encode("utf-8", "surrogatepass")


def plain(name: str) -> bool:
    """What every name from data must be, in other words than the library's."""
    bare = Path(name).name == name and "\\" not in name
    return bare and name.isprintable() and re.match("[=+@-]", name) is None


def head_of(path: Path, lines: int) -> bytes:
    return b"".join(path.read_bytes().splitlines(keepends=True)[:lines])
