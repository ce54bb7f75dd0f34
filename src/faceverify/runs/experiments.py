"""What the runs of `dvc exp run` differ in from their commit, and whether they meant to."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from faceverify.runs import comparison

MISSING = "nothing"
LOCK, PARAMETERS = "dvc.lock", "params.yaml"


class Run(NamedTuple):
    """A run, or the workspace: its name, and what differs from the commit, by parameter or file.

    `values` maps what differs to how, in words. `state` is what DVC says of a run without results,
    and empty for one that has some.
    """

    name: str
    values: Mapping[str, str]
    figures: Mapping[str, float | None]
    state: str = ""


def parameters(old: Mapping, new: Mapping) -> dict[str, str]:
    """Dotted name -> new and old value of each parameter that differs; both parsed params.yaml."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return {
        name: f"{after.get(name, MISSING)} (was {before.get(name, MISSING)})"
        for name in sorted({*before, *after})
        if before.get(name, MISSING) != after.get(name, MISSING)
    }


def _leaves(values: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else value


def inputs(changed: Collection[str], lock: Mapping) -> list[str]:
    """Those of the changed files that a parsed `dvc.lock` does not list as results."""
    results = tuple(comparison.outs(lock))
    return [
        path
        for path in changed
        if path not in (LOCK, PARAMETERS)
        and not any(path == out or (out[-1] == "/" and path.startswith(out)) for out in results)
    ]


def surplus(run: Run, others: Collection[Run]) -> list[str]:
    """What a run differs in beyond what its name and its neighbours suggest; sorted.

    One difference needs no explanation. Of several, each must be named by the run, as `ja-lr` names
    `lr`, or vary within its sweep, the runs `<name>-1`, `<name>-2` and so on.
    """
    if len(run.values) < 2:
        return []
    stem = _stem(run.name)
    sweep = [one for one in others if one.name != run.name and stem and _stem(one.name) == stem]
    return sorted(
        name
        for name, how in run.values.items()
        if not _names(run.name, name) and all(one.values.get(name) == how for one in sweep)
    )


def _stem(name: str) -> str | None:
    found = re.fullmatch(r"(.+)-\d+", name)
    return found and found[1]


def _names(run: str, parameter: str) -> bool:
    """Whether a run's name has the last word of a parameter's, or that of its group."""
    group, *_, leaf = parameter.split(".") if "." in parameter else ("", parameter)
    words = {leaf} if group in ("", "members") else {group, leaf}
    said = run.lower().replace("_", "-")
    return any(
        re.search(rf"(?<![a-z]){re.escape(w.replace('_', '-'))}(?![a-z])", said) for w in words
    )
