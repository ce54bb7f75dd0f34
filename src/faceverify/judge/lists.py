"""Lists of labelled pairs: a CSV file, LFW's pairs.txt, and the pairs whose labels are wrong."""

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base import files
from faceverify.base.errors import InputError
from faceverify.base.text_lines import numbered_lines
from faceverify.judge import tables
from faceverify.judge.labelled_pairs import (
    MOST_GROUPS,
    NO_GROUP,
    Groups,
    LabelledPairs,
    pair_keys,
)
from faceverify.verify.verifier import SLOTS

LABEL, GROUP = "same", "group"
PEOPLE = ("first_person", "second_person")
LABELS = {"1": True, "0": False}
# The first line of LFW's pairs.txt: the number of its folds, and of the pairs in each half of one.
# http://vis-www.cs.umass.edu/lfw/README.txt
_LFW_HEADING = re.compile(r"\d+(\t\d+)?\s*")


class _Entry(NamedTuple):
    """A pair as a list has it; `people` are empty where they are not named."""

    line: int
    photos: tuple[str, str]
    same: bool
    people: tuple[str, str] | None
    group: str


def read(path: Path, folder: Path | None) -> LabelledPairs:
    """Read a list: CSV with `first,second,same` and optional columns, or LFW's pairs.txt.

    `folder` is where the photos lie, without it the current one; LFW's list needs it. The optional
    columns are `first_person`, `second_person` (both or none) and `group`. Raises InputError,
    naming file and line, for anything else, for labels that contradict each other or the people,
    for an empty list and for one of one label.
    """
    _, heading = next(numbered_lines(path), (1, ""))
    if not _LFW_HEADING.fullmatch(heading):
        pairs = _Builder(path, _csv_entries(path)).built(folder or Path())
    elif folder is None:
        raise InputError(f"{path} is a list of LFW's; name the folder of its photos with --photos")
    else:
        pairs = _Builder(path, _lfw_entries(path)).built(folder)
    _check_labels(path, pairs)
    return pairs


def wrong_labels(path: Path, pairs: LabelledPairs) -> np.ndarray:
    """The pairs of a list that a CSV file, `first,second`, says are labelled wrongly; bool (P,).

    Raises InputError, naming file and line, for a pair that is not in the list.
    """
    known = {photo: place for place, photo in enumerate(pairs.photos)}
    keys = pair_keys(pairs.pairs, len(pairs.photos))
    wrong = np.zeros(len(keys), bool)
    for row in tables.rows(path, SLOTS):
        places = [known.get(row.cells[slot]) for slot in SLOTS]
        found = False
        if None not in places:
            (key,) = pair_keys(np.array([places]), len(pairs.photos))
            wrong |= (matching := keys == key)
            found = matching.any()
        if not found:
            raise InputError(f"{path}, line {row.line}: this is no pair of the judged list")
    return wrong


def _csv_entries(path: Path) -> Iterator[_Entry]:
    for number, cells in tables.rows(path, (*SLOTS, LABEL), (*PEOPLE, GROUP)):
        photos = tuple(cells[slot] for slot in SLOTS)
        if not all(photos):
            raise InputError(f"{path}, line {number}: the row does not name two photos")
        if cells[LABEL] not in LABELS:
            raise InputError(
                f"{path}, line {number}: {LABEL} is {cells[LABEL]!r}; "
                "write 1 for one person, 0 for two"
            )
        named = [name for name in PEOPLE if name in cells]
        people = tuple(cells[name] for name in named)
        if len(named) == 1 or not all(people):
            raise InputError(
                f"{path}, line {number}: {' and '.join(PEOPLE)} are named in each row, or the "
                "columns left out"
            )
        yield _Entry(number, photos, LABELS[cells[LABEL]], people or None, cells.get(GROUP, ""))


def _lfw_entries(path: Path) -> Iterator[_Entry]:
    numbered = numbered_lines(path)
    next(numbered)
    for number, line in numbered:
        match line.split():
            case [name, one, two]:
                people, numbers = (name, name), (one, two)
            case [name, one, other, two]:
                people, numbers = (name, other), (one, two)
            case _:
                raise InputError(
                    f"{path}, line {number}: no pair of LFW's, `name 1 2` or `a 1 b 2`"
                )
        if not all(n.isascii() and n.isdigit() for n in numbers) or not all(
            map(files.is_plain, people)
        ):
            raise InputError(f"{path}, line {number}: no pair of LFW's, `name 1 2` or `a 1 b 2`")
        photos = tuple(
            f"{name}/{name}_{int(n):04}.jpg" for name, n in zip(people, numbers, strict=True)
        )
        yield _Entry(number, photos, people[0] == people[1], people, "")


class _Builder:
    """Takes in the entries of a list one by one, and checks them against each other."""

    def __init__(self, path: Path, entries: Iterator[_Entry]) -> None:
        self.path = path
        self.photos: dict[str, int] = {}
        self.people: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.person_of = array("i")  # by photo
        self.pairs, self.same, self.group = array("i"), array("b"), array("i")
        self.lines = array("i")
        for entry in entries:
            self._add(entry)

    def _add(self, entry: _Entry) -> None:
        if entry.photos[0] == entry.photos[1]:
            raise self._fault(entry, "a photo beside itself says nothing")
        if entry.people and (entry.people[0] == entry.people[1]) != entry.same:
            label = "the same" if entry.same else "different people"
            raise self._fault(
                entry, f"labelled {label}, yet the people are {' and '.join(entry.people)}"
            )
        for slot, photo in enumerate(entry.photos):
            place = self.photos.setdefault(photo, len(self.photos))
            self.pairs.append(place)
            if entry.people:
                self._add_person(entry, slot, place)
        self.same.append(entry.same)
        self.lines.append(entry.line)
        if entry.group:
            self.group.append(self.groups.setdefault(entry.group, len(self.groups)))
        else:
            self.group.append(NO_GROUP)
        if len(self.groups) > MOST_GROUPS:
            raise self._fault(entry, f"more than {MOST_GROUPS} different groups")

    def _add_person(self, entry: _Entry, slot: int, place: int) -> None:
        name = entry.people[slot]
        person = self.people.setdefault(name, len(self.people))
        if place == len(self.person_of):
            self.person_of.append(person)
        elif self.person_of[place] != person:
            raise self._fault(
                entry, f"{entry.photos[slot]} is of {name} here, of somebody else further up"
            )

    def _fault(self, entry: _Entry, what: str) -> InputError:
        return InputError(f"{self.path}, line {entry.line}: {what}")

    def built(self, folder: Path) -> LabelledPairs:
        """The list as arrays."""
        pairs = np.array(self.pairs, np.int32).reshape(-1, 2)
        same = np.array(self.same, bool)
        self._check_repeated(pairs, same)
        people = np.array(self.person_of, np.int32) if self.people else None
        rows = {name: [code] for name, code in self.groups.items()}
        groups = Groups(np.array(self.group, np.int32), rows)
        return LabelledPairs(folder, list(self.photos), pairs, same, people, groups)

    def _check_repeated(self, pairs: np.ndarray, same: np.ndarray) -> None:
        keys = pair_keys(pairs, len(self.photos))
        order = np.argsort(keys, kind="stable")
        contrary = (np.diff(keys[order]) == 0) & np.diff(same[order].astype(int)).astype(bool)
        if contrary.any():
            place = int(np.flatnonzero(contrary)[0])
            before, after = (self.lines[i] for i in order[place : place + 2])
            raise InputError(
                f"{self.path}, line {after}: the pair of line {before} again, with another label"
            )


def _check_labels(path: Path, pairs: LabelledPairs) -> None:
    count, same = len(pairs.same), int(pairs.same.sum())
    if not count:
        raise InputError(f"{path} holds no pairs")
    if same == count:
        raise InputError(
            f"{path}: all {count:,} pairs are of the same person; false matches need different "
            f"people: add pairs with {LABEL} = 0"
        )
    if same == 0:
        raise InputError(
            f"{path}: all {count:,} pairs are of different people; add pairs with {LABEL} = 1, or "
            "name a folder of different people with --different-people"
        )
