"""The six figures that people compare, and the tables that show them."""

from collections.abc import Mapping

from pydantic import Field

from faceverify.base.schema import Finite, Part

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
# The same by model or by group, for `schema.check`.
FIGURES_BY_NAME = dict[str, dict[str, Finite | None]]


class Contrast(Part):
    """What `fairness.report` says of an attribute, as far as it is shown."""

    higher: str
    lower: str
    fmr_ratio: Finite | None
    fmr_ratio_low: Finite | None
    fmr_ratio_high: Finite | None
    verdict: str


class Fairness(Part):
    """What `fairness.report` gives."""

    factor: Finite
    attributes: dict[str, Contrast]


class Report(Part):
    """What `evaluate` says of a model, as far as people are shown it; some have no groups."""

    train: dict[str, Finite | None] = Field(default_factory=dict)
    val: dict[str, Finite | None] = Field(default_factory=dict)
    groups: FIGURES_BY_NAME = Field(default_factory=dict)
    fairness: Fairness | None = None


class EnsembleDetails(Part):
    """What is shown of `details.json`."""

    ensemble: Report | None = None


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


def models_table(details: Mapping[str, Mapping], baseline: str) -> str:
    """The six figures of each model on the val people, and in what it loses to the baseline."""
    rows = [
        [
            name,
            *(interval(report["val"], figure) for figure in FIGURES),
            ", ".join(report.get("loses_to_baseline_in", [])) or "-",
        ]
        for name, report in details.items()
    ]
    return markdown(["model", *FIGURES, f"loses to {baseline} in"], rows)


def weightings_table(report: Mapping[str, Mapping]) -> str:
    """The weights of each weighting, its six figures, and its AUC less that of the shipped one."""
    members = list(report["shipped"]["weights"])
    rows = [
        [
            name,
            *(f"{figures['weights'][member]:.3g}" for member in members),
            *(interval(figures, figure) for figure in FIGURES),
            interval(figures, "auc_difference", "+"),
        ]
        for name, figures in report.items()
    ]
    return markdown(["weights", *members, *FIGURES, "auc - shipped"], rows)
