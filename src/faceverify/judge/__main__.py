"""`python -m faceverify.judge`: the subcommand `judge` by itself."""

import argparse
import sys

from faceverify.base import errors
from faceverify.judge import command
from faceverify.verify.command import REMEDIES


def main() -> None:
    """Run the subcommand with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="faceverify")
    command.add(parser.add_subparsers())
    arguments = parser.parse_args(["judge", *sys.argv[1:]])
    sys.exit(command.run(arguments))


if __name__ == "__main__":
    sys.argv[0] = "faceverify"  # as messages call it
    errors.begin()
    errors.run(main, REMEDIES)
