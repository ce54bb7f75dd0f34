"""The command `faceverify`, which `python -m faceverify` runs too."""

import sys

from faceverify.base import errors


def main() -> None:
    """Run the command; Ctrl-C ends it with one line also while it imports, which takes a second."""
    errors.begin()
    from faceverify.judge.command import add as judge
    from faceverify.serve.command import add as serve
    from faceverify.verify import command

    errors.run(lambda: command.main(judge, serve), command.REMEDIES)


if __name__ == "__main__":
    sys.argv[0] = "faceverify"  # as messages call it
    main()
