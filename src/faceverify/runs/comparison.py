"""What differs between two revisions, for a reviewer: figures against their noise, and data."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from faceverify.base.schema import Part
from faceverify.evaluation.summary import ENDS, MORE_IS_BETTER, Figures, interval, markdown

NOISE, UNKNOWN = "within noise", "no interval"
PACKAGES = "packages.yaml"
TRAINING = "train@"  # the stage of a member, before its name


class Entry(Part):
    """A dependency or an output, as `dvc.lock` and `.dvc` files describe it."""

    path: str
    md5: str
    size: int | None = None
    nfiles: int | None = None


class Stage(Part):
    """What `dvc.lock` says of a stage, or a `.dvc` file of its data."""

    deps: list[Entry] = Field(default_factory=list)
    outs: list[Entry] = Field(default_factory=list)
    params: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Lock(Part):
    """The whole of `dvc.lock`."""

    stages: dict[str, Stage] | None = None


class Out(NamedTuple):
    """What DVC knows of an output: its hash, its bytes, and its files if it is a folder."""

    md5: str
    size: int | None
    files: int | None


def change(old: Figures, new: Figures, name: str) -> dict[str, float | None]:
    """How much a figure grew, `<name>` with `_low` and `_high`, all None where one lacks them.

    The 95% interval is that of a difference of two independent estimates, built of the intervals
    of both (Zou and Donner, "Construction of confidence limits about effect measures", 2008). Two
    revisions that judge the same pairs differ by less chance than this, so it is cautious.
    """
    numbers = [figures.get(f"{name}{end}") for figures in (old, new) for end in ENDS]
    if None in numbers:
        return {f"{name}{end}": None for end in ENDS}
    before, before_low, before_high, after, after_low, after_high = numbers
    grown = after - before
    ends = (
        grown,
        grown - math.hypot(after - after_low, before_high - before),
        grown + math.hypot(after_high - after, before - before_low),
    )
    return {f"{name}{end}": value for end, value in zip(ENDS, ends, strict=True)}


def verdict(grown: Figures, name: str) -> str:
    """An arrow that tells better from worse, and whether chance alone explains the change."""
    value, low, high = (grown[f"{name}{end}"] for end in ENDS)
    if value is None:
        return UNKNOWN
    if value == 0:
        return NOISE
    arrow, word = ("▲", "better") if (value > 0) == MORE_IS_BETTER[name] else ("▼", "worse")
    return f"{arrow} {NOISE if low <= 0 <= high else word}"


def figures_table(
    old: Mapping[str, Figures], new: Mapping[str, Figures], names: Sequence[str]
) -> str:
    """The figures of these names that changed, a row each, and the models that came or went."""
    rows, equal = [], 0
    for model in new:
        for name in names if model in old else ():
            if all(old[model].get(f"{name}{e}") == new[model].get(f"{name}{e}") for e in ENDS):
                equal += 1
                continue
            grown = change(old[model], new[model], name)
            shown = (interval(old[model], name), interval(new[model], name))
            rows.append([model, name, *shown, interval(grown, name, "+"), verdict(grown, name)])
    parts = [markdown(["model", "figure", "before", "after", "change", ""], rows)] if rows else []
    parts += [f"New: {', '.join(added)}."] if (added := [m for m in new if m not in old]) else []
    parts += [f"Gone: {', '.join(gone)}."] if (gone := [m for m in old if m not in new]) else []
    parts += [f"{equal} figures are unchanged."] if equal else []
    return "\n\n".join(parts)


def without_former(lock: Mapping, members: Collection[str]) -> dict[str, Any]:
    """A parsed `dvc.lock` less the trainings of former members, which DVC leaves in it."""
    stages = lock.get("stages") or {}
    kept = {
        name: stage
        for name, stage in stages.items()
        if not name.startswith(TRAINING) or name.removeprefix(TRAINING) in members
    }
    return {**lock, "stages": kept}


def outs(lock: Mapping, *described: Mapping) -> dict[str, Out]:
    """Path -> what `dvc.lock` and `.dvc` files, parsed, say of it; folders end in a slash."""
    stages = [*(lock.get("stages") or {}).values(), *described]
    found = {}
    for entry in (entry for stage in stages for entry in stage.get("outs", ())):
        slash = "/" if entry["md5"].endswith(".dir") else ""
        found[entry["path"] + slash] = Out(entry["md5"], entry.get("size"), entry.get("nfiles"))
    return found


def inputs(lock: Mapping) -> dict[str, object]:
    """What the results of a parsed `dvc.lock` were made of: code, data, parameters.

    Path -> hash of what no stage makes, and `stage: name` -> value of each stage's parameters.
    """
    stages = lock.get("stages") or {}
    made = {entry["path"] for stage in stages.values() for entry in stage.get("outs", ())}
    found = {}
    for name, stage in stages.items():
        found |= {e["path"]: e["md5"] for e in stage.get("deps", ()) if e["path"] not in made}
        for file, values in stage.get("params", {}).items():
            if file == PACKAGES:  # part of the environment, like the processor
                continue
            found |= {f"{name}: {key}": value for key, value in values.items()}
    return found


def changed(old: Mapping[str, Out], new: Mapping[str, Out]) -> list[str]:
    """The paths that came, went or have other contents, sorted."""
    return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))


def data_table(old: Mapping[str, Out], new: Mapping[str, Out]) -> str:
    """The outputs that differ: what happened to them, and their size on both sides."""
    rows = [
        [
            f"`{path}`",
            "added" if path not in old else "deleted" if path not in new else "modified",
            _extent(old.get(path)),
            _extent(new.get(path)),
        ]
        for path in changed(old, new)
    ]
    return markdown(["path", "", "before", "after"], rows)


def _extent(out: Out | None) -> str:
    if out is None:
        return "-"
    parts = [f"{out.files:,} files"] if out.files is not None else []
    return ", ".join([*parts, _bytes(out.size)] if out.size is not None else parts) or "?"


def _bytes(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} GB"


def contents_table(difference: Mapping[str, list], folders: list[str]) -> str:
    """How many files came, went, changed and moved in folders.

    `difference` is what `dvc diff --json` prints: kind -> entries with a `path`, of a moved file
    its `old` and `new` one.
    """
    kinds = ("added", "deleted", "modified", "renamed")
    rows = []
    for folder in folders:
        counts = [
            sum(_path(entry) != folder and _path(entry).startswith(folder) for entry in entries)
            for entries in (difference.get(kind, []) for kind in kinds)
        ]
        rows.append([f"`{folder}`", *map(str, counts)])
    return markdown(["files in", *kinds], rows)


def _path(entry: Mapping) -> str:
    return entry["path"]["new"] if isinstance(entry["path"], dict) else entry["path"]


def plot_files(plots: Iterable[str | Mapping]) -> dict[str, set[str]]:
    """Title -> the files that a plot is drawn from, of the `plots` of a parsed `dvc.yaml`."""
    found = {}
    for plot in plots:
        for title, definition in (plot if isinstance(plot, Mapping) else {plot: None}).items():
            y = (definition or {}).get("y")
            found[title] = set(y) if isinstance(y, Mapping) else {title}
    return found
