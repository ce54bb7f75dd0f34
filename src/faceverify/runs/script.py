"""How the project's scripts end: the library says what is wrong, the script what to run."""

from collections.abc import Callable

from faceverify.base import errors

REMEDIES = {
    errors.MadeFileError: "run `dvc repro`, which makes it",
    errors.GivenFileError: "`python src/make_sample.py` brings the sample's",
}


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; see `errors.run`."""
    errors.run(main, REMEDIES)
