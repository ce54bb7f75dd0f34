"""The six figures that people compare, and how a table shows them."""

from collections.abc import Mapping

# Name -> whether more of it is better. Each comes with _low and _high.
MORE_IS_BETTER = {
    "accuracy": True,
    "accuracy_fitted": True,
    "auc": True,
    "eer": False,
    "fmr": False,
    "fnmr": False,
}
FIGURES = tuple(MORE_IS_BETTER)
ENDS = ("", "_low", "_high")

# A figure, or nothing where it is undefined.
Figures = Mapping[str, float | None]


def of(figures: Figures) -> dict[str, float | None]:
    """The six of a model's figures, with their ends."""
    return {f"{name}{end}": figures[f"{name}{end}"] for name in FIGURES for end in ENDS}


def interval(figures: Figures, name: str, sign: str = "") -> str:
    """A figure with its 95% interval, all with their sign if `sign` is "+"; a dash for none."""
    numbers = [figures[f"{name}{end}"] for end in ENDS]
    if None in numbers:
        return "-"
    value, low, high = (f"{number:{sign}.3f}" for number in numbers)
    return f"{value} [{low}, {high}]"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
