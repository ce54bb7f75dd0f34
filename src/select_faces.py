"""Stage 1: CelebA -> faces that look like an ID photo, with their 68 landmarks."""

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
    """Read the annotations, choose the people, find their faces, write the stage's outs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder in CelebA's layout")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only count what the annotations select; photos are neither needed nor read",
    )
    arguments = parser.parse_args()
    everything = parameters.load(Path("params.yaml"))
    settings = everything.select

    identities = annotations.read_identities(arguments.data / "identity_CelebA.txt")
    attributes = annotations.read_attributes(arguments.data / "list_attr_celeba.txt")
    passed = selection.passing(attributes, settings.require, settings.exclude)
    people = selection.qualified(identities, passed, settings.faces_per_identity)
    print(
        f"{len(passed):,} of {len(attributes.photos):,} photos pass the filter; {len(people):,} "
        f"people have at least {settings.faces_per_identity} of them"
    )
    report = {
        "images": len(attributes.photos),
        "passed": len(passed),
        "qualified_identities": len(people),
        "selected_images": len(people) * settings.faces_per_identity,
    }
    if arguments.dry_run:
        print(json.dumps(report))
        return

    lock.claim("select_faces")
    predictor_file = arguments.data / settings.landmark_model
    folder = arguments.data / "img_align_celeba"
    searches = search_all(
        folder, people, settings.faces_per_identity, predictor_file, everything.workers
    )
    found = {i: s.faces for i, s in searches.items() if len(s.faces) == settings.faces_per_identity}
    failed = Counter(reason for s in searches.values() for _, reason in s.failures)
    report |= {
        "selected_identities": len(found),
        "selected_images": len(found) * settings.faces_per_identity,
        "failed": dict(sorted(failed.items())),
    }
    print(
        f"{report['selected_images']:,} faces of {len(found):,} people selected; "
        f"{failed.total():,} photos failed"
        + "".join(f"; {reason}: {count:,}" for reason, count in sorted(failed.items()))
    )
    if not found:
        raise errors.InputError("no person has enough usable faces; see select in params.yaml")
    write(folder, found, report)


def search_all(
    folder: Path, people: dict[int, list[str]], count: int, predictor_file: Path, where: str
) -> dict[int, selection.Search]:
    """Find `count` faces of each person, on the workers that `where` names.

    Raises InputError when a photo that was there at first vanishes meanwhile: what came of it
    would be taken for the result of the photos that are there.
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
    """Copy the selected photos and write what is known of them."""
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
