"""The subcommand `judge`: measure the verifier on labelled photos of one's own."""

import argparse
from fractions import Fraction
from pathlib import Path

from faceverify.base.errors import InputError
from faceverify.verify.command import VERIFIER, load_verifier, verifier_path

JUDGED = 0  # the exit code
_DLIB = "dlib"


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand; its `work` is `run`."""
    parser = subparsers.add_parser(
        "judge",
        help="measure the verifier on labelled photos",
        description="Measure the verifier on labelled photos: error rates with their intervals, "
        "plots and the worst errors, as one HTML page.",
        epilog="exit code: 0 judged, 2 error, 70 a fault of the program itself",
    )
    parser.add_argument(
        "pairs", type=Path, nargs="?", metavar="LIST",
        help="CSV with the columns first,second,same (1 or 0) and, where known, "
        "first_person,second_person and group; or LFW's pairs.txt",
    )  # fmt: skip
    parser.add_argument(
        "--different-people", type=Path, metavar="FOLDER", help="photos of a person each, no list"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="the report")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="where the list's photos lie")
    parser.add_argument(
        "--groups", type=Path, metavar="CSV", help="with --different-people: photo,group"
    )
    parser.add_argument(
        "--draw", type=int, metavar="N",
        help="with --different-people: how many pairs, not 100,000 or all there are",
    )  # fmt: skip
    parser.add_argument(
        "--card", action="store_true", help="put the first photos on simulated identity cards"
    )
    parser.add_argument("--beside", choices=[_DLIB], help="score dlib's face descriptor, too")
    parser.add_argument(
        "--wrong-labels", type=Path, metavar="CSV",
        help="pairs, first,second, that are labelled wrongly: give the figures without them, too",
    )  # fmt: skip
    parser.add_argument(
        "--fmr", metavar="SHARE", help="a wanted false match rate beside 0.01, 0.001 and 0.0001"
    )
    parser.add_argument(
        "--verifier", type=Path, metavar="FILE", help=f"a verifier.json; without it {VERIFIER}"
    )
    # A front of several subcommands finds here what it asks of each.
    parser.set_defaults(work=run, json=False, threshold=None)


def run(arguments: argparse.Namespace) -> int:
    """Judge and tell the rates; gives JUDGED. Raises InputError as `judging.judge` does."""
    check(arguments)
    fmr = _fmr(arguments.fmr)
    try:
        from faceverify.judge import judging
    except ModuleNotFoundError as error:
        raise InputError(
            f"judging needs the package {error.name}; install faceverify with [pipeline]"
        ) from None
    path = verifier_path(arguments.verifier)
    beside = path.parent if arguments.beside == _DLIB else None
    request = judging.Request(
        arguments.pairs, arguments.different_people, arguments.photos, arguments.groups,
        arguments.draw, arguments.card, beside, arguments.wrong_labels, fmr,
        arguments.out,
    )  # fmt: skip
    found = judging.judge(request, load_verifier(arguments.verifier))
    print(judging.told(found, arguments.out))
    return JUDGED


def check(arguments: argparse.Namespace) -> None:
    """Raise InputError for arguments that do not go together."""
    if (arguments.pairs is None) == (arguments.different_people is None):
        raise InputError("name a list of pairs, or a folder with --different-people")
    if arguments.pairs is None and arguments.photos is not None:
        raise InputError("--photos goes with a list; --different-people names its folder itself")
    if arguments.different_people is None:
        for option in ("groups", "draw"):
            if getattr(arguments, option) is not None:
                raise InputError(f"--{option} goes with --different-people")
    if arguments.draw is not None and arguments.draw < 1:
        raise InputError(f"--draw: {arguments.draw} is no number of pairs")


def _fmr(text: str | None) -> Fraction | None:
    """The wanted FMR, exact as it is written."""
    if text is None:
        return None
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share < 1:
        raise InputError(f"--fmr: {text!r} is no share between 0 and 1, such as 0.005")
    return share
