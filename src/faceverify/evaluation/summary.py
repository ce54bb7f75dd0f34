"""The figures that people compare, six for each condition, and the tables that show them."""

from collections.abc import Iterable, Mapping

from pydantic import Field

from faceverify.base.schema import Finite, Part

# How reports name the ensemble and dlib's descriptor, beside the members.
ENSEMBLE, BASELINE = "ensemble", "dlib"
# And the condition in which the first photo of each pair of val is on a card.
CARD = "card"
# Name of a figure -> whether more of it is better. Each comes with _low and _high.
MORE_IS_BETTER = {
    "accuracy": True,
    "accuracy_fitted": True,
    "auc": True,
    "eer": False,
    "fmr": False,
    "fnmr": False,
    "no_answer": False,
    "tar_at_fmr_1pct": True,
    "tar_at_fmr_0.1pct": True,
}
# Of photo against photo, and of card against photo.
FIGURES = ("accuracy", "accuracy_fitted", "auc", "eer", "fmr", "fnmr")
CARD_FIGURES = ("no_answer", "fmr", "fnmr", "auc", "tar_at_fmr_1pct", "tar_at_fmr_0.1pct")
ENDS = ("", "_low", "_high")  # a figure, and the ends of its 95% interval

# A figure, or nothing where it is undefined.
Figures = Mapping[str, float | None]
# The same by model or by group, for `schema.check`.
FIGURES_BY_NAME = dict[str, dict[str, Finite | None]]


class OnCards(Part):
    """A model's figures in `cards.json`."""

    card: dict[str, Finite | None]


# What `cards.json` holds, for `schema.check`.
CARD_FIGURES_BY_NAME = dict[str, OnCards]


class Contrast(Part):
    """What `fairness.report` says of one attribute."""

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


class ModelReport(Part):
    """What is shown of a model's report in `details.json`; only the ensemble's has `fairness`."""

    train: dict[str, Finite | None] = Field(default_factory=dict)
    val: dict[str, Finite | None] = Field(default_factory=dict)
    groups: FIGURES_BY_NAME = Field(default_factory=dict)
    fairness: Fairness | None = None


class EnsembleDetails(Part):
    """What is shown of `details.json` beside the six figures: the ensemble's report."""

    ensemble: ModelReport | None = None


def chosen(figures: Figures, names: Iterable[str]) -> dict[str, float | None]:
    """Some of a model's figures, with the ends of their intervals."""
    return {f"{name}{end}": figures[f"{name}{end}"] for name in names for end in ENDS}


def interval(figures: Figures, name: str, sign: str = "") -> str:
    """A figure with its 95% interval, "0.912 [0.900, 0.923]", or "-" where either is undefined.

    With `sign` "+" all three numbers have their sign.
    """
    numbers = [figures[f"{name}{end}"] for end in ENDS]
    if None in numbers:
        return "-"
    value, low, high = (f"{number:{sign}.3f}" for number in numbers)
    return f"{value} [{low}, {high}]"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def models_table(reports: Mapping[str, Mapping]) -> str:
    """A Markdown table of each model's six figures on val, and in what it loses to the baseline."""
    rows = [
        [
            name,
            *(interval(report["val"], figure) for figure in FIGURES),
            ", ".join(report.get("loses_to_baseline_in", [])) or "-",
        ]
        for name, report in reports.items()
    ]
    return markdown(["model", *FIGURES, f"loses to {BASELINE} in"], rows)


def cards_said(cards: int, reasons: Mapping[str, int]) -> str:
    """What the condition "card" is, and how many of its cards have no answer, by reason."""
    said = ", ".join(f"{code} {count}" for code, count in reasons.items())
    return (
        "With the first photo of each pair on a simulated identity card that a phone has "
        f"photographed; no answer counts as a refusal. Of {cards} cards "
        f"{sum(reasons.values())} have none{f' ({said})' if said else ''}:"
    )


def cards_table(reports: Mapping[str, Mapping]) -> str:
    """A Markdown table of each model's CARD_FIGURES."""
    rows = [
        [name, *(interval(report[CARD], figure) for figure in CARD_FIGURES)]
        for name, report in reports.items()
    ]
    return markdown(["model", *CARD_FIGURES], rows)


def threshold_said(report: Mapping) -> str:
    """What a model's report says of the accepting threshold on the people at hand, in one line."""
    photo, card = report["val"], report[CARD]
    return (
        f"At theta < {report['accept_threshold']:g} the ensemble accepts "
        f"{interval(photo, 'fmr')} of these different people and refuses "
        f"{interval(photo, 'fnmr')} of the same; with a card {interval(card, 'fmr')} and "
        f"{interval(card, 'fnmr')}."
    )


def weightings_table(report: Mapping[str, Mapping]) -> str:
    """A Markdown table of `report.weightings`.

    Weights by member, the six figures on val, and AUC less that with the shipped weights.
    """
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
