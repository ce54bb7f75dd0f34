"""What a pull request changes, as one Markdown report: parameters, metrics, data, plots."""

import argparse
import json
import re
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import yaml

from faceverify.base import files
from faceverify.evaluation import fairness, summary
from faceverify.runs import comparison, dvc_yaml, script
from faceverify.runs.revisions import check, parsed, run, succeeds

HEAD = "HEAD"
METRICS, CARDS, DETAILS = "metrics/summary.json", "metrics/cards.json", "metrics/details.json"
PAGE = Path(".cache/review")  # git ignores it


def main() -> None:
    """Print the report of HEAD against where it left the base branch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="main", help="the branch to merge into (main)")
    base = common_commit(parser.parse_args().base)
    parts = [f"# Review: {short(HEAD)} against {base}"]
    clean = not run("git", "status", "--porcelain", "--untracked-files=no")
    if not clean:
        parts.append("Changes that are not committed are no part of this report.")
    if run("git", "diff", "--name-only", base, HEAD):
        sections = {
            "Metrics": metrics_section(base),
            "Metrics on cards": cards_section(base),
            "Groups": fairness_section(base),
            "Parameters": parameters_section(base),
            "Data and models": data_section(base),
            "Plots": plots_section(base),
            "Up to date": lock_section() if clean else "Commit all changes to have this checked.",
        }
        parts.append(conclusion(base, sections["Up to date"]))
        parts += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    else:
        parts.append("Nothing differs.")
    print("\n\n".join(parts))


def common_commit(base: str) -> str:
    """The commit where HEAD left `base`: `base` itself where its name still means that one."""
    check(base)
    if not succeeds("git", "merge-base", base, HEAD):
        if run("git", "rev-parse", "--is-shallow-repository") == "true":
            raise errors.InputError(
                f"this clone is shallow and lacks the commit that {HEAD} and {base} have in "
                "common; run `git fetch --unshallow`"
            )
        raise errors.InputError(f"{HEAD} and {base} have no commit in common")
    common = run("git", "merge-base", base, HEAD)
    named = common == run("git", "rev-parse", f"{base}^{{commit}}") and not common.startswith(base)
    return base if named else short(common)


def conclusion(base: str, made: str) -> str:
    """What a reviewer decides by: better, worse or within noise, in one sentence.

    `made` is what `lock_section` says: figures of something else than what is committed are no
    ground for a decision, which then stands beside the sentence.
    """
    changed = {
        "": comparison.moves(*figures(base), summary.FIGURES),
        " on cards": comparison.moves(*figures_on_cards(base), summary.CARD_FIGURES),
    }
    said = f"**{comparison.conclusion(changed)}**"
    return f"{said}\n\n{made}" if made.startswith("**") else said


def parameters_section(base: str) -> str:
    """The parameters that differ, and which of them changed in the same way."""
    difference = run("dvc", "params", "diff", "--json", base, HEAD)
    return comparison.parameters_section(json.loads(difference))


def metrics_section(base: str) -> str:
    """The figures that differ, each with what a reviewer should think of it."""
    old, new = figures(base)
    if old == new:
        return f"No figure differs in `{METRICS}`."
    return comparison.figures_table(old, new, summary.FIGURES)


def figures(base: str) -> list[dict[str, summary.Figures]]:
    """Each model's figures at the base and at HEAD."""
    return [parsed(rev, METRICS, json.loads, summary.FIGURES_BY_NAME) for rev in (base, HEAD)]


def cards_section(base: str) -> str:
    """The figures with the first photo on a card that differ; nothing where there are none."""
    old, new = figures_on_cards(base)
    if old == new:
        return f"No figure differs in `{CARDS}`." if new else ""
    return comparison.figures_table(old, new, summary.CARD_FIGURES)


def figures_on_cards(base: str) -> list[dict[str, summary.Figures]]:
    """Each model's figures on cards at the base and at HEAD."""
    found = [parsed(rev, CARDS, json.loads, summary.CARD_FIGURES_BY_NAME) for rev in (base, HEAD)]
    return [{model: on[summary.CARD] for model, on in side.items()} for side in found]


def fairness_section(base: str) -> str:
    """Which group of people is accepted falsely more often than another, and what it was before."""
    before, now = (said_of_groups(rev) for rev in (base, HEAD))
    if before == now:
        return now
    return f"{now or 'Not compared.'}\n\nBefore: {before or 'not compared.'}"


def said_of_groups(rev: str) -> str:
    """What `evaluate` said of the groups at a revision; nothing where it did not compare any."""
    details = parsed(rev, DETAILS, json.loads, summary.EnsembleDetails)
    try:
        ensemble = details.get("ensemble", {})
        if "fairness" not in ensemble:
            return ""
        return fairness.sentences(ensemble["fairness"], ensemble["groups"])
    except (KeyError, TypeError):
        raise errors.MadeFileError(f"{DETAILS} of {rev} is damaged") from None


def data_section(base: str) -> str:
    """The outputs that DVC keeps and that differ, and what differs inside the folders."""
    old, new = (outs(rev) for rev in (base, HEAD))
    changed = comparison.changed(old, new)
    if not changed:
        return "No data and no model differs."
    folders = [path for path in changed if path.endswith("/") and path in old and path in new]
    text = "\n\n".join([comparison.data_table(old, new), *inside(base, folders, (old, new))])
    return comparison.folded(f"What DVC keeps and differs: {len(changed)}", text)


def inside(base: str, folders: list[str], sides: tuple[dict, dict]) -> list[str]:
    """What `dvc diff` says of folders, for those whose two listings are in the cache."""
    cache = Path(run("dvc", "cache", "dir")) / "files" / "md5"
    hashes = {folder: [side[folder].md5 for side in sides] for folder in folders}
    # Without them DVC would ask the remote, and wait for one that does not answer.
    known = [f for f in folders if all((cache / h[:2] / h[2:]).is_file() for h in hashes[f])]
    parts = []
    if known:
        found = json.loads(run("dvc", "diff", "--json", base, HEAD, "--targets", *known))
        parts.append(comparison.contents_table(found, known))
    if missing := [f"`{folder}`" for folder in folders if folder not in known]:
        parts.append(
            f"This clone's cache lacks {', '.join(missing)} of one side or both, so what differs "
            "inside is not shown; `dvc fetch --all-commits` brings it."
        )
    return parts


def plots_section(base: str) -> str:
    """The page with the plots of both sides, and which of them differ."""
    with files.replacing_folder(PAGE) as temporary:
        run("dvc", "plots", "diff", base, HEAD, "--out", str(temporary))
    changed = set(run("git", "diff", "--name-only", base, HEAD).splitlines())
    drawn = comparison.plot_files(parsed(HEAD, "dvc.yaml", yaml.safe_load).get("plots", ()))
    differing = [title for title, paths in drawn.items() if changed & paths]
    shown = "".join(f"\n- {title}" for title in differing) or " none."
    return f"Both sides are drawn in `{PAGE}/index.html`. Plots that differ:{shown}"


def lock_section() -> str:
    """Whether the committed results were made with the committed code, parameters and data."""
    planned = run("dvc", "repro", "--dry", "--allow-missing")
    stale = re.findall(r"^Running stage '([^']+)'", planned, re.MULTILINE)
    if not stale:
        return "`dvc.lock` belongs to this code, these parameters and this data."
    return (
        "**The results were not made with what is committed.** Run `dvc repro` and commit "
        f"`dvc.lock`, `metrics/` and `plots/`; what is out of date: {', '.join(stale)}."
    )


def outs(rev: str) -> dict[str, comparison.Out]:
    """What DVC keeps outside of git at a revision."""
    lock, data = (
        parsed(rev, name, dvc_yaml.parse, kind)
        for name, kind in (("dvc.lock", comparison.Lock), ("data.dvc", comparison.Stage))
    )
    in_git = set(run("git", "ls-tree", "-r", "-t", "--name-only", rev).splitlines())
    members = parsed(rev, "params.yaml", dvc_yaml.parse).get("members") or {}
    found = comparison.outs(comparison.without_former(lock, members), data)
    return {path: out for path, out in found.items() if path.rstrip("/") not in in_git}


def short(rev: str) -> str:
    """A commit's short name."""
    return run("git", "rev-parse", "--short", rev)


if __name__ == "__main__":
    script.run(main)
