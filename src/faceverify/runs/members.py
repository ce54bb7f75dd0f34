"""Where the members' models and training curves lie, a folder a member."""

import shutil
from collections.abc import Collection
from pathlib import Path

MODELS = Path("models/members")
CURVES = Path("plots/training")
# The files by which a folder is known as one that a training has written.
_WRITTEN = {MODELS: "model.json", CURVES: "environment.json"}


def remove_former(members: Collection[str]) -> list[Path]:
    """Delete what was trained for members that the parameters no longer name; give its folders.

    A stage depends on the two folders as a whole, and DVC leaves the outs of a stage that is gone
    where they are: without this, its results would depend on members of the past. Other folders
    are left alone.
    """
    former = [
        folder
        for home, file in _WRITTEN.items()
        if home.is_dir()
        for folder in sorted(home.iterdir())
        if folder.name not in members and (folder / file).is_file() and not folder.is_symlink()
    ]
    for folder in former:
        shutil.rmtree(folder)
    return former
