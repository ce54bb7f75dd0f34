"""Bring the figures of README, docs and the model card up to date, from what runs have written."""

import argparse

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import files
from faceverify.runs import figures, pages, script


def main() -> None:
    """Renew the figures of all pages; none is written where one cannot be."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    texts = {page: pages.renewed(page, shown) for page, shown in figures.PAGES.items()}
    for page, text in texts.items():
        if pages.read(page) != text:
            with files.replacing(page) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print(f"{page}: figures brought up to date")
    if not figures.VERIFIER.is_file():
        print(f"README.md: its example was not run again: {figures.VERIFIER} is missing")


if __name__ == "__main__":
    script.run(main)
