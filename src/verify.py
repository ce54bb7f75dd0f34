"""Two photos in, a decision out: do an identity card and a live photo show one person?"""

import argparse
import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import files, output
from faceverify.runs import script
from faceverify.verify import drawing, pair_list
from faceverify.verify.pair_list import ACCEPT, REJECT
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import Comparison, Embedding, Verifier

VERIFIER = Path("models/verifier.json")
# The exit codes; 2 is an error and 70 a crash, as in every script.
ACCEPTED, REJECTED = 0, 1
TITLES = {"first": "ID photo", "second": "live photo"}


def main() -> None:
    """Compare two photos, or score a list of pairs; the exit code is the decision."""
    arguments = parsed()
    # Pillow warns of odd tags in photos that are fine.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        check(arguments)
        if arguments.pairs:
            score_list(arguments)
        else:
            sys.exit(verify(arguments))
    except (errors.InputError, OSError) as error:
        if arguments.json:
            print(json.dumps({"error": fault(error)}))
        raise


def parsed() -> argparse.Namespace:
    """The arguments; a wrong one ends the script as argparse does."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="exit code: 0 accepted (or list scored), 1 rejected, 2 error, "
        "70 a fault of the program itself",
    )
    parser.add_argument("id_photo", type=Path, nargs="?", help="photo of the identity card")
    parser.add_argument("live_photo", type=Path, nargs="?", help="photo of the person")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw what was found")
    parser.add_argument(
        "--threshold", type=float, help="accept below this theta, in radians, not verifier.json's"
    )
    parser.add_argument(
        "--allow-several", action="store_true", help="take the largest of several faces"
    )
    parser.add_argument("--pairs", type=Path, metavar="CSV", help="score a list: first,second")
    parser.add_argument("--out", type=Path, metavar="CSV", help="where the list's scores go")
    return parser.parse_args()


def check(arguments: argparse.Namespace) -> None:
    """Raise InputError for arguments that do not go together."""
    one = [arguments.id_photo, arguments.live_photo, arguments.json or None, arguments.picture]
    many = [arguments.pairs, arguments.out]
    if any(many) and (not all(many) or any(one)):
        raise errors.InputError("a list takes --pairs and --out, no photos, --json or --picture")
    if not any(many) and not arguments.live_photo:
        raise errors.InputError("name two photos: the identity card's, then the live one")
    if arguments.threshold is not None and not 0 <= arguments.threshold <= math.pi:
        raise errors.InputError(f"--threshold: {arguments.threshold} is not in 0 .. pi radians")
    drawn = arguments.picture
    if drawn and drawn.suffix.lower() != ".png":
        raise errors.InputError(f"--picture: {drawn} is no file name that ends in .png")


def fault(error: errors.InputError | OSError) -> dict[str, str | None]:
    """An error as JSON; its code is that of a photo's fault, or "setup" for all else."""
    message = str(error)
    if isinstance(error, OSError) and error.filename:
        message = f"{error.filename}: {error.strerror}"
    slot, code = getattr(error, "slot", None), getattr(error, "code", "setup")
    return {"photo": slot, "code": code, "message": message}


def verify(arguments: argparse.Namespace) -> int:
    """Compare two photos and tell; gives the exit code."""
    photos = {"first": arguments.id_photo, "second": arguments.live_photo}
    drawn = arguments.picture
    if drawn:
        drawn = output.path_to_write(
            drawn, {f"the {TITLES[slot]}": [photos[slot]] for slot in photos}
        )
    verifier = Verifier.load(VERIFIER)
    try:
        found = verifier.compare(
            *photos.values(),
            threshold=arguments.threshold,
            allow_several=arguments.allow_several,
        )
    except CaptureError as error:
        named = CaptureError(f"{TITLES[error.slot]} {photos[error.slot]}: {error}")
        named.code, named.slot = error.code, error.slot
        raise named from None
    notes = list(noted(found))
    if drawn:
        with files.replacing(drawn) as temporary:
            temporary.write_bytes(drawing.draw(list(photos.values()), found))
    if arguments.json:
        print(json.dumps(report(found, notes), allow_nan=False))
    else:
        print(told(found))
    for note in notes:
        print(f"verify.py: warning: {note}", file=sys.stderr)
    return ACCEPTED if found.accepted else REJECTED


def told(found: Comparison) -> str:
    """The decision and its reason, in one line."""
    theta, threshold = f"theta {found.theta:.4f}", f"threshold {found.threshold:.4f}"
    if found.accepted:
        return f"{ACCEPT}: {theta} is below the {threshold}: the photos show one person"
    return f"{REJECT}: {theta} is not below the {threshold}: the photos show two people"


def noted(found: Comparison) -> list[str]:
    """What a person should know of a comparison that went well."""
    notes = [
        f"{TITLES[slot]}: it shows {face.others + 1} faces; the largest was taken"
        for slot, face in (("first", found.first.face), ("second", found.second.face))
        if face.others
    ]
    if found.identical:
        notes.append("both photos are one and the same file; nobody's ID photo is their selfie")
    return notes


def report(found: Comparison, notes: list[str]) -> dict[str, Any]:
    """A comparison as JSON; angles in radians."""

    def face(embedding: Embedding) -> dict[str, Any]:
        return {
            "sha256": embedding.digest,
            "turns": embedding.face.turns,
            "interocular": round(embedding.face.interocular, 2),
            "faces": embedding.face.others + 1,
        }

    return {
        "decision": ACCEPT if found.accepted else REJECT,
        "theta": round(found.theta, 6),
        "threshold": found.threshold,
        "members": {name: round(theta, 6) for name, theta in found.thetas.items()},
        "first": face(found.first),
        "second": face(found.second),
        "warnings": notes,
    }


def score_list(arguments: argparse.Namespace) -> None:
    """Score a list of pairs and tell how many were accepted and rejected."""
    verifier = Verifier.load(VERIFIER)
    threshold = arguments.threshold
    decisions = pair_list.score(
        verifier,
        arguments.pairs,
        arguments.out,
        verifier.description.threshold if threshold is None else threshold,
        allow_several=arguments.allow_several,
    )
    print(
        f"{arguments.out}: {decisions.total():,} pairs, {decisions[ACCEPT]:,} accepted, "
        f"{decisions[REJECT]:,} rejected, {decisions['']:,} with an error"
    )


if __name__ == "__main__":
    script.run(main)
