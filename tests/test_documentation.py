"""README and docs: short, without dead ends, and with the figures that the last run has written."""

import hashlib
import pkgutil
import re
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from faceverify.base.errors import InputError
from faceverify.runs import figures, pages
from helpers import ROOT, error_line, run_script, spoil_json, write_parameters

README, DOCS = Path("README.md"), sorted(p.relative_to(ROOT) for p in ROOT.glob("docs/*.md"))
OTHERS = [Path(f"{folder}/README.md") for folder in ("benchmarks", "pretrain", "pretrained")]
PAGES = [README, *DOCS, *OTHERS]
CARD, GROUP = "docs/model_card.md", "Male on both"


def text(page: Path) -> str:
    return (ROOT / page).read_text()


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)


# What a reader needs


def test_the_readme_has_at_most_2000_words():
    assert len(text(README).split()) <= 2000


def test_the_readme_leads_to_every_page_of_docs():
    assert not [page for page in DOCS if f"]({page})" not in text(README)]


def test_no_sentence_and_no_row_is_told_twice():
    told = Counter()
    for page in [README, *DOCS]:
        own = re.sub(r"<!-- figures: .*?<!-- end of figures -->", "", text(page), flags=re.DOTALL)
        for paragraph in re.split(r"\n\s*\n|\n(?=[|-])", own):
            told.update(
                sentence
                for sentence in re.split(r"(?<=[.:;])\s+", " ".join(paragraph.split()))
                if len(sentence) > 60
            )
    assert not {sentence: n for sentence, n in told.items() if n > 1}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_links_to_files_and_headings_that_exist(page):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text(page))
    assert not [link for link in links if not (folder / link).exists()]
    named = re.findall(r'(?:\]\(([^)]+\.md)\)|(\b[\w/]+\.md)),\s+"([^"]+)"', text(page))
    for link, plain, heading in named:
        target = (folder / link) if link else (ROOT / plain)
        found = headings(target.resolve().relative_to(ROOT))
        assert heading in [re.sub(r"^\d+\. ", "", one) for one in found], (target, heading)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_files_of_code_that_exist(page):
    homes = ["", "src", "src/faceverify", "benchmarks", page.parent]
    named = set(re.findall(r"(?<![\w./])[\w/.]*\w+\.py\b", text(page)))
    assert not {name for name in named if not any((ROOT / h / name).is_file() for h in homes)}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_modules_and_functions_that_exist(page):
    named = set(re.findall(r"\bfaceverify(?:\.(?!js\b)\w+)+", text(page)))
    for module, names in re.findall(r"from (faceverify[\w.]*) import ([\w, ]+)", text(page)):
        named |= {f"{module}.{name.strip()}" for name in names.split(",")}
    for name in named:
        pkgutil.resolve_name(name)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_commands_of_make_that_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"```[a-z].*?\n(.*?)```|`([^`]+)`", text(page), re.DOTALL)
    command = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )?make (?:--\w+ )?([a-z-]+)", re.MULTILINE)
    named = {name for part in code for name in command.findall("".join(part))}
    assert not named - targets


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_names_parameters_that_exist(page):
    folder = "pretrain/" if page.parent.name == "pretrain" else ""
    values = yaml.safe_load((ROOT / f"{folder}params.yaml").read_text())
    groups = {name for name, value in values.items() if isinstance(value, dict)}
    spans = re.findall(r"`([a-z_]+)\.(?!json`)([a-z_]+)`", text(page))
    set_ = re.findall(r"-S '?\+?([a-z_]+)(?:\.([a-z_]+))?[\w.]*=", text(page))
    named = {(group, key) for group, key in spans if group in groups} | set(set_)
    for name, key in named:
        assert name in values, (name, key)
        # Whom a page adds as a member is nobody that is there.
        assert not key or name in ("members", "ensemble") or key in values[name], (name, key)


def test_each_run_that_is_taught_starts_from_the_commit_and_leaves_the_workspace():
    places = [*PAGES, *ROOT.glob("params*.yaml"), *ROOT.glob("src/**/*.py")]
    taught = [run for place in places for run in re.findall(r"dvc exp run (-[^`\n]*)", text(place))]
    assert len(taught) > 10
    assert not [run for run in taught if not re.match(r"--(temp|queue)\b", run)]


# Figures


@pytest.fixture(scope="session")
def committed(tmp_path_factory) -> Path:
    """A folder with the files that figures come from, as the last commit has them."""
    folder = tmp_path_factory.mktemp("committed")
    wanted = ("metrics", "benchmarks", "pretrain", "pretrained", "params.yaml")
    packed = subprocess.run(
        ["git", "archive", "HEAD", *wanted], cwd=ROOT, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)
    return folder


@pytest.mark.parametrize("page", figures.PAGES, ids=str)
def test_a_page_has_the_figures_of_its_files(page, committed, monkeypatch):
    """Those of the last commit, or those of a run here that `make card` has put into the pages."""
    shown = pages.shown(ROOT / page)
    assert shown.keys() == figures.PAGES[page].keys()
    for name in figures.PAGES[page].keys() - {"example"}:
        found = []
        for folder in (committed, ROOT):
            monkeypatch.chdir(folder)
            with suppress(InputError):  # a run here may have been stopped
                found.append(figures.PAGES[page][name]())
        assert shown[name] in found, f"{page}, {name}: run `make card`"


def test_the_readmes_example_is_what_the_verifier_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    if not figures.VERIFIER.is_file():
        pytest.skip(f"{figures.VERIFIER} is missing: no pipeline has run here")
    lock = subprocess.run(["git", "show", "HEAD:dvc.lock"], check=True, capture_output=True).stdout
    outs = yaml.safe_load(lock)["stages"]["export"]["outs"]
    (known,) = [out["md5"] for out in outs if out["path"] == str(figures.VERIFIER)]
    if hashlib.md5(figures.VERIFIER.read_bytes()).hexdigest() != known:
        pytest.skip(f"{figures.VERIFIER} is not the one of the last commit")
    assert pages.shown(README)["example"] == figures.example(), "run `make card`"


@pytest.mark.parametrize("page", figures.PAGES, ids=str)
def test_no_mark_makes_html_of_a_line_with_text(page):
    for line in text(page).splitlines():
        if line.lstrip().startswith("<!--"):
            assert re.fullmatch(r" *<!-- (figures: [^>]*|end of figures) -->", line)


# `make card`


@pytest.fixture
def card(tmp_path) -> Path:
    """A folder with the pages, and with the files that their figures come from."""
    write_parameters(tmp_path)
    for page in figures.PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    for name in ("metrics", "benchmarks", "pretrain"):
        kept = shutil.ignore_patterns("data", ".cache", "__pycache__", "*.h5")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=kept, dirs_exist_ok=True)
    return tmp_path


def written(folder: Path) -> dict[Path, bytes | None]:
    paths = [folder / page for page in figures.PAGES]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


@pytest.mark.parametrize("page", figures.PAGES, ids=str)
def test_make_card_puts_back_what_was_changed_by_hand_and_nothing_else(card, page):
    assert run_script("model_card.py", card).returncode == 0
    before = written(card)
    path = card / page
    changed = path.read_text()
    for name, shown in pages.shown(path).items():
        if name != "example":
            assert any(c.isdigit() for c in shown)
            changed = changed.replace(shown, "0")
    path.write_text(changed)
    result = run_script("model_card.py", card)
    assert result.stdout == (
        f"{page}: figures brought up to date\n"
        "README.md: its example was not run again: models/verifier.json is missing\n"
    )
    assert written(card) == before


def test_make_card_runs_the_example_anew(card):
    verify = card / "src/verify.py"
    verify.parent.mkdir()
    verify.write_text("import sys\nprint('so', *sys.argv[1:])\nsys.exit(1)\n")
    (card / "models").mkdir()
    (card / figures.VERIFIER).write_text("{}")
    assert run_script("model_card.py", card).returncode == 0
    first, second = figures.EXAMPLE.split()[2:]
    assert pages.shown(card / README)["example"] == (
        f"{figures.FENCE}\n$ {figures.EXAMPLE}\nso {first} {second}\n```"
    )
    verify.write_text("import sys\nprint('no face was found', file=sys.stderr)\nsys.exit(2)\n")
    before = written(card)
    result = run_script("model_card.py", card)
    assert error_line(result).endswith("the example cannot be run: no face was found")
    assert written(card) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "metrics/details.json").unlink(), "metrics/details.json is missing"),
        (
            lambda f: (f / "metrics/details.json").write_text("[]"),
            "metrics/details.json is damaged",
        ),
        (
            lambda f: (f / "metrics/details.json").write_text("{}"),
            "metrics/details.json is damaged: ensemble: missing key",
        ),
        (lambda f: (f / "metrics/export.json").write_text("{}"), "metrics/export.json is damaged"),
        (
            lambda f: spoil_json(f / "metrics/export.json", ["max_delta_theta"], {"ja": 0.1}),
            "metrics/export.json lacks what is shown of the models",
        ),
        (
            lambda f: spoil_json(f / "metrics/details.json", ["ensemble", "groups", GROUP, "fmr"]),
            f"metrics/details.json is damaged: ensemble.groups.{GROUP}.fmr: Input should be",
        ),
        (
            lambda f: spoil_json(f / "metrics/export.json", ["max_delta_theta", "ensemble"]),
            "metrics/export.json is damaged: max_delta_theta.ensemble: Input should be",
        ),
        (
            lambda f: (f / "metrics/summary.md").write_bytes(b"\xff\xfe"),
            "metrics/summary.md is not a text file",
        ),
        (lambda f: (f / "metrics/summary.md").unlink(), "metrics/summary.md is missing"),
        (
            lambda f: spoil_json(f / "benchmarks/results.json", ["figures"], {}),
            "benchmarks/results.json lacks what is shown of 'evaluating 100,000 pairs'; run `make",
        ),
        (
            lambda f: (f / "benchmarks/verify.json").unlink(),
            "benchmarks/verify.json is missing; bring it from git",
        ),
        (
            lambda f: shutil.rmtree(f / "pretrain/tower_metrics"),
            "pretrain/tower_metrics is missing or empty",
        ),
        (lambda f: (f / CARD).unlink(), f"{CARD} is missing"),
        (lambda f: (f / CARD).write_text("# Card\n"), f"{CARD} must have"),
        (
            lambda f: (f / CARD).write_text((f / CARD).read_text() * 2),
            f"{CARD} must have `<!-- figures: card -->`, each once",
        ),
        (
            lambda f: (f / CARD).write_text((f / CARD).read_text() + "<!-- figures: card -->"),
            f"{CARD} must have",
        ),
    ],
    ids=[
        "no details",
        "a list",
        "no ensemble",
        "no export",
        "no ensemble in the export",
        "a rate",
        "a difference",
        "no text",
        "no table",
        "no benchmark",
        "another benchmark",
        "no towers",
        "no card",
        "no marks",
        "marks twice",
        "a mark without end",
    ],
)
def test_pages_stay_as_they_were_where_a_figure_cannot_be_had(card, spoil, message):
    (card / README).write_text((card / README).read_text().replace("0.946", "0.111"))
    spoil(card)
    before = written(card)
    assert error_line(run_script("model_card.py", card)).startswith(
        f"model_card.py: error: {message}"
    )
    assert written(card) == before
