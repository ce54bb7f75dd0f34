"""What the tests stand on: the sample data, and real CelebA photos where there are some."""

import os
from pathlib import Path

import pytest

from tiny import STAGES, Clone, make_clone

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def sample() -> Path:
    folder = ROOT / "data"
    lists = folder / "list_attr_celeba.txt"
    if not lists.is_file() or not lists.read_text().startswith("400\n"):
        pytest.exit(
            "the tests want the sample in data/: move other data away, then `make sample`", 2
        )
    return folder


@pytest.fixture(scope="session")
def celeba() -> Path:
    folder = os.environ.get("CELEBA_DIR")
    if not folder:
        pytest.skip("CELEBA_DIR names no folder with real CelebA photos")
    return Path(folder)


@pytest.fixture(scope="session")
def app_folder(tmp_path_factory, sample) -> Path:
    """A folder with an exported verifier in models/ and the landmark model in data/."""
    from app import make_app  # TensorFlow, for the tests that want it

    return make_app(tmp_path_factory.mktemp("app"), sample)


@pytest.fixture(scope="session")
def clone(tmp_path_factory, sample) -> Clone:
    """A clone whose pipeline has run once, everything committed: to look at or to copy.

    All test files share it, so a test that changes something takes `clone.copy(folder)`.
    """
    made = make_clone(tmp_path_factory.mktemp("shared") / "clone", sample)
    first = made.dvc("repro")
    assert made.stages_run(first.stdout) == STAGES
    made.commit("The pipeline has run")
    return made
