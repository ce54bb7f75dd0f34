"""`make test-web`: the page's tests in Chromium, or what is missing for them.

`BUNDLE=models` tests the verifier of that folder instead of one made for the tests.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEB, REFERENCE = ROOT / "web", ROOT / ".cache/web"
LIMIT = 600  # seconds for the tests, which take one minute
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """Install, build, make the reference, test; the exit code."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    missing += [] if chromium else ["chromium"]
    if missing:
        return skipped(f"{' and '.join(missing)} not installed")
    # The packages' own scripts are not run; a registry that does not answer takes a minute.
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        subprocess.run(install, cwd=WEB, check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return skipped("the packages of web/package-lock.json cannot be installed")
    given = os.environ.get("BUNDLE")
    bundle = Path(given).resolve() if given else REFERENCE / "models"
    REFERENCE.mkdir(parents=True, exist_ok=True)
    reference = [sys.executable, WEB / "tests/reference.py", REFERENCE]
    reference += [bundle / "verifier.json"] if given else []
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
    subprocess.run(reference, cwd=ROOT, env=os.environ | path, check=True)
    subprocess.run(["node", "build.mjs", bundle], cwd=WEB, check=True)
    return tested({"CHROMIUM": chromium, "REFERENCE": str(REFERENCE), "BUNDLE": str(bundle)})


def tested(environment: dict[str, str]) -> int:
    """The exit code of `npm test`, which is ended after LIMIT seconds; browsers end with it."""
    tests = subprocess.Popen(
        ["npm", "test"], cwd=WEB, env=os.environ | environment, start_new_session=True
    )
    try:
        return tests.wait(LIMIT)
    except subprocess.TimeoutExpired:
        print(f"test-web: the tests have not ended within {LIMIT} s", file=sys.stderr)
        return 1
    finally:
        with suppress(ProcessLookupError):
            os.killpg(tests.pid, signal.SIGKILL)
        tests.wait()


def skipped(why: str) -> int:
    """Say by name what is skipped; it is no failure."""
    print(f"test-web: skipped: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
