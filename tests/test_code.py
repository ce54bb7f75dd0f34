"""The shape of the code: functions that fit on a screen and take few parameters."""

import ast
from pathlib import Path

import pytest

from helpers import ROOT

MOST_LINES, MOST_PARAMETERS = 45, 6
FILES = [
    *sorted((ROOT / "src").rglob("*.py")),
    *sorted((ROOT / "pretrain").glob("*.py")),
    *sorted((ROOT / "benchmarks").glob("*.py")),
    *sorted((ROOT / "web/tests").glob("*.py")),
]


def faults(path: Path) -> list[str]:
    """Every function of a file, inner ones and methods too, that is too long or takes too much."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        takes = node.args
        names = [a.arg for a in (*takes.posonlyargs, *takes.args, *takes.kwonlyargs)]
        names += [a.arg for a in (takes.vararg, takes.kwarg) if a]
        parameters = len(names) - (names[:1] in (["self"], ["cls"]))
        lines = node.end_lineno - node.lineno + 1
        where = f"{path.name}, line {node.lineno}: {node.name}"
        if lines > MOST_LINES:
            found.append(f"{where} has {lines} lines")
        if parameters > MOST_PARAMETERS:
            found.append(f"{where} has {parameters} parameters")
    return found


def test_functions_are_short_and_take_few_parameters():
    assert {path.parent.name for path in FILES} > {"src", "base", "verify", "pretrain"}
    assert [fault for path in FILES for fault in faults(path)] == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def f():\n" + "    x = 1\n" * 45, "f has 46 lines"),
        ("def f():\n    def g():\n" + "        x = 1\n" * 45, "g has 46 lines"),
        ("class C:\n    async def f(self):\n" + "        x = 1\n" * 45, "f has 46 lines"),
        ("def f(a, b, /, c, *d, e, f=1, **g): ...\n", "f has 7 parameters"),
        ("class C:\n    def f(self, a, b, c, d, e, f, g): ...\n", "f has 7 parameters"),
    ],
)
def test_a_function_beyond_the_limits_is_named(tmp_path, code, fault):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert any(found.endswith(f": {fault}") for found in faults(path)), faults(path)


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n" + "    x = 1\n" * 44,
        "def f(a, b, c, d, *, e, f): ...\n",
        "class C:\n    def f(self, a, b, c, d, e, f): ...\n",
    ],
)
def test_a_function_at_the_limits_is_not(tmp_path, code):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert faults(path) == []
