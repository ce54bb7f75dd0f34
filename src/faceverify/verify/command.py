"""The command line: compare two photos, or score a list of pairs, and tell the decision."""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faceverify import __version__
from faceverify.base import errors, files, output
from faceverify.verify import capture, drawing
from faceverify.verify.drawing import TITLES
from faceverify.verify.embedding import Embedding
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import ACCEPT, REJECT, Comparison, Verifier

VERIFIER = Path("models/verifier.json")
# Exit codes; 2 is an error and 70 a crash, as `errors.run` has them.
ACCEPTED, REJECTED, SCORED, PASSED, FAILED = 0, 1, 0, 0, 1
REMEDIES: dict[type[errors.InputError], str] = {
    errors.MadeFileError: "name a verifier.json with --verifier FILE"
}
# Adds a subcommand, with `work` and `json` as its defaults.
AddCommand = Callable[[argparse._SubParsersAction], None]
_EXIT_CODES = "2 error, 70 a fault of the program itself"


def main(*others: AddCommand) -> None:
    """Run the command `faceverify` with the arguments of the command line.

    `others` add subcommands of other wings, of which this one knows nothing.
    """
    arguments = _parser(others).parse_args()
    with told_as_json(arguments.json, REMEDIES):
        sys.exit(run(arguments))


def _parser(others: Sequence[AddCommand]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceverify", description="Do an identity card and a live photo show one person?"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    verify = commands.add_parser(
        "verify",
        help="compare two photos",
        description="Compare the photo of an identity card with a live photo.",
        epilog=f"exit code: 0 accepted, 1 rejected, {_EXIT_CODES}",
    )
    verify.add_argument("id_photo", type=Path, help="photo of the identity card")
    verify.add_argument("live_photo", type=Path, help="photo of the person")
    add_photo_options(verify)
    add_options(verify)
    verify.set_defaults(work=compare_photos)

    pairs = commands.add_parser(
        "pairs",
        help="score a list of pairs",
        description="Score each pair of photos of a list.",
        epilog=f"exit code: 0 list scored, {_EXIT_CODES}",
    )
    pairs.add_argument("pairs", type=Path, metavar="CSV", help="the list: first,second")
    pairs.add_argument("--out", type=Path, metavar="CSV", required=True, help="where the scores go")
    add_options(pairs)
    pairs.set_defaults(work=score_list, json=False)

    selftest = commands.add_parser(
        "selftest",
        help="check a bundle",
        description="Check a bundle's files, and run its test vectors.",
        epilog=f"exit code: 0 all is as stated, 1 something is not, {_EXIT_CODES}",
    )
    selftest.add_argument("bundle", type=Path, help="its folder, or the verifier.json in it")
    selftest.set_defaults(work=check_bundle, json=False, threshold=None)
    for add in others:
        add(commands)
    return parser


def add_photo_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `compare_photos` alone."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw what was found")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `compare_photos` and `score_list` share."""
    parser.add_argument(
        "--threshold", type=float, help="accept below this theta, in radians, not verifier.json's"
    )
    parser.add_argument(
        "--allow-several", action="store_true", help="take the largest of several faces"
    )
    parser.add_argument(
        "--verifier", type=Path, metavar="FILE", help=f"a verifier.json; without it {VERIFIER}"
    )


@contextmanager
def told_as_json(wanted: bool, remedies: Mapping[type[errors.InputError], str]) -> Iterator[None]:
    """Print an error of the block as JSON too, where that is wanted, and let it pass."""
    try:
        yield
    except (errors.InputError, OSError) as error:
        if wanted:
            print(json.dumps({"error": _fault(error, remedies)}))
        raise


def _fault(
    error: errors.InputError | OSError, remedies: Mapping[type[errors.InputError], str]
) -> dict[str, str | None]:
    """An error as JSON; its code is that of a photo's fault, or "setup" for all else."""
    if isinstance(error, errors.InputError):
        message = errors.message(error, remedies)
    else:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    slot, code = getattr(error, "slot", None), getattr(error, "code", "setup")
    return {"photo": slot, "code": code, "message": message}


def run(arguments: argparse.Namespace) -> int:
    """Do `arguments.work`, `compare_photos` or `score_list`; gives the exit code.

    Raises InputError for a threshold that is no angle, and as the work does.
    """
    if arguments.threshold is not None and not 0 <= arguments.threshold <= math.pi:
        raise errors.InputError(f"--threshold: {arguments.threshold} is not in 0 .. pi radians")
    # Pillow warns of odd tags in photos that are fine.
    warnings.filterwarnings("ignore", module="PIL")
    return arguments.work(arguments)


def compare_photos(arguments: argparse.Namespace) -> int:
    """Compare two photos and print the decision; gives ACCEPTED or REJECTED.

    Raises InputError for a file that `--picture` must not replace and a verifier that cannot be
    loaded, and CaptureError, naming the photo's file, for a photo that cannot be used.
    """
    photos = {"first": arguments.id_photo, "second": arguments.live_photo}
    drawn = arguments.picture
    if drawn:
        if drawn.suffix.lower() != ".png":
            raise errors.InputError(f"--picture: {drawn} is no file name that ends in .png")
        drawn = output.path_to_write(
            drawn, {f"the {TITLES[slot]}": [photos[slot]] for slot in photos}
        )
    verifier = load_verifier(arguments.verifier)
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
    if drawn:
        with files.replacing(drawn) as temporary:
            temporary.write_bytes(drawing.draw(list(photos.values()), found))
    warned = _warnings(found)
    print(json.dumps(report(found), allow_nan=False) if arguments.json else _told(found))
    for warning in warned:
        print(f"{Path(sys.argv[0]).name}: warning: {warning}", file=sys.stderr)
    return ACCEPTED if found.accepted else REJECTED


def score_list(arguments: argparse.Namespace) -> int:
    """Score a list of pairs and print how many were accepted and rejected; gives SCORED.

    Raises InputError for a verifier that cannot be loaded, and as `pair_list.score` does.
    """
    from faceverify.verify import pair_list  # each command imports what it alone needs

    verifier = load_verifier(arguments.verifier)
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
    return SCORED


def check_bundle(arguments: argparse.Namespace) -> int:
    """Check a bundle and print its version, or what is not as stated; gives PASSED or FAILED.

    Raises InputError for a bundle that is damaged or lacks a file.
    """
    from faceverify.verify import bundle

    path = arguments.bundle
    path = path / bundle.DESCRIPTION if path.is_dir() else path
    verifier, faults = bundle.selftest(path)
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{path}: all is as stated; version {verifier.description.version}")
    return FAILED if faults else PASSED


def load_verifier(named: Path | None) -> Verifier:
    """The verifier that the command line names, or the one in its usual place."""
    try:
        return Verifier.load(verifier_path(named))
    except errors.MadeFileError as error:
        if named is None:
            raise
        # No step of a project makes the file that a user has named.
        raise errors.InputError(f"--verifier: {error}") from None


def verifier_path(named: Path | None) -> Path:
    """The verifier.json that the command line names, or the one in its usual place."""
    return named or _home() / VERIFIER


def _home() -> Path:
    """The root of the checkout that this code lies in; installed elsewhere, the current folder."""
    source = Path(__file__).resolve().parents[2]
    is_checkout = source.name == "src" and (source.parent / "pyproject.toml").is_file()
    return source.parent if is_checkout else Path()


def _told(found: Comparison) -> str:
    """The decision and its reason, in one line."""
    theta, threshold = f"theta {found.theta:.4f}", f"threshold {found.threshold:.4f}"
    if found.accepted:
        return f"{found.decision}: {theta} is below the {threshold}: the photos show one person"
    return f"{found.decision}: {theta} is not below the {threshold}: the photos show two people"


def _warnings(found: Comparison) -> list[str]:
    """What a person should know of a comparison that went well."""
    faces = {"first": found.first.face, "second": found.second.face}
    warned = [
        f"{TITLES[slot]}: it shows {face.others + 1} faces; the largest was taken"
        for slot, face in faces.items()
        if face.others
    ]
    if not found.accepted:
        warned += [
            f"{TITLES[slot]}: {said}"
            for slot, face in faces.items()
            for said in capture.advice(face.aligned)
        ]
    if found.identical:
        warned.append("both photos are one and the same file; nobody's ID photo is their selfie")
    if found.copied:
        warned.append(
            "both photos seem to be one photo, turned, scaled or encoded again; "
            "nobody's ID photo is their selfie"
        )
    return warned


def report(found: Comparison) -> dict[str, Any]:
    """A comparison as `--json` prints it.

    Angles in radians, `interocular` in pixels of the photo as taken.
    """

    def face(embedding: Embedding) -> dict[str, Any]:
        return {
            "sha256": embedding.digest,
            "turns": embedding.face.turns,
            "interocular": round(embedding.face.interocular, 2),
            "faces": embedding.face.others + 1,
        }

    return {
        "decision": found.decision,
        "theta": round(found.theta, 6),
        "threshold": found.threshold,
        "members": {name: round(theta, 6) for name, theta in found.thetas.items()},
        "first": face(found.first),
        "second": face(found.second),
        "warnings": _warnings(found),
    }
