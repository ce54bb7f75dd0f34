"""Whether a run here gave other results than a revision's by rounding, or in earnest."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import files, schema
from faceverify.evaluation import summary
from faceverify.runs import comparison, dvc_yaml, revisions, rounding, script

METRICS = Path("metrics")
THETAS, DETAILS = METRICS / "thetas.csv", METRICS / "details.json"
RECORD = "environment.json"
LOCK, LOCK_BYTES = "dvc.lock", 64 * 2**20
MEANING = {
    rounding.IDENTICAL: "Every score is the same.",
    rounding.NOISE: f"No score moved by more than {rounding.TOLERANCE:g}, and no decision changed.",
    rounding.REAL: f"A score moved by more than {rounding.TOLERANCE:g}, or a decision is another.",
}


class Decision(schema.Part):
    """Where a model decides: in the accuracy, and in the product."""

    threshold: schema.Finite
    accept_threshold: schema.Finite


def main() -> None:
    """Print where the two ran, what differs, and the verdict; exit code 1 for a real change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="HEAD", help="the revision to compare with (HEAD)")
    parser.add_argument("--brief", action="store_true", help="print one line, the verdict")
    arguments = parser.parse_args()
    base = arguments.base
    revisions.check(base)
    old, new = revisions.parsed(base, LOCK, dvc_yaml.parse, comparison.Lock), lock()
    check_inputs(base, old, new)
    moved = rounding.compare(*thetas(base), thresholds())
    changed = comparison.changed(comparison.outs(old), comparison.outs(new))
    verdict = rounding.verdict(moved)
    if arguments.brief:
        count = f"{len(changed)} outputs have other bytes."
        print(f"Against {base}: {verdict}. {MEANING[verdict]} {count}")
    else:
        print(f"# The results here against those of {base}\n")
        print(environments(base))
        paths = ", ".join(f"`{path}`" for path in changed) or "none"
        print(f"\nOutputs with other bytes: {paths}.\n\n{table(moved)}")
        print(f"\nVerdict: {verdict}. {MEANING[verdict]}")
    sys.exit(verdict == rounding.REAL)


def lock() -> Mapping:
    """The workspace's `dvc.lock`, parsed."""
    try:
        values = dvc_yaml.parse(files.content(Path(LOCK), LOCK_BYTES).decode("utf-8"))
    except ValueError:
        raise errors.InputError(f"{LOCK} is damaged; bring it from git") from None
    schema.check(comparison.Lock, values, LOCK)
    return values


def check_inputs(base: str, old: Mapping, new: Mapping) -> None:
    """Refuse two runs of other code, parameters or data: they may well differ in earnest."""
    if not old:
        raise errors.InputError(f"{base} has no dvc.lock; name a revision with results: BASE=...")
    before, after = (comparison.inputs(lock) for lock in (old, new))
    differing = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise errors.InputError(
            f"the run here and that of {base} differ in {', '.join(differing[:3])}{more}: this is "
            "no comparison of machines; `make review` compares revisions"
        )


def thetas(base: str) -> tuple:
    """The scores of the revision and of the workspace."""
    before = revisions.committed(base, str(THETAS))
    if before is None:
        raise errors.InputError(f"{base} has no {THETAS}; name a revision that has it: BASE=...")
    if not THETAS.is_file():
        raise errors.MadeFileError(f"{THETAS} is missing")
    here = THETAS.read_text(encoding="utf-8", errors="replace")
    return rounding.parse(before, f"{THETAS} of {base}"), rounding.parse(here, str(THETAS))


def thresholds() -> dict[str, tuple[float, ...]]:
    """Where each model decides."""
    details = files.read_json(DETAILS)
    schema.check(dict[str, Decision], details, str(DETAILS))
    return {
        name: tuple(dict.fromkeys((report["threshold"], report["accept_threshold"])))
        for name, report in details.items()
    }


def environments(base: str) -> str:
    """What differs between the machines that made the results, by stage."""
    places = {"evaluate": METRICS}
    places |= {
        f"train@{p.parent.name}": p.parent for p in Path("plots/training").glob(f"*/{RECORD}")
    }
    stages = {}
    for stage, folder in sorted(places.items()):
        before = revisions.parsed(base, str(folder / RECORD), json.loads)
        here = files.read_json(folder / RECORD)
        schema.check(dict[str, object], here, str(folder / RECORD))
        if not before:
            stages.setdefault(("all", "not recorded", "recorded"), []).append(stage)
        for key in {**before, **here} if before else ():
            if before.get(key) != here.get(key):
                stages.setdefault((key, shown(before, key), shown(here, key)), []).append(stage)
    if not stages:
        return f"Both were made in the same environment: {METRICS / RECORD}."
    rows = [[", ".join(names), *difference] for difference, names in stages.items()]
    return summary.markdown(["stage", "", base, "here"], rows)


def shown(record: Mapping, key: str) -> str:
    """A value of a record for people."""
    return json.dumps(record.get(key)).strip('"')


def table(moved: Mapping[str, rounding.Drift]) -> str:
    """How far each model's scores moved, and how many pairs it decides otherwise."""
    rows = [
        [
            name,
            f"{found.largest:.6f}",
            f"{found.median:.6f}",
            ", ".join(f"{count} at {limit:g}" for limit, count in found.changed.items()),
            f"{found.farthest:.6f}" if any(found.changed.values()) else "-",
        ]
        for name, found in moved.items()
    ]
    header = ["model", "largest move", "median", "decided otherwise", "farthest from the threshold"]
    return summary.markdown(header, rows)


if __name__ == "__main__":
    script.run(main)
