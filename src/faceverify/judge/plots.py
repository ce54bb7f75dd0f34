"""Plots as SVG: a DET curve and score histograms."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import NormalDist

import pandas as pd

WIDTH, HEIGHT = 560, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 48  # margins
COLOURS = ("#1f6fb4", "#d9730d")
GREY, BLACK = "#ccc", "#222"
# Rates at the ticks of a DET curve.
TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)


class _Frame:
    """An SVG picture with two axes; x and y run over the given ranges."""

    def __init__(self, title: str, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y
        self.parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        ]
        self.text(WIDTH / 2, 18, title, size=14)

    def across(self, value: float) -> float:
        low, high = self.x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(self, value: float) -> float:
        low, high = self.y
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(self, x: float, y: float, text: str, anchor: str = "middle", size: int = 11) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{BLACK}">{escape(text)}</text>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        """A line through points of the axes."""
        places = " ".join(f"{self.across(x):.1f},{self.down(y):.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )

    def area(self, x: tuple[float, float], height: float, colour: str) -> None:
        """A bar from the lower axis."""
        left, right, top = self.across(x[0]), self.across(x[1]), self.down(height)
        self.parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{colour}" fill-opacity="0.5"/>'
        )

    def axes(self, ticks: Mapping[str, Mapping[float, str]], names: tuple[str, str]) -> None:
        """Grid lines at the ticks, by axis "x" or "y", with their texts, and the axes' names."""
        for value, text in ticks["x"].items():
            self.line([(value, self.y[0]), (value, self.y[1])], GREY)
            self.text(self.across(value), HEIGHT - BOTTOM + 15, text)
        for value, text in ticks["y"].items():
            self.line([(self.x[0], value), (self.x[1], value)], GREY)
            self.text(LEFT - 6, self.down(value) + 4, text, anchor="end")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, names[0])
        self.text(LEFT - 6, TOP - 6, names[1], anchor="end")

    def legend(self, names: Sequence[str]) -> None:
        for i, name in enumerate(names):
            y = TOP + 16 + 16 * i
            self.parts.append(
                f'<rect x="{WIDTH - RIGHT - 130}" y="{y - 9}" width="10" height="10" '
                f'fill="{COLOURS[i]}"/>'
            )
            self.text(WIDTH - RIGHT - 114, y, name, anchor="start")

    def drawn(self) -> str:
        return "\n".join([*self.parts, "</svg>\n"])


def det(curves: Mapping[str, pd.DataFrame], at_threshold: Mapping[str, tuple[float, float]]) -> str:
    """DET curves, FMR and FNMR on normal-deviate axes (A. Martin et al., Eurospeech 1997).

    `curves`: name -> table with `fmr` and `fnmr`; `at_threshold`: name -> both at the model's own
    threshold, a dot on the curve.
    """
    deviate = NormalDist().inv_cdf
    rates = [rate for curve in curves.values() for rate in (*curve["fmr"], *curve["fnmr"])]
    least = min([r for r in rates if 0 < r < 1], default=TICKS[0])
    low, high = deviate(max(least, 1e-6)), deviate(0.99)
    frame = _Frame("DET curve", (low, high), (low, high))
    ticks = {deviate(rate): f"{100 * rate:g}%" for rate in TICKS if low <= deviate(rate) <= high}
    frame.axes({"x": ticks, "y": ticks}, ("false match rate", "FNMR"))

    def place(fmr: float, fnmr: float) -> tuple[float, float]:
        return tuple(min(max(deviate(min(max(r, 1e-6), 1 - 1e-6)), low), high) for r in (fmr, fnmr))

    for i, (name, curve) in enumerate(curves.items()):
        points = [place(*row) for row in zip(curve["fmr"], curve["fnmr"], strict=True)]
        frame.line(points, COLOURS[i], 2)
        x, y = place(*at_threshold[name])
        frame.parts.append(
            f'<circle cx="{frame.across(x):.1f}" cy="{frame.down(y):.1f}" r="5" '
            f'fill="{COLOURS[i]}"/>'
        )
    frame.legend(list(curves))
    return frame.drawn()


def histogram(name: str, table: pd.DataFrame, threshold: float, axis: str) -> str:
    """The histogram of `plot_data.histogram`, its threshold as a line; empty kinds have none."""
    kinds = [
        kind for kind in ("genuine", "impostor") if table["share"][table["kind"] == kind].any()
    ]
    end, most = float(table["end"].max()), float(table["share"].max()) or 1.0
    frame = _Frame(f"Scores of {name}", (0, end), (0, most))
    step = 10 ** math.floor(math.log10(end)) / (1 if end >= 3 else 5)
    across = {k * step: f"{k * step:g}" for k in range(int(end / step) + 1)}
    down = {share * most: f"{100 * share * most:.1f}%" for share in (0.25, 0.5, 0.75, 1)}
    frame.axes({"x": across, "y": down}, (axis, "share"))
    for colour, kind in zip(COLOURS, kinds, strict=False):
        for row in table[(table["kind"] == kind) & (table["share"] > 0)].itertuples():
            frame.area((row.start, row.end), row.share, colour)
    frame.line([(threshold, 0), (threshold, most)], BLACK, 2)
    frame.text(frame.across(threshold), TOP - 2, f"threshold {threshold:g}")
    frame.legend(kinds)
    return frame.drawn()
