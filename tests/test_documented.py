"""README and docs followed: each page's commands, in their order, in a clone with real DVC."""

import csv
import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import documented
from helpers import ROOT
from phone import encoded, phone_photo
from tiny import SMALL, Clone

PAGES = [Path("README.md"), *sorted(page.relative_to(ROOT) for page in ROOT.glob("docs/*.md"))]
FOLLOWED = [page for page in PAGES if any(block.is_run for block in documented.blocks(ROOT, page))]
OTHERS = {"text", "js", "kotlin", "swift"}
# In the place of the stages that take longest: what they wrote once, with the figures moved a
# little by the parameters, so that all of DVC and each script that reads results works as ever.
# test_experiments.py has the stages themselves.
LONG_STAGES = ("train", "evaluate", "export")
STAND_IN = """\
import json, shutil, sys, yaml, zlib
from pathlib import Path

MADE = Path({made!r})
stages = yaml.safe_load((MADE / "dvc.lock").read_text())["stages"]
stage = "@".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
for out in stages.get(stage, stages["train@ja"])["outs"]:  # a new member is one more ja
    made, place = MADE / out["path"], Path(out["path"])
    if made.is_dir():
        place = place.with_name(sys.argv[1]) if stage[:5] == "train" else place
        shutil.copytree(made, place, dirs_exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, place)
if stage == "evaluate":
    path = Path("metrics/summary.json")
    by = 1 - zlib.crc32(Path("params.yaml").read_bytes()) / 2**32 / 100
    models = json.loads(path.read_text())
    moved = {{m: {{k: v and v * by for k, v in own.items()}} for m, own in models.items()}}
    path.write_text(json.dumps(moved, indent=2))
"""
# What a reader has: photos, and lists of them.
BROUGHT = ("card.jpg", "selfie.jpg", "photos", "pairs.csv", "labelled.csv", "groups.csv")


@pytest.fixture(scope="module")
def team(clone, bucket, tmp_path_factory) -> Clone:
    """A member's clone: all results pushed, and beside it a run that another member has shared."""
    folder = tmp_path_factory.mktemp("documented")
    made = clone.copy(folder / "clone")
    bucket.serve(made, "--project")  # so that a clone of it finds the bucket as well
    for stage in LONG_STAGES:
        (made.folder / f"src/{stage}.py").write_text(STAND_IN.format(made=str(clone.folder)))
    # The shipped settings, but for what the few photos are paired by.
    text = (ROOT / "params.yaml").read_text()
    for key in ("faces_per_identity", "pairs_per_identity"):
        text = re.sub(rf"^(\s*){key}: .*$", rf"\g<1>{SMALL[key]}", text, flags=re.MULTILINE)
    (made.folder / "params.yaml").write_text(text)
    bring(made.folder)
    # What `make` would install is there: that of the tests.
    (made.folder / ".venv").mkdir()
    (made.folder / ".venv/installed").touch()
    made.dvc("repro")
    made.commit("What was measured once")
    made.git("init", "--quiet", "--bare", "--initial-branch", "main", str(folder / "team.git"))
    made.git("remote", "add", "origin", str(folder / "team.git"))
    made.git("push", "--quiet", "--set-upstream", "origin", "main")
    made.dvc("push")
    with (made.folder / "params.yaml").open("a") as file:
        file.write("# mar was here\n")
    made.dvc("exp", "save", "--name", "mar-dropout-2")
    made.dvc("exp", "push", "origin", "mar-dropout-2")
    made.dvc("exp", "remove", "mar-dropout-2")
    made.git("checkout", "params.yaml")
    return made


def bring(folder: Path) -> None:
    """Put BROUGHT into a clone, where neither git nor DVC looks at it."""
    faces = sorted((folder / "data/img_align_celeba").iterdir())[:12]
    (folder / "photos").mkdir()
    for face in faces:
        photo = encoded(phone_photo(face, 480, 640, 0.8))
        (folder / f"photos/{face.stem}.jpg").write_bytes(photo)
    names = [f"photos/{face.stem}.jpg" for face in faces]
    for name, photo in zip(("card.jpg", "selfie.jpg"), names, strict=False):
        shutil.copy(folder / photo, folder / name)
    pairs = list(itertools.combinations(range(len(names)), 2))
    write(folder / "pairs.csv", ["first", "second"], [(names[i], names[j]) for i, j in pairs])
    # Four photos each.
    labelled = [(names[i], names[j], int(i // 4 == j // 4)) for i, j in pairs]
    write(folder / "labelled.csv", ["first", "second", "same"], labelled)
    groups = [(Path(name).name, "one" if k % 2 else "another") for k, name in enumerate(names)]
    write(folder / "groups.csv", ["photo", "group"], groups)
    (folder / ".git/info/exclude").write_text("".join(f"/{name}\n" for name in BROUGHT))


def write(path: Path, heading: list[str], rows: list[tuple]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([heading, *rows])


@pytest.fixture
def shell(team, tmp_path) -> Iterator[documented.Shell]:
    """A shell in a copy of the member's clone, with the command `faceverify`."""
    clone = team.copy(tmp_path / "clone")
    tools = tmp_path / "tools"
    tools.mkdir()
    command = tools / "faceverify"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m faceverify "$@"\n')
    command.chmod(0o755)
    # What a make that runs the tests hands down would change what this one says.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    environment |= {
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(clone.folder / "src"),
        "REPO": team.git("remote", "get-url", "origin").strip(),
        "BROWSER": "true",  # opens nothing
        "DVC_NO_ANALYTICS": "1",
    }
    shell = documented.Shell(clone, environment)
    yield shell
    shell.close()
    clone.dvc("queue", "stop", "--kill", check=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED, ids=str)
def test_a_page_can_be_followed_and_prints_what_it_shows(shell, page):
    for step in documented.steps(documented.blocks(ROOT, page)):
        documented.follow(shell, step)


# How a page says what is run


def test_each_block_names_its_language_and_each_that_is_not_run_the_reason():
    for page in PAGES:
        for block in documented.blocks(ROOT, page):
            place = f"{page}, line {block.line}"
            assert block.language in {*documented.RUN, *OTHERS}, place
            if not block.is_run and block.language in documented.RUN:
                assert len(block.mark.removeprefix(documented.NOT_RUN).split()) > 1, place
            elif block.language == documented.VALUES:
                assert (ROOT / block.mark.removeprefix(documented.INTO)).is_file(), place
            else:
                assert block.mark in ("", documented.UNTIL), place


PAGE = """\
# Page

```sh
echo one
echo two \\
  three
```

1. In a list:

   ```console
   $ echo "theta 0.5 of ja-1"
   theta 0.6 of ja-1
   ```

```sh not run: no reason
false
```

```text
false
```
"""


@pytest.fixture
def page(tmp_path) -> Path:
    (tmp_path / "page.md").write_text(PAGE)
    return Path("page.md")


def test_the_commands_of_a_page_come_in_order_with_their_lines(page, tmp_path):
    found = list(documented.steps(documented.blocks(tmp_path, page)))
    assert [(step.place, step.command, step.shown) for step in found] == [
        ("page.md, line 4", "echo one", None),
        ("page.md, line 5", "echo two \\\n  three", None),
        ("page.md, line 12", 'echo "theta 0.5 of ja-1"', ["theta 0.6 of ja-1"]),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        (["theta 0.8303"], "theta 1.2e-05\n", True),
        (["| a | 1,800 |"], "| a    |   7 |\n", True),
        (["|---|", "3 of 4"], "|------|\n-1 of 4.5\n", True),
        (["ja-dropout-1"], "ja-dropout-2", False),
        (["000001.png"], "000002.png", False),
        (["reject: ...", "done"], "reject: what?\ndone", True),
        (["first", "...", "last"], "first\n2\n3\n\nlast\n", True),
        (["first", "...", "last"], "first\nlast\n", True),
        (["first"], "first\nsecond\n", False),
        (["first", "second"], "first\n", False),
        ([], "anything", False),
    ],
)
def test_numbers_and_dots_stand_for_what_varies_and_nothing_else_does(shown, printed, alike):
    assert documented.is_shown(shown, printed) == alike


def test_a_command_that_fails_or_prints_otherwise_is_told_with_its_page_and_line(page, tmp_path):
    clone = Clone(tmp_path)
    clone.git("init", "--quiet")
    shell = documented.Shell(clone, dict(os.environ))
    step = documented.Step("page.md, line 4", "export A=1; cd /", None, False)
    documented.follow(shell, step)
    documented.follow(shell, step._replace(command="echo $A $PWD", shown=["1 /"]))
    with pytest.raises(AssertionError, match=r"page\.md, line 4: false\nexit code 1"):
        documented.follow(shell, step._replace(command="false"))
    with pytest.raises(AssertionError, match=r"printed:\nb\n+the page shows:\na"):
        documented.follow(shell, step._replace(command="echo b", shown=["a"]))
    with pytest.raises(AssertionError, match="ended its shell"):
        documented.follow(shell, step._replace(command="exit 3"))
    shell.close()
