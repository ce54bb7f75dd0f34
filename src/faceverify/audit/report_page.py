"""An HTML page that shows the findings of an audit with their photos."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from faceverify.audit.rules import KINDS, Finding
from faceverify.data.annotations import IdentityRow

BESIDE = 3  # photos of the same identity shown beside each photo
HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Audit of the data</title>
<style>
body { font: 14px/1.4 sans-serif; margin: 2em; }
article { display: flex; gap: 1.5em; margin: 0 0 1.5em; }
figure { margin: 0; }
img { width: 89px; height: 109px; background: #ddd; }
img.wrong { outline: 3px solid #c00; }
</style>
<h1>Audit of the data</h1>
<p>Outlined in red: the photo of the row to fix. Beside it: others of the same identity, then the
photo or identity that it was compared with.</p>
"""


def render(findings: Sequence[Finding], rows: Sequence[IdentityRow], folder: str) -> str:
    """The page as HTML; `folder` is the address of the photos' folder relative to the page."""
    named = {finding.row for finding in findings}
    sound: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        if i not in named:
            sound.setdefault(row.identity, []).append(i)
    parts = [HEAD]
    for kind, meaning in KINDS.items():
        own = [finding for finding in findings if finding.kind == kind]
        if own:
            parts.append(f"<h2>{kind}: {meaning} ({len(own):,})</h2>\n")
            parts += (_article(finding, rows, sound, folder) for finding in own)
    return "".join(parts)


def _article(
    finding: Finding, rows: Sequence[IdentityRow], sound: dict[int, list[int]], folder: str
) -> str:
    row = rows[finding.row]
    said = f"line {row.line}: {row.photo} of {row.identity}"
    if finding.distance is not None:
        said += f", distance {finding.distance:.3f}"
    groups = [[finding.row, *sound.get(row.identity, [])[:BESIDE]]]
    if finding.other is not None:
        other = rows[finding.other].identity
        beside = [i for i in sound.get(other, []) if i != finding.other][:BESIDE]
        groups.append([finding.other, *beside])
    figures = "".join(_figure(group, rows, finding.row, folder) for group in groups)
    return f"<p>{escape(f'{said}; {finding.remedy}')}</p>\n<article>\n{figures}</article>\n"


def _figure(group: list[int], rows: Sequence[IdentityRow], wrong: int, folder: str) -> str:
    """Photos of one identity, with the identity's number below."""
    images = "".join(_image(rows[i].photo, i == wrong, folder) for i in group)
    caption = f"<figcaption>{rows[group[0]].identity}</figcaption>"
    return f"<figure>{images}{caption}</figure>\n"


def _image(name: str, wrong: bool, folder: str) -> str:
    mark = ' class="wrong"' if wrong else ""
    shown, address = escape(name), escape(f"{folder}/{quote(name)}")
    return f'<img{mark} loading="lazy" src="{address}" alt="{shown}" title="{shown}">'
