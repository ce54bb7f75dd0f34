"""Check the data before training: duplicates, wrong labels, unreadable photos, too few faces."""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.audit import observations, report_page, rules
from faceverify.base import files, output
from faceverify.data import annotations
from faceverify.data.annotations import IdentityRow
from faceverify.faces import dlib_descriptor
from faceverify.runs import parameters, script

AUDIT, CACHE = Path("audit"), Path(".cache")
# The exit codes; 2 is an error, as in every script.
CLEAN, FOUND = 0, 1
SHOWN = 20
COLUMNS = (
    "kind",
    "place",
    "photo",
    "identity",
    "other_place",
    "other_photo",
    "other_identity",
    "distance",
    "remedy",
)


def main() -> None:
    """Observe every photo, apply the rules, write and print the findings; exit 1 if any."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="exit code: 0 nothing found, 1 findings, 2 error; writes audit/findings.csv and "
        "audit/index.html",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder in CelebA's layout")
    data = parser.parse_args().data
    settings = parameters.load(Path("params.yaml"))
    try:
        str(data).encode()
    except UnicodeEncodeError:  # the report is UTF-8 and contains the path
        raise errors.InputError(f"--data: {data} is no name in UTF-8; rename the folder") from None

    lists, folder = data / "identity_CelebA.txt", data / "img_align_celeba"
    rows = annotations.read_identity_rows(lists)
    models = observations.Models(
        data / settings.select.landmark_model, data / dlib_descriptor.NETWORK
    )
    seen = observations.observe_all(folder, [row.photo for row in rows], models, CACHE)
    limits = rules.Limits(
        **settings.audit.model_dump(), faces_per_identity=settings.select.faces_per_identity
    )
    findings = rules.find(rows, seen, limits)
    table = [table_row(finding, rows, lists) for finding in findings]
    with files.replacing_folder(AUDIT) as temporary:
        with (temporary / "findings.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *table])
        address = quote(os.path.relpath(folder, AUDIT))
        page = report_page.render(findings, rows, address)
        (temporary / "index.html").write_text(page, encoding="utf-8")
    faceless = sum(1 for i, fault in enumerate(seen.faults) if not fault and not seen.faces[i])
    print_findings(findings, rows, table, faceless)
    sys.exit(FOUND if findings else CLEAN)


def table_row(finding: rules.Finding, rows: Sequence[IdentityRow], lists: Path) -> list[str]:
    """A finding as a row of findings.csv."""
    row = rows[finding.row]
    found = [finding.kind, f"{lists}:{row.line}", row.photo, str(row.identity)]
    if finding.other is None:
        found += ["", "", ""]
    else:
        other = rows[finding.other]
        found += [f"{lists}:{other.line}", other.photo, str(other.identity)]
    found.append("" if finding.distance is None else f"{finding.distance:.3f}")
    return [output.spreadsheet_cell(cell) for cell in (*found, finding.remedy)]


def print_findings(
    findings: Sequence[rules.Finding],
    rows: Sequence[IdentityRow],
    table: Sequence[list[str]],
    faceless: int,
) -> None:
    """Print the worst findings, a line each, and the counts of all kinds."""
    for kind, place, photo, identity, _, other, of, distance, remedy in table[:SHOWN]:
        beside = f", {other} of {of}" if other else ""
        apart = f", distance {distance}" if distance else ""
        print(f"{place}: {kind}: {photo} of {identity}{beside}{apart}: {remedy}")
    if len(table) > SHOWN:
        print(f"... and {len(table) - SHOWN:,} more rows")
    if table:
        print(f"all of them: {AUDIT / 'findings.csv'}; with their photos: {AUDIT / 'index.html'}")
    print(f"\n{'kind':<12} {'rows':>7} {'people':>7}")
    for kind, meaning in rules.KINDS.items():
        own = [rows[finding.row].identity for finding in findings if finding.kind == kind]
        print(f"{kind:<12} {len(own):>7,} {len(set(own)):>7,}  {meaning}")
    people = len({row.identity for row in rows})
    print(
        f"\n{len(rows):,} photos of {people:,} people; {faceless:,} without a face "
        "that dlib finds, which the selection passes over"
    )


if __name__ == "__main__":
    script.run(main)
