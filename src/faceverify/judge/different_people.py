"""A folder in which each photo shows another person: its pairs are all of different people."""

from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from faceverify.base import digests, files
from faceverify.base.errors import InputError
from faceverify.judge import tables
from faceverify.judge.labelled_pairs import (
    MOST_GROUPS,
    NO_GROUP,
    Groups,
    LabelledPairs,
    no_groups,
)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# Pairs that are judged where no number is asked for; with fewer, all there are.
PAIRS = 100_000
PHOTO, GROUP = "photo", "group"
ACROSS = "across groups"


def read(folder: Path, groups: Path | None, wanted: int, seed: int) -> LabelledPairs:
    """The pairs of the photos of a folder: all, or `wanted` of them drawn evenly, none twice.

    `groups` is a CSV file, `photo,group`, of some or all photos. Raises InputError for a folder
    of fewer than two photos, for two photos that are one file, byte by byte, and for groups of
    photos that are not there.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name a folder of photos of different people")
    paths = [path for path in files.folder_files(folder) if path.suffix.lower() in SUFFIXES]
    if len(paths) < 2:
        raise InputError(f"{folder} holds {len(paths)} photos ({', '.join(SUFFIXES)}), not two")
    for path in paths:
        if not {"\n", "\r"}.isdisjoint(path.name):
            raise InputError(f"{path}: a line break in the name of a photo; rename it")
    _check_different(paths)
    photos = [path.name for path in paths]
    pairs = _drawn(len(photos), wanted, seed)
    same = np.zeros(len(pairs), bool)
    people = np.arange(len(photos), dtype=np.int32)
    found = no_groups(len(pairs)) if groups is None else _groups(groups, photos, pairs)
    return LabelledPairs(folder, photos, pairs, same, people, found)


def _check_different(paths: list[Path]) -> None:
    by_size = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    for alike in by_size.values():
        seen: dict[str, Path] = {}
        for path in alike if len(alike) > 1 else ():
            other = seen.setdefault(digests.digest(path), path)
            if other is not path:
                raise InputError(
                    f"{path} is the same file as {other.name}: a person with himself among "
                    "different people; remove one"
                )


def _drawn(photos: int, wanted: int, seed: int) -> np.ndarray:
    """At most `wanted` of all pairs of photos, int32 (P, 2), ascending."""
    places = np.arange(photos)
    starts = places * (places - 1) // 2  # pairs whose later photo is an earlier one
    total = int(starts[-1]) + photos - 1
    if wanted >= total:
        keys = np.arange(total)
    else:
        rng = np.random.default_rng(seed)
        keys = np.sort(rng.choice(total, wanted, replace=False, shuffle=False))
    second = np.searchsorted(starts, keys, side="right") - 1
    return np.stack([keys - starts[second], second], axis=1).astype(np.int32)


def _groups(path: Path, photos: list[str], pairs: np.ndarray) -> Groups:
    """Each group by itself, each two groups, and all pairs across groups."""
    names, group_of = _read_groups(path, photos)
    codes = {tuple([i] * 2): i for i in range(len(names))}
    rows = {name: [i] for i, name in enumerate(names)}
    for both in combinations(range(len(names)), 2):
        codes[both] = len(codes)
        rows[" / ".join(names[i] for i in both)] = [codes[both]]
    if len(names) > 1:
        rows[ACROSS] = list(range(len(names), len(codes)))
    table = np.full((len(names) + 1, len(names) + 1), NO_GROUP, np.int32)  # the last: no group
    for (one, other), code in codes.items():
        table[one, other] = table[other, one] = code
    first, second = group_of[pairs].T
    return Groups(table[first, second], rows)


def _read_groups(path: Path, photos: list[str]) -> tuple[list[str], np.ndarray]:
    """The names of the groups, and the place among them of each photo, -1 for none."""
    known = {photo: place for place, photo in enumerate(photos)}
    names: dict[str, int] = {}
    group_of = np.full(len(photos), -1)
    seen = set()
    for number, cells in tables.rows(path, (PHOTO, GROUP)):
        photo, group = cells[PHOTO], cells[GROUP]
        if photo not in known:
            raise InputError(f"{path}, line {number}: {photo!r} is no photo of the folder")
        if photo in seen:
            raise InputError(f"{path}, line {number}: {photo!r} comes twice")
        seen.add(photo)
        if group:
            group_of[known[photo]] = names.setdefault(group, len(names))
        if len(names) > MOST_GROUPS:
            raise InputError(f"{path}, line {number}: more than {MOST_GROUPS} different groups")
    if not names:
        raise InputError(f"{path} names no group")
    return list(names), group_of
