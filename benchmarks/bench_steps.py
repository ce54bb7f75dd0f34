"""Speed and memory of each step of the pipeline, beside the original's way and the nearest peers.

Run it from the repository's root on a quiet machine, when the sample is built:
`python benchmarks/bench_steps.py` writes results.json and results.md beside itself. The photos are
those of CELEBA_DIR, in CelebA's layout, or else the sample's. Each way of a step runs in a process
of its own, on the same photos.
"""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from faceverify.base import files
from faceverify.runs import script
from material import Photos, find_photos
from measuring import Comparison, machine

OUT = ROOT / "benchmarks/results.json"
# Imported one by one: only what a step itself needs counts as its memory.
STEPS = ("landmark_steps", "record_steps", "training_steps", "scoring_steps")
PHOTOS = 1_000


def main() -> None:
    """Measure all steps, print a table, store it."""
    celeba = os.environ.get("CELEBA_DIR")
    photos = find_photos(Path(celeba or ROOT / "data").resolve(), PHOTOS)
    at = machine()
    found: list[Comparison] = []
    for step in STEPS:
        print(f"{step} ...", file=sys.stderr)
        found += importlib.import_module(step).compare(photos)
    write(found, at, photos, "CELEBA_DIR" if celeba else "the sample")
    print(table(found))


def write(found: list[Comparison], at: dict[str, object], photos: Photos, source: str) -> None:
    """Store all figures with the machine and the photos they were taken on, and the table."""
    material = {"of": source, "count": len(photos.landmarks), "people": len(photos.people)}
    figures = {comparison.name: comparison.entry() for comparison in found}
    files.write_json(OUT, {"machine": at, "photos": material, "figures": figures}, indent=2)
    heading = (
        f"{material['count']:,} photos of {material['people']:,} people of {source}, on "
        f"{at['cores']} cores of {at['processor']}; README.md here says what each figure is.\n\n"
    )
    with files.replacing(OUT.with_suffix(".md")) as temporary:
        temporary.write_text(f"{heading}{table(found)}\n", encoding="utf-8")


def table(found: list[Comparison]) -> str:
    """The figures as a Markdown table."""
    lines = ["| | unit | ours | beside | | ratio | target |", "|---|---|---|---|---|---|---|"]
    for one in found:
        entry = one.entry()
        ours, theirs = (_short(side and side.median) for side in (one.ours, one.theirs))
        met = {True: "met", False: "not met", None: ""}[entry["met"]]
        target = f"{one.target:g} {met}" if one.target else met
        lines.append(
            f"| {one.name} | {one.unit} | {ours} | {theirs} | {one.way} "
            f"| {_short(one.ratio)} | {target} |"
        )
    return "\n".join(lines)


def _short(value: float | None) -> str:
    """Three digits, or whole numbers."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    script.run(main)
