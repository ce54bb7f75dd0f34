"""Stage 1: select CelebA photos that resemble an ID photo, and find their 68 landmarks."""

import argparse
import csv
import json
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import joblib
from tqdm import tqdm

from faceverify.base import files, workers
from faceverify.data import annotations, selection
from faceverify.faces import aligned_photos, landmarks
from faceverify.runs import lock, parameters, script

PREPARED = Path("prepared")


def main() -> None:
    """Read the annotations, choose the people, find their faces, write the stage's outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder in CelebA's layout")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only count what the annotations select; photos are neither needed nor read",
    )
    arguments = parser.parse_args()
    settings = parameters.load(Path("params.yaml"))
    people, report = read_annotations(arguments.data, settings.select)
    if arguments.dry_run:
        print(json.dumps(report))
        return

    lock.claim("select_faces")
    folder = arguments.data / "img_align_celeba"
    predictor_file = arguments.data / settings.select.landmark_model
    wanted = settings.select.faces_per_identity
    searches = search_all(folder, people, wanted, predictor_file, settings.workers)
    found = {person: s.faces for person, s in searches.items() if len(s.faces) == wanted}
    failed = Counter(reason for s in searches.values() for _, reason in s.failures)
    report |= {
        "selected_identities": len(found),
        "selected_images": len(found) * wanted,
        "failed": dict(sorted(failed.items())),
    }
    print(
        f"{report['selected_images']:,} faces of {len(found):,} people selected; "
        f"{failed.total():,} photos failed"
        + "".join(f"; {reason}: {count:,}" for reason, count in report["failed"].items())
    )
    if not found:
        raise errors.InputError("no person has enough usable faces; see select in params.yaml")
    write(folder, found, report)


def read_annotations(
    data: Path, select: parameters.Select
) -> tuple[dict[int, list[str]], dict[str, int]]:
    """The photos that pass the filter, by person with enough of them, and the report's counts."""
    identities = annotations.read_identities(data / "identity_CelebA.txt")
    attributes = annotations.read_attributes(data / "list_attr_celeba.txt")
    passed = selection.passing(attributes, select.require, select.exclude)
    people = selection.qualified(identities, passed, select.faces_per_identity)
    print(
        f"{len(passed):,} of {len(attributes.photos):,} photos pass the filter; {len(people):,} "
        f"people have at least {select.faces_per_identity} of them"
    )
    return people, {
        "images": len(attributes.photos),
        "passed": len(passed),
        "qualified_identities": len(people),
        "selected_images": len(people) * select.faces_per_identity,
    }


def search_all(
    folder: Path, people: dict[int, list[str]], count: int, predictor_file: Path, where: str
) -> dict[int, selection.Search]:
    """Find `count` faces of each person; `where` names the workers, as for `workers.results`.

    Raises InputError when a photo vanishes during the search, because the result would differ
    from that of the data that DVC records.
    """
    if not folder.is_dir():
        raise errors.GivenFileError(f"{folder} is missing")
    landmarks.check_predictor(predictor_file)
    present = {path.name for path in folder.iterdir()}
    jobs = (
        joblib.delayed(selection.search_faces)(folder, photos, count, predictor_file)
        for photos in people.values()
    )
    searches = workers.results(jobs, where)
    progress = tqdm(searches, "Finding faces", len(people), unit="person", disable=None)
    searches = dict(zip(people, progress, strict=True))
    for photo, reason in chain.from_iterable(search.failures for search in searches.values()):
        if reason == aligned_photos.MISSING and photo in present:
            raise errors.InputError(f"{folder / photo} vanished; put it back and run this again")
    return searches


def write(folder: Path, found: dict[int, list[selection.Face]], report: dict) -> None:
    """Copy the selected photos; write their landmarks, their sources and the counts."""
    rows, points = [], {}
    with files.replacing_folder(PREPARED / "selected") as selected:
        for identity, faces in found.items():
            for k, face in enumerate(faces):
                name = f"{identity}-{k}{Path(face.source).suffix}"
                shutil.copyfile(files.path_inside(folder, face.source), selected / name)
                rows.append((name, identity, face.source))
                points[name] = face.landmarks
    files.write_json(PREPARED / "selected.json", points)
    with files.replacing(PREPARED / "selected.csv") as temporary, temporary.open("w") as file:
        csv.writer(file, lineterminator="\n").writerows([("name", "identity", "source"), *rows])
    files.write_json(Path("metrics/selection.json"), report, indent=2)


if __name__ == "__main__":
    script.run(main)
