"""What the tests stand on: the sample data, real CelebA photos, and a repository to run DVC in."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def sample() -> Path:
    folder = ROOT / "data"
    assert folder.is_dir(), "run `make sample` first: the tests need the sample data"
    return folder


@pytest.fixture(scope="session")
def celeba() -> Path:
    folder = os.environ.get("CELEBA_DIR")
    if not folder:
        pytest.skip("CELEBA_DIR names no folder with real CelebA photos")
    return Path(folder)
