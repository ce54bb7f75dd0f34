"""What differs between two revisions, for a reviewer: figures against their noise, and data."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pydantic import Field

from faceverify.base.schema import Part
from faceverify.evaluation.summary import (
    ENDS,
    ENSEMBLE,
    MORE_IS_BETTER,
    Figures,
    interval,
    markdown,
)

BETTER, WORSE, NOISE, UNKNOWN = "better", "worse", "within noise", "no interval"
ARROWS = {True: "▲", False: "▼"}
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


class Move(NamedTuple):
    """How a figure of a model changed.

    `before` and `after` have its interval, as text. `grown` is what `change` gives, `verdict` one
    of BETTER, WORSE, NOISE and UNKNOWN, and `weight` how much the change says: its size in widths
    of its interval towards 0, which is more than 1 where chance does not explain it.
    """

    model: str
    figure: str
    before: str
    after: str
    grown: Figures
    verdict: str
    weight: float


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


def weight(grown: Figures, name: str) -> float:
    """How much a `change` says, as `Move` has it; 0 where it is none or has no interval."""
    value, low, high = (grown[f"{name}{end}"] for end in ENDS)
    if not value:
        return 0.0
    noise = value - low if value > 0 else high - value
    return abs(value) / noise if noise else math.inf


def verdict(grown: Figures, name: str) -> str:
    """BETTER or WORSE; NOISE where chance alone explains a change, UNKNOWN without an interval."""
    if grown[name] is None:
        return UNKNOWN
    if weight(grown, name) <= 1:
        return NOISE
    return BETTER if (grown[name] > 0) == MORE_IS_BETTER[name] else WORSE


def moves(
    old: Mapping[str, Figures], new: Mapping[str, Figures], names: Sequence[str]
) -> list[Move]:
    """The figures of these names that changed, in models of both sides.

    The ensemble's come before the others', and what says more before what says less.
    """
    found = []
    for model in (model for model in new if model in old):
        before, after = old[model], new[model]
        for name in names:
            if all(before.get(f"{name}{end}") == after.get(f"{name}{end}") for end in ENDS):
                continue
            grown = change(before, after, name)
            shown = (interval(before, name), interval(after, name))
            told = (verdict(grown, name), weight(grown, name))
            found.append(Move(model, name, *shown, grown, *told))
    return sorted(found, key=lambda move: (move.model != ENSEMBLE, -move.weight))


def conclusion(changed: Mapping[str, Sequence[Move]]) -> str:
    """One sentence: better, worse or within noise, in what, and which other models are so.

    `changed` are the `moves` of each condition, by what is said of it after a figure's name.
    """
    figures: dict[str, list[str]] = {}
    others: dict[str, dict[str, None]] = {}
    for where, some in changed.items():
        for move in some:
            if move.model == ENSEMBLE:
                figures.setdefault(move.verdict, []).append(f"{move.figure}{where}")
            else:
                others.setdefault(move.verdict, {})[move.model] = None
    parts = [f"{word} in {_listed(figures[word])}" for word in (BETTER, WORSE) if word in figures]
    if parts:
        said = f"The ensemble is {' and '.join(parts)}"
    elif NOISE in figures:
        said = f"The ensemble changed within noise, in {_listed(figures[NOISE])}"
    elif UNKNOWN in figures:
        said = "The ensemble cannot be judged"
    else:
        said = "The ensemble is the same in all figures that both sides have"
    if UNKNOWN in figures:
        said += f"; no interval has its {_listed(figures[UNKNOWN])}"
    beyond = [f"{word} {_listed([*others[word]])}" for word in (BETTER, WORSE) if word in others]
    return said + (f"; beyond noise also {' and '.join(beyond)}" if beyond else "") + "."


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def figures_table(
    old: Mapping[str, Figures], new: Mapping[str, Figures], names: Sequence[str]
) -> str:
    """The `moves`, a row each, and the models that came or went.

    Folded is what says little: the moves within noise of all models but the ensemble.
    """
    changed = moves(old, new, names)
    noise = [move for move in changed if move.verdict == NOISE and move.model != ENSEMBLE]
    shown = [move for move in changed if move not in noise]
    equal = len(names) * sum(model in old for model in new) - len(changed)
    parts = [_moves_table(shown)] if shown else []
    parts += [f"New: {', '.join(added)}."] if (added := [m for m in new if m not in old]) else []
    parts += [f"Gone: {', '.join(gone)}."] if (gone := [m for m in old if m not in new]) else []
    parts += [f"{equal} figures are unchanged."] if equal else []
    if noise:
        parts.append(folded(f"{len(noise)} more within noise", _moves_table(noise)))
    return "\n\n".join(parts)


def _moves_table(shown: Iterable[Move]) -> str:
    rows = []
    for move in shown:
        value = move.grown[move.figure]
        arrow = f"{ARROWS[(value > 0) == MORE_IS_BETTER[move.figure]]} " if value else ""
        grown = interval(move.grown, move.figure, "+")
        cells = [move.model, move.figure, move.before, move.after, grown, arrow + move.verdict]
        rows.append(cells)
    return markdown(["model", "figure", "before", "after", "change", ""], rows)


def folded(title: str, text: str) -> str:
    """Markdown that GitHub shows as a title to click on."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def parameters_section(difference: Mapping[str, Mapping[str, Mapping]]) -> str:
    """The parameters that differ, and folded the packages.

    `difference` is what `dvc params diff --json` prints: file -> parameter -> its `old` and `new`
    value. Where several changed, it is said that no figure speaks for one of them alone.
    """
    packages = _parameters({PACKAGES: difference.get(PACKAGES, {})})
    others = _parameters({file: v for file, v in difference.items() if file != PACKAGES})
    header, parts = ["file", "parameter", "before", "after"], []
    if len(others) > 1:
        parts.append(f"{len(others)} changes together: no figure speaks for one of them alone.")
    parts.append(markdown(header, others) if others else "No parameter differs.")
    if packages:
        parts.append(folded(f"{len(packages)} packages differ", markdown(header, packages)))
    return "\n\n".join(parts)


def _parameters(difference: Mapping[str, Mapping[str, Mapping]]) -> list[list[str]]:
    """Rows of parameters; in one row those of one name that changed in the same way."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for file, values in sorted(difference.items()):
        for name, sides in sorted(values.items()):
            shown = ("-" if (v := sides.get(k)) is None else str(v) for k in ("old", "new"))
            last = name if file == PACKAGES else name.rpartition(".")[2]
            alike.setdefault((file, last, *shown), []).append(name)
    return [[file, ", ".join(names), *sides] for (file, _, *sides), names in alike.items()]


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

    Path -> hash of what no stage makes, and `stage: name` -> value of each stage's parameters. A
    folder in which stages write is left out whole.
    """
    stages = lock.get("stages") or {}
    paths = {
        PurePosixPath(out["path"]) for stage in stages.values() for out in stage.get("outs", ())
    }
    made = paths.union(*(path.parents for path in paths))
    found = {}
    for name, stage in stages.items():
        deps = stage.get("deps", ())
        found |= {dep["path"]: dep["md5"] for dep in deps if PurePosixPath(dep["path"]) not in made}
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
    # As git and people call it; DVC says renamed.
    return markdown(["files in", *kinds[:-1], "moved"], rows)


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
