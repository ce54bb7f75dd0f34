"""Write what the imports say into the pipeline: each stage's code, and the packages it runs."""

import argparse
import io
import os
import re
import sys
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from ruamel.yaml import YAML

from faceverify.base import files
from faceverify.base.packages import RESULTS
from faceverify.runs import imports, script

PIPELINES = (Path("dvc.yaml"), Path("pretrain/dvc.yaml"))
PINNED, VERSIONS = Path("requirements.txt"), Path("packages.yaml")
MOST_BYTES = 2**22
HEADER = (
    "# The packages whose version can change a result, as requirements.txt pins them: a stage runs "
    "again\n# when one that it uses is upgraded. Written by `make deps`.\n"
)


def main() -> None:
    """Bring dvc.yaml, pretrain/dvc.yaml and packages.yaml up to date, or see whether they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if stale")
    check = parser.parse_args().check
    texts = {VERSIONS: versions(read(PINNED))}
    texts |= {pipeline: with_imports(pipeline, read(pipeline)) for pipeline in PIPELINES}
    stale = [path for path, text in texts.items() if not path.is_file() or read(path) != text]
    for path in () if check else stale:
        with files.replacing(path) as temporary:
            temporary.write_text(texts[path], encoding="utf-8")
    names = ", ".join(map(str, stale))
    if check and stale:
        print(f"out of date: {names}; `make deps` writes them", file=sys.stderr)
        sys.exit(1)
    print(f"written: {names}" if stale else "up to date")


def read(path: Path) -> str:
    """The text of a file of the repository."""
    try:
        return files.content(path, MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise errors.InputError(f"{path} is missing; run this from the root") from None
    except UnicodeDecodeError as error:
        raise errors.InputError(f"{path} is not UTF-8: {error}") from None


def versions(requirements: str) -> str:
    """`packages.yaml`: the pinned version of each package that can change a result."""
    pinned = dict(re.findall(r"^([a-z0-9_.-]+)==([^\s;\\]+)", requirements, re.MULTILINE))
    missing = sorted(set(RESULTS.values()) - set(pinned))
    if missing:
        raise errors.InputError(f"{PINNED} does not pin {', '.join(missing)}")
    lines = (f'{package}: "{pinned[package]}"\n' for package in sorted(RESULTS.values()))
    return HEADER + "".join(lines)


def with_imports(pipeline: Path, text: str) -> str:
    """A dvc.yaml whose stages depend on the code and the packages that their scripts import."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 2**16
    yaml.indent(mapping=2, sequence=4, offset=2)
    definition = yaml.load(text)
    for name, stage in definition["stages"].items():
        stage = stage.get("do", stage)
        command = re.search(r"\bpython (\S+\.py)\b", str(stage["cmd"]))
        if not command:
            raise errors.InputError(f"{pipeline}: the stage {name} runs no Python script")
        code = imports.code_of((pipeline.parent / command[1]).absolute())
        others = [dep for dep in stage["deps"] if not str(dep).endswith(".py")]
        stage["deps"] = sorted([*others, *(_from(pipeline, file) for file in code)])
        packages = sorted(RESULTS[m] for m in imports.modules_of(code) & set(RESULTS))
        table = _from(pipeline, VERSIONS.absolute())
        own = [p for p in stage.get("params", ()) if not (isinstance(p, dict) and table in p)]
        stage["params"] = [*own, {table: packages}] if packages else own
    written = io.StringIO()
    yaml.dump(definition, written)
    return written.getvalue()


def _from(pipeline: Path, file: Path) -> str:
    return Path(os.path.relpath(file, pipeline.parent.absolute())).as_posix()


if __name__ == "__main__":
    script.run(main)
