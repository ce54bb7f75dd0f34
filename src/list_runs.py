"""The tuning runs, as a Markdown table: what each differs in, and the figures of one model."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.evaluation import summary
from faceverify.runs import comparison, dvc_yaml, experiments, revisions, script
from faceverify.runs.experiments import LOCK, PARAMETERS, Run

METRICS, CARDS = "metrics/summary.json", "metrics/cards.json"
ON_CARDS = ("fmr", "fnmr")
FIGURES = (*summary.FIGURES, *(f"{summary.CARD}.{name}" for name in ON_CARDS))
DONE = ("", "success")


def main() -> None:
    """Print a table for each commit with runs, and what differs without being meant to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=summary.ENSEMBLE, help="whose figures (ensemble)")
    model = parser.parse_args().model
    revisions.check("HEAD")
    _workspace, *commits = json.loads(
        revisions.run("dvc", "exp", "show", "--json", "--hide-failed")
    )
    parts = []
    for commit in commits:
        runs = list(runs_of(commit, model))
        parts += [table(runs, model), *warnings(runs)]
    if here := differences("HEAD"):
        parts.append(
            f"The workspace differs from its commit ({in_words(here)}). The next run, a queued "
            "one too, would take that along: commit it, or `git stash` it."
        )
    print("\n\n".join(parts))


def runs_of(commit: Mapping, model: str) -> Iterator[Run]:
    """A commit and its runs by name, of a part of `dvc exp show --json`."""
    yield Run(name(commit), {}, figures(commit, model))
    for entry in sorted(commit["experiments"] or (), key=lambda entry: name(entry["revs"][0])):
        run = entry["revs"][0]
        state = (entry["executor"] or {}).get("state", "")
        changed = differences(commit["rev"], run["rev"])
        if state in DONE:
            yield Run(name(run), changed, figures(run, model))
        else:  # DVC shows the commit's figures for it
            yield Run(name(run), changed, {}, state)


def name(revision: Mapping) -> str:
    """What people call a revision."""
    return revision["name"] or revision["rev"][:7]


def differences(base: str, rev: str | None = None) -> dict[str, str]:
    """What a revision, or else the workspace, has otherwise than `base`, apart from results."""
    old = revisions.parsed(base, PARAMETERS, dvc_yaml.parse)
    if rev:
        new = revisions.parsed(rev, PARAMETERS, dvc_yaml.parse)
    else:
        new = dvc_yaml.parse(Path(PARAMETERS).read_text())
    lock = revisions.parsed(base, LOCK, dvc_yaml.parse, comparison.Lock)
    changed = revisions.run("git", "diff", "--name-only", base, *([rev] if rev else []))
    files = experiments.inputs(changed.splitlines(), lock)
    return experiments.parameters(old, new) | dict.fromkeys(files, "changed")


def figures(revision: Mapping, model: str) -> dict[str, float | None]:
    """The figures of a model at a revision, as far as it has them."""
    metrics = (revision["data"] or {}).get("metrics") or {}
    photos, cards = (metrics.get(file, {}).get("data", {}) for file in (METRICS, CARDS))
    on_cards = cards.get(model, {}).get(summary.CARD, {})
    return photos.get(model, {}) | {f"{summary.CARD}.{key}": on_cards.get(key) for key in ON_CARDS}


def table(runs: Sequence[Run], model: str) -> str:
    """The runs of a commit, itself first, a row each."""
    if FIGURES[0] not in runs[0].figures:
        raise errors.InputError(
            f"{runs[0].name} has no figures of {model}; name another: MODEL=..."
        )
    rows = []
    for run in runs:
        mark = "! " if experiments.surplus(run, runs) else ""
        shown = (run.figures.get(key) for key in FIGURES)
        cells = [run.state or "-" if value is None else f"{value:.3f}" for value in shown]
        rows.append([mark + run.name, in_words(run.values) or "-", *cells])
    header = ["run", "differs from the commit in", *(f"{model}.{name}" for name in FIGURES)]
    return summary.markdown(header, rows)


def in_words(values: Mapping[str, str]) -> str:
    """What differs, in a line."""
    return ", ".join(f"{key} {how}" for key, how in values.items())


def warnings(runs: Sequence[Run]) -> Iterator[str]:
    """A sentence on each run that differs in more than its name or its neighbours suggest."""
    for run in runs:
        if found := experiments.surplus(run, runs):
            yield (
                f"! {run.name} differs in {len(run.values)} things, and neither its name nor the "
                f"other runs of its sweep say why in {', '.join(found)}: was it left over?"
            )


if __name__ == "__main__":
    script.run(main)
