"""The service's image: built where Docker runs; without it, its steps are done as it says."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import ROOT, sample_photos

DOCKERFILE = (ROOT / "Dockerfile").read_text()
KEY = "a-key-of-the-tests"
# A machine of its own as far as it goes: no network, every file read-only but those in memory.
ALONE = """
set -e
for place in $(awk '{print $5}' /proc/self/mountinfo | sort -u); do
    case $place in
        /proc*|/dev*|/sys*) ;;
        *) mount -o remount,bind,ro "$place" ;;
    esac
done
mount -t tmpfs tmpfs "$TMPDIR"
python - <<'END'
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:  # lo is up and running
    fcntl.ioctl(link, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
END
if touch "$PYTHONPATH/written" 2>/dev/null; then echo "files can be written"; exit 1; fi
"""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and what follows each."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def said(instruction: str) -> list[str]:
    return [text for name, text in instructions() if name == instruction]


def health_check() -> list[str]:
    return json.loads(said("HEALTHCHECK")[0].partition("CMD ")[2])


def pinned(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?:", text)
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^ ]+) \\$", text, re.MULTILINE))


def test_it_is_slim_runs_as_nobody_and_is_looked_after():
    assert said("FROM") == ["python:3.11-slim"]
    (user,) = said("USER")
    assert int(user.partition(":")[0]) > 0
    names = [name for name, _ in instructions()]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert "/healthz" in health_check()[-1]


def test_it_takes_what_is_there_and_no_photo_model_or_key():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    taken = {text.split()[0] for text in said("COPY")}
    assert taken == kept == {"requirements-serve.txt", "src/faceverify"}
    assert not re.search(r"API_KEY|--build-arg", DOCKERFILE)


def test_its_packages_are_those_that_are_tested():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*wanted["dependencies"], *wanted["optional-dependencies"]["serve"]]
    versions = pinned("requirements-serve.txt")
    for requirement in map(Requirement, lines):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])
    tested = pinned("requirements-dev.txt") | pinned("requirements.txt")
    assert versions.items() <= tested.items()
    assert not {"tensorflow", "dvc", "locust"} & versions.keys()


def has_docker() -> bool:
    docker = shutil.which("docker")
    return (
        docker is not None and subprocess.run([docker, "info"], capture_output=True).returncode == 0
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, app_folder, sample) -> Path:
    """The exported verifier in one folder, and two photos."""
    folder = tmp_path_factory.mktemp("bundle")
    for file in filter(Path.is_file, app_folder.rglob("*")):
        shutil.copy(file, folder)
    (names, *_) = sample_photos(sample, 1, 2).values()
    for title, name in zip(("card", "live"), names, strict=True):
        shutil.copy(sample / "img_align_celeba" / name, folder / title)
    return folder


ASK = f"""
import base64, json, sys, urllib.request
sent = {{name: base64.b64encode(open(f"{{sys.argv[1]}}/{{name}}", "rb").read()).decode()
        for name in ("card", "live")}}
request = urllib.request.Request(
    "http://127.0.0.1:8000/v1/verify", json.dumps(sent).encode(),
    {{"content-type": "application/json", "authorization": "Bearer {KEY}"}},
)
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


@pytest.mark.slow
def test_docker_builds_and_runs_it(bundle, tmp_path):
    if not has_docker():
        pytest.skip("no Docker daemon answers")
    tag = f"faceverify-test-{os.getpid()}"
    built = subprocess.run(["docker", "build", "--tag", tag, ROOT], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    bundle.chmod(0o755)
    options = ["--read-only", "--tmpfs", "/tmp", "--volume", f"{bundle}:/bundle:ro"]
    named = ["--rm", "--detach", "--name", tag, "--env", f"FACEVERIFY_API_KEY={KEY}"]
    try:
        subprocess.run(["docker", "run", *named, *options, tag], check=True, capture_output=True)
        waiting = f"until {shlex.join(health_check())}; do sleep 1; done"
        subprocess.run(["docker", "exec", tag, "timeout", "60", "sh", "-c", waiting], check=True)
        asked = subprocess.run(
            ["docker", "exec", tag, "python", "-c", ASK, "/bundle"], capture_output=True, text=True
        )
        assert json.loads(asked.stdout)["decision"] in ("accept", "reject"), asked.stderr
        who = subprocess.run(["docker", "exec", tag, "id", "-u"], capture_output=True, text=True)
        assert who.stdout.strip() == "10001"
    finally:
        subprocess.run(["docker", "stop", tag], capture_output=True)
        subprocess.run(["docker", "rmi", tag], capture_output=True)


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """The folder of an environment's programs, in which the image's folder /app lies too."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    for text in said("COPY"):
        source, place = text.split()
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, folder / "bin" / place)
    for text in said("RUN"):
        command = [
            str(folder / "bin" / word) if word == "python" else word for word in text.split()
        ]
        done = subprocess.run(command, cwd=folder / "bin", capture_output=True, text=True)
        if "No matching distribution" in done.stderr or "Connection" in done.stderr:
            pytest.skip("the package index does not answer")
        assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.mark.slow
def test_its_steps_give_a_service_that_needs_no_network_and_writes_no_file(
    programs, bundle, tmp_path
):
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True).returncode:
        pytest.skip("no namespaces of its own for a process here")
    entry = json.loads(said("ENTRYPOINT")[0])
    start = [*entry, "--verifier", str(bundle / "verifier.json")]
    script = ALONE + f"""
{shlex.join(start)} &
service=$!
for _ in $(seq 60); do
    if {shlex.join(health_check())} 2>/dev/null; then break; fi
    kill -0 $service
    sleep 1
done
python -c {shlex.quote(ASK)} {shlex.quote(str(bundle))}
kill $service
wait $service
"""  # fmt: skip
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(programs),
        "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path), "FACEVERIFY_API_KEY": KEY,
    }  # fmt: skip
    ran = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", script],
        cwd=programs, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (answer,) = [line for line in ran.stdout.splitlines() if '"decision"' in line]
    assert json.loads(answer)["decision"] in ("accept", "reject")
    assert json.loads(ran.stdout.splitlines()[-1])["event"] == "stopped"
