"""DVC's cache moved away, a second worktree, a user without a name: what docs say about them."""

import os

import pytest

from helpers import ROOT
from tiny import Clone


@pytest.fixture
def kept(tmp_path) -> Clone:
    """A repository with one file that DVC keeps."""
    made = Clone(tmp_path / "kept")
    made.folder.mkdir()
    (made.folder / "data.txt").write_text("a photo")
    made.git("init", "--quiet", "--initial-branch", "main")
    made.name_author()
    made.dvc("init", "--quiet")
    made.dvc("add", "--quiet", "data.txt")
    made.commit("Data")
    return made


@pytest.mark.slow
def test_a_cache_that_was_moved_away_is_named_to_dvc(kept, tmp_path):
    moved = tmp_path / "elsewhere"
    (kept.folder / ".dvc/cache").rename(moved)
    (kept.folder / "data.txt").unlink()
    result = kept.dvc("checkout", check=False)
    assert result.returncode != 0
    assert "Is your cache up to date?" in result.stderr  # as a row of docs/faults.md has it
    kept.dvc("cache", "dir", "--local", str(moved))
    kept.dvc("checkout")
    assert (kept.folder / "data.txt").read_text() == "a photo"
    assert kept.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_a_worktree_takes_the_first_ones_cache(kept, tmp_path):
    worktree = Clone(tmp_path / "worktree")
    kept.git("worktree", "add", "--quiet", str(worktree.folder))
    assert worktree.dvc("checkout", check=False).returncode != 0
    worktree.dvc("cache", "dir", "--local", str(kept.folder / ".dvc/cache"))
    worktree.dvc("checkout")
    assert (worktree.folder / "data.txt").read_text() == "a photo"
    assert worktree.git("status", "--porcelain") == ""


def test_the_docs_have_the_remedies():
    faults, sharing = ((ROOT / f"docs/{n}.md").read_text() for n in ("faults", "sharing"))
    assert "| `Is your cache up to date?` " in faults
    assert "| `getpwuid(): uid not found` " in faults
    assert "dvc cache dir --local" in sharing


def test_make_names_a_user_id_that_has_no_name(tmp_path, monkeypatch):
    rule = '\nname:\n\t@echo "$$LOGNAME"\n'
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text() + rule)
    monkeypatch.delenv("LOGNAME", raising=False)
    assert Clone(tmp_path).run("make", "--silent", "name").stdout == f"{os.getuid()}\n"
    monkeypatch.setenv("LOGNAME", "ja")
    assert Clone(tmp_path).run("make", "--silent", "name").stdout == "ja\n"
