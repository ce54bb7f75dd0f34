"""Two photos in, a decision out: do an identity card and a live photo show one person?"""

import argparse
import sys
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.runs import script
from faceverify.verify import command


def main() -> None:
    """Compare two photos, or score a list of pairs; the exit code is the decision."""
    arguments = parsed()
    with command.told_as_json(arguments.json, script.REMEDIES):
        check(arguments)
        sys.exit(command.run(arguments))


def parsed() -> argparse.Namespace:
    """The arguments; a wrong one ends the script as argparse does."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="exit code: 0 accepted (or list scored), 1 rejected, 2 error, "
        "70 a fault of the program itself",
    )
    parser.add_argument("id_photo", type=Path, nargs="?", help="photo of the identity card")
    parser.add_argument("live_photo", type=Path, nargs="?", help="photo of the person")
    command.add_photo_options(parser)
    command.add_options(parser)
    parser.add_argument("--pairs", type=Path, metavar="CSV", help="score a list: first,second")
    parser.add_argument("--out", type=Path, metavar="CSV", help="where the list's scores go")
    arguments = parser.parse_args()
    arguments.work = command.score_list if arguments.pairs else command.compare_photos
    return arguments


def check(arguments: argparse.Namespace) -> None:
    """Raise InputError for arguments that do not go together."""
    one = [arguments.id_photo, arguments.live_photo, arguments.json or None, arguments.picture]
    many = [arguments.pairs, arguments.out]
    if any(many) and (not all(many) or any(one)):
        raise errors.InputError("a list takes --pairs and --out, no photos, --json or --picture")
    if not any(many) and not arguments.live_photo:
        raise errors.InputError("name two photos: the identity card's, then the live one")


if __name__ == "__main__":
    script.run(main)
