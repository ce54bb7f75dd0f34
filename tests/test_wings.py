"""The rules of the library's wings, read from its code; each is broken on purpose as well."""

import ast
import re
import shutil
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from faceverify.runs import imports
from helpers import ROOT

# The package's command, the one module that is in no wing.
COMMAND = "__main__.py"
# The wings whose modules a wing, or the command, may import, beside its own.
BELOW = {
    "base": (),
    "faces": ("base",),
    "cards": ("base", "faces"),
    "data": ("base", "faces"),
    "model": ("base", "faces", "data"),
    "verify": ("base", "faces"),
    "evaluation": ("base", "faces", "cards", "data", "model", "verify"),
    "audit": ("base", "faces", "data"),
    "judge": ("base", "faces", "verify", "cards", "evaluation"),
    "serve": ("base", "verify"),
    "runs": ("base", "faces", "cards", "data", "model", "evaluation", "audit", "verify"),
    COMMAND: ("base", "verify", "judge", "serve"),
}
# What an app's backend installs has none of these.
HEAVY = {
    "tensorflow",
    "keras",
    "dlib",
    "dvc",
    "dvclive",
    "pandas",
    "joblib",
    "distributed",
    "scipy",
}
PROJECT = re.compile(r"params\.yaml|dvc\.lock|dvc\.yaml|\bdvc\b|make_sample|make sample", re.I)


def faults(source: Path) -> list[str]:
    """Every place of a `src/` that breaks a rule."""
    library = source / "faceverify"
    modules = [path for path in sorted(library.rglob("*.py")) if path.name != "__init__.py"]
    graph = {module: imports.imported(module, [source]) for module in modules}
    found = [*order_faults(graph, library), *name_faults(modules, library)]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"circle: {' -> '.join(path.stem for path in error.args[1])}")
    for package in library.rglob("__init__.py"):
        (text, *more) = ast.parse(package.read_text()).body
        if package.parent != library and (more or not isinstance(text, ast.Expr)):
            found.append(f"{package.parent.name}/__init__.py holds more than a docstring")
    return found


def order_faults(graph: dict[Path, set[Path]], library: Path) -> list[str]:
    """Imports that go up, to a script, or out of what verifying may install."""
    found = []
    for module, imported in graph.items():
        name = module.relative_to(library)
        wing = name.parts[0]
        for other in imported:
            if not other.is_relative_to(library):
                found.append(f"{name} imports the script {other.name}")
            elif (place := other.relative_to(library).parts[0]) not in (wing, *BELOW[wing]):
                found.append(f"{name} imports {place}/{other.name}")
    for module in (m for m in graph if m.parent.name in ("verify", "serve")):
        used, left = {module}, [module]
        while left:
            new = graph[left.pop()] - used
            used |= new
            left += [path for path in new if path in graph]
        if heavy := sorted(imports.modules_of(sorted(used)) & HEAVY):
            found.append(f"{module.relative_to(library)} brings {', '.join(heavy)}")
    return found


def name_faults(modules: list[Path], library: Path) -> list[str]:
    """Modules outside of `runs` that name the project's files or DVC, in code or in words."""
    return [
        f"{module.relative_to(library).as_posix()} says {said[0]}"
        for module in modules
        if module.parent.name != "runs" and (said := PROJECT.search(module.read_text()))
    ]


def test_the_wings_keep_their_rules():
    inside = {path.name for path in (ROOT / "src/faceverify").iterdir()}
    assert inside - {"__pycache__", "__init__.py", "py.typed"} == set(BELOW)
    assert faults(ROOT / "src") == []


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("base/files", "from faceverify.faces import alignment", "base/files.py imports faces"),
        ("faces/landmarks", "import faceverify.data.tables", "faces/landmarks.py imports data"),
        ("verify/capture", "from faceverify.model import losses", "verify/capture.py imports mode"),
        ("verify/capture", "import tensorflow as tf", "verify/capture.py brings tensorflow"),
        ("faces/alignment", "import dlib", "verify/capture.py brings dlib"),
        ("base/files", "def f():\n    import keras", "verify/verifier.py brings keras"),
        ("data/records", "from faceverify.evaluation import metrics", "data/records.py imports ev"),
        ("evaluation/metrics", "from faceverify.runs import lock", "evaluation/metrics.py imports"),
        ("model/store", "import train", "model/store.py imports the script train.py"),
        ("base/errors", "from faceverify.base import files", "circle: "),
        ("audit/rules", 'ADVICE = "run `dvc repro`"', "audit/rules.py says dvc"),
        ("faces/landmarks", "# as params.yaml says", "faces/landmarks.py says params.yaml"),
        ("__main__", "from faceverify.runs import script", "__main__.py imports runs/script.py"),
        ("data/__init__", "from faceverify.data import tables", "data/__init__.py holds more"),
    ],
)
def test_a_broken_rule_is_found(tmp_path, module, line, said):
    source = shutil.copytree(ROOT / "src", tmp_path / "src")
    path = source / "faceverify" / f"{module}.py"
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert [fault for fault in faults(source) if fault.startswith(said)]
