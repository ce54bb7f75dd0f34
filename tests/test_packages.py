"""The audit of the pinned packages: what it looks at, and that no answer is no pass."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AUDIT = ("make", "--silent", "audit-packages", "--assume-old=.venv/installed")
NOWHERE = "http://127.0.0.1:9"


def run(*command: str) -> subprocess.CompletedProcess:
    """Run a command in the repository, with the packages' database out of reach."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, **proxies, "NO_PROXY": "", "no_proxy": "", "PATH": path}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_every_pinned_package_is_audited():
    script = run(*AUDIT, "--dry-run").stdout
    command = script.replace("\\\n", " ").partition("||")[0].split()
    assert command[0] == "pip-audit"
    result = run(*command, "--dry-run")
    assert result.returncode == 0, result.stderr
    pinned = re.findall(r"^[a-z0-9_.-]+==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert f"would have audited {len(pinned)} packages" in result.stderr


def test_a_database_that_does_not_answer_is_no_pass():
    result = run(*AUDIT)
    assert result.returncode == 2  # make's own code for a command that failed
    assert "no pass: update what is named above, or run this where the" in result.stderr
    assert "No known vulnerabilities found" not in result.stdout + result.stderr
