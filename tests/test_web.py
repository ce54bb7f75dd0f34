"""The page of `web/`, as far as Python sees it; `make test-web` tries it in a browser."""

import json
import os
import re
import subprocess
import sys

import pytest

from helpers import ROOT

WEB = ROOT / "web"


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ((), "node and npm and chromium"),
        (("node", "npm"), "chromium"),
        (("chromium",), "node and npm"),
    ],
)
def test_without_a_browser_or_node_the_pages_tests_are_skipped_by_name(
    tmp_path, installed, missing
):
    for name in installed:
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    run = subprocess.run(
        [sys.executable, WEB / "tests/run.py"],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"test-web: skipped: {missing} not installed\n"


def test_where_the_packages_cannot_be_had_the_pages_tests_are_skipped_by_name(tmp_path):
    for name in ("node", "npm", "chromium"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    run = subprocess.run(
        [sys.executable, WEB / "tests/run.py"],
        env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0
    assert run.stdout.startswith("test-web: skipped: the packages of web/package-lock.json cannot")


def test_the_pages_packages_are_pinned_with_their_hashes_and_name_no_host():
    lock = json.loads((WEB / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert {name.removeprefix("node_modules/") for name in packages} == {
        "@litertjs/core",
        "@litertjs/wasm-utils",
        "playwright-core",
    }
    for one in packages.values():
        assert one["integrity"].startswith("sha512-")
        assert "resolved" not in one
    package = json.loads((WEB / "package.json").read_text())
    for version in (package["dependencies"] | package["devDependencies"]).values():
        assert re.fullmatch(r"[\d.]+", version)


def test_the_page_allows_no_address_but_its_servers():
    policy = re.search(r'content="(default-src[^"]+)"', (WEB / "index.html").read_text())[1]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*", policy)
