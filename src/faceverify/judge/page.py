"""A report as one HTML page that needs no network: plots and pictures lie inside it."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from faceverify.faces import dlib_descriptor
from faceverify.judge import plots
from faceverify.judge.figures import ALL, IMPOSTORS_PER_STEP, tar_name
from faceverify.judge.report import DLIB, VERIFIER
from faceverify.verify.verifier import SLOTS

# Photo and slot -> the face as JPEG.
Pictures = Mapping[tuple[str, str], bytes]

HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Judged: {title}</title>
<style>
body {{ font: 14px/1.45 sans-serif; margin: 2em auto; max-width: 1180px; color: #222; }}
table {{ border-collapse: collapse; margin: 0.5em 0 1em; }}
th, td {{ border: 1px solid #ccc; padding: 0.25em 0.7em; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
td small {{ color: #666; }}
svg {{ width: 560px; max-width: 100%; }}
figure {{ display: inline-block; margin: 0 1em 1em 0; vertical-align: top; width: 270px; }}
figure img, figure span {{ width: 130px; height: 159px; background: #ddd;
  display: inline-block; }}
figcaption {{ font-size: 12px; overflow-wrap: anywhere; }}
</style>
<h1>Judged: {title}</h1>
"""
NONE = "\u2013"
AXES = {VERIFIER: "theta, radians", DLIB: "distance of dlib's descriptors"}
WORST = {
    "false_accepts": "Worst false matches: different people, accepted",
    "false_refusals": "Worst false non-matches: one person, refused",
}


def render(title: str, condition: str, report: Mapping[str, Any], pictures: Pictures) -> str:
    """The page of a report of `report.make`; `condition` says how the photos were seen."""
    parts = [HEAD.format(title=escape(title)), _introduction(condition, report)]
    parts += ["<h2>Figures</h2>\n", _figures(report)]
    if "without_wrong_labels" in report:
        without = report["without_wrong_labels"]
        parts.append(f"<h2>Without the {without['left_out']:,} pairs whose labels are wrong</h2>\n")
        parts.append(_figures(without))
    parts += [_thresholds(report), _plots(report), _groups(report), _no_answer(report)]
    parts.append(_suspected(report, pictures))
    for kind, heading in WORST.items():
        pairs = report["worst"][kind]
        parts.append(f"<h2>{heading}</h2>\n{_gallery(pairs, pictures) if pairs else _none()}")
    return "".join(parts)


def _introduction(condition: str, report: Mapping[str, Any]) -> str:
    counts = report["pairs"]
    people = "" if counts["people"] is None else f" of {counts['people']:,} people"
    text = (
        f"{counts['genuine']:,} pairs of one person, {counts['impostor']:,} of different people, "
        f"{counts['photos']:,} photos{people}; {condition}. A pair is accepted below theta "
        f"{report['threshold']:g} (dlib: distance {dlib_descriptor.THRESHOLD:g}); one without an "
        f"answer counts as refused. Intervals are 95%, resampled by {counts['drawn']}."
    )
    if counts["identical_files"]:
        text += f" The photos of {counts['identical_files']:,} pairs are one and the same file."
    return f"<p>{escape(text)}</p>\n"


def _figures(report: Mapping[str, Any]) -> str:
    models = list(report["models"])
    heading = ["", *models]
    if "better" in report:
        heading += [f"{models[1]} less {models[0]}", "better"]
    rows = []
    names = {"fmr": "FMR at the threshold", "fnmr": "FNMR at the threshold"}
    figures = report["models"][models[0]]["figures"]
    names |= {name: name for name in figures if f"{name}_low" in figures}
    for name, text in names.items():
        values = [
            report["models"][model]["rates"][ALL] if name in ("fmr", "fnmr")
            else report["models"][model]["figures"]
            for model in models
        ]  # fmt: skip
        row = [_title(text), *(_share(value, name) for value in values)]
        if "better" in report:
            better = report["better"][name] or "undecided"
            known = report["differences"][name] is not None
            row += [_share(report["differences"], name), better if known else NONE]
        rows.append(row)
    share = _share(report["no_answer_share"], "no_answer")
    rows.append(["no answer", *[share] * len(models), *[""] * (len(heading) - 1 - len(models))])
    note = (
        f"{NONE}: not known; an FMR of one in n needs {IMPOSTORS_PER_STEP} n pairs of different "
        "people. An interval of a difference that holds 0 leaves open which model is better."
    )
    return f"{_table(heading, rows)}<p>{note}</p>\n"


def _title(name: str) -> str:
    """A figure's name as people write it."""
    prefix = tar_name("")
    if name.startswith(prefix):
        return f"TAR at FMR {name.removeprefix(prefix).replace('pct', '%')}"
    return name.upper() if name == "auc" else name


def _thresholds(report: Mapping[str, Any]) -> str:
    models = list(report["models"])
    first = report["models"][models[0]]["thresholds"]
    names = [name for name in first if f"{name}_low" in first]
    rows = [
        [f"FMR {name.replace('pct', '%')}"]
        + [_interval(report["models"][model]["thresholds"], name, "{:.4f}") for model in models]
        for name in names
    ]
    return "<h2>What a wanted FMR asks for</h2>\n" + _table(
        ["", *(AXES[model] for model in models)], rows
    )


def _plots(report: Mapping[str, Any]) -> str:
    drawn = []
    curves = {name: pd.DataFrame(rows) for name, rows in report["curves"].items() if rows}
    if curves:
        rates = {name: report["models"][name]["rates"][ALL] for name in curves}
        drawn.append(
            plots.det(curves, {name: (rate["fmr"], rate["fnmr"]) for name, rate in rates.items()})
        )
    for name, rows in report["histograms"].items():
        threshold = report["threshold"] if name == VERIFIER else dlib_descriptor.THRESHOLD
        drawn.append(plots.histogram(name, pd.DataFrame(rows), threshold, AXES[name]))
    return "<h2>Curves</h2>\n" + "".join(drawn)


def _groups(report: Mapping[str, Any]) -> str:
    models = list(report["models"])
    names = [name for name in report["models"][models[0]]["rates"] if name != ALL]
    if not names:
        return ""
    rates = ("fmr", "fnmr") if report["pairs"]["genuine"] else ("fmr",)
    heading = ["group", "genuine", "impostor"]
    heading += [f"{rate.upper()}, {model}" for model in models for rate in rates]
    rows = []
    for name in names:
        found = [report["models"][model]["rates"][name] for model in models]
        counts = [f"{found[0][kind]:,}" for kind in ("genuine", "impostor")]
        rows.append([name, *counts, *(_share(own, rate) for own in found for rate in rates)])
    return "<h2>By group</h2>\n" + _table(heading, rows)


def _no_answer(report: Mapping[str, Any]) -> str:
    found = report["no_answer"]
    rows = [
        [reason["reason"], reason["slot"], f"{reason['photos']:,}", f"{reason['pairs']:,}"]
        for reason in found["reasons"]
    ]
    text = (
        f"{found['genuine']:,} pairs of one person and {found['impostor']:,} of different people "
        "have no answer."
    )
    table = _table(["reason", "photo", "photos", "pairs"], rows) if rows else ""
    return f"<h2>No answer</h2>\n<p>{text}</p>\n{table}"


def _suspected(report: Mapping[str, Any], pictures: Pictures) -> str:
    if "suspected_labels" not in report:
        return ""
    pairs = report["suspected_labels"]
    text = (
        "The verifier and dlib both place these pairs far on the other side of their thresholds. "
        "Write those that are labelled wrongly into a CSV file, first,second, and name it with "
        "--wrong-labels: the figures are then given without them, too."
    )
    shown = [pair for pair in pairs if (SLOTS[0], pair["first"]) in pictures]
    more = len(pairs) - len(shown)
    rest = f"<p>{more:,} more are listed in report.json.</p>\n" if more else ""
    body = f"<p>{text}</p>\n{_gallery(shown, pictures)}{rest}" if pairs else _none()
    return f"<h2>Labels that are probably wrong ({len(pairs):,})</h2>\n{body}"


def _none() -> str:
    return "<p>None.</p>\n"


def _gallery(pairs: Sequence[Mapping[str, Any]], pictures: Pictures) -> str:
    return "".join(_pair(pair, pictures) for pair in pairs)


def _pair(pair: Mapping[str, Any], pictures: Pictures) -> str:
    images = "".join(_image(pictures.get((slot, pair[slot])), pair[slot]) for slot in SLOTS)
    said = "one person" if pair["same"] else "different people"
    said += f", theta {pair['theta']:.3f}"
    if DLIB in pair:
        said += f", dlib {pair[DLIB]:.3f}"
    names = f"{escape(pair['first'])}<br>{escape(pair['second'])}"
    return f"<figure>{images}<figcaption>{said}<br>{names}</figcaption></figure>\n"


def _image(jpeg: bytes | None, name: str) -> str:
    if jpeg is None:
        return "<span></span>"
    data = b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(name)}">'


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a cell is as `_cell` takes it."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}</table>\n"


def _cell(cell: str) -> str:
    """A cell: its text, and behind a line break what is shown small."""
    text, _, small = cell.partition("\n")
    return escape(text) + (f" <small>{escape(small)}</small>" if small else "")


def _share(figures: Mapping[str, float | None], name: str) -> str:
    return _interval(figures, name, "{:.2%}")


def _interval(figures: Mapping[str, float | None], name: str, form: str) -> str:
    """A figure, and small its interval; a dash where there is none."""
    if figures[name] is None:
        return NONE
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    if None in (low, high):
        return form.format(figures[name])
    return f"{form.format(figures[name])}\n[{form.format(low)}, {form.format(high)}]"
