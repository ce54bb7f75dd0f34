"""Fairness: whether the FMR of one group of people is too many times that of another.

For each attribute, impostor pairs with it on both photos are compared with those with it on none:
two people who are alike in it, as an impostor would choose. Pairs that differ in it are easier for
every model, and no group of people.
"""

from collections.abc import Mapping

from faceverify.evaluation.summary import ENDS, interval

EXCEEDS, WITHIN, UNKNOWN = "exceeds", "within", "too few to tell"

_Numbers = Mapping[str, float | int | None]


def compared_groups(attribute: str) -> tuple[str, str]:
    """Names of the two groups compared, out of the three of `verification.attribute_groups`."""
    return f"{attribute} on both", f"{attribute} on none"


def report(
    groups: Mapping[str, _Numbers], shares: Mapping[str, _Numbers], factor: float
) -> dict[str, float | dict]:
    """Whether one group's FMR is more than `factor` times the other's, for each attribute.

    `groups` is what `metrics.group_error_rates` gives, `shares` maps each attribute to what
    `metrics.fmr_shares` gives for its `compared_groups`. The report has `factor`, and in
    `attributes` for each of them: `higher` and `lower`, the groups with the higher and the lower
    FMR; `fmr_ratio`, the higher over the lower one, with `_low` and `_high` (all None: no false
    accept in either group; `_high` None: no upper end); `verdict`, EXCEEDS if the whole interval
    lies above the factor, WITHIN if below it, else UNKNOWN, which more people would decide.
    """
    attributes = {name: _contrast(groups, name, share) for name, share in shares.items()}
    for found in attributes.values():
        low, high = found["fmr_ratio_low"], found["fmr_ratio_high"]
        within = WITHIN if high is not None and high <= factor else UNKNOWN
        found["verdict"] = EXCEEDS if low is not None and low > factor else within
    return {"factor": factor, "attributes": attributes}


def _contrast(groups: Mapping[str, _Numbers], attribute: str, share: _Numbers) -> dict:
    """What `report` says of an attribute, without the verdict."""
    higher, lower = compared_groups(attribute)
    parts = [share[f"share{end}"] for end in ENDS]
    if None not in parts and parts[0] < 0.5:
        higher, lower = lower, higher
        value, low, high = parts
        parts = [1 - value, 1 - high, 1 - low]
    above, below = groups[higher], groups[lower]
    known = [rates[f"fmr{end}"] for rates in (above, below) for end in ENDS]
    if None in known or above["fmr"] == 0:
        ratios = [None] * 3
    elif below["fmr"] == 0 or above["fmr"] == 1:
        # Resampling knows no spread of such a rate: take the ends of both intervals.
        ratios = [
            _quotient(above["fmr"], below["fmr"]),
            _quotient(above["fmr_low"], below["fmr_high"]),
            _quotient(above["fmr_high"], below["fmr_low"]),
        ]
    else:
        ratios = [_quotient(part, 1 - part) for part in parts]
    named = {f"fmr_ratio{end}": ratio for end, ratio in zip(ENDS, ratios, strict=True)}
    return {"higher": higher, "lower": lower} | named


def _quotient(above: float, below: float) -> float | None:
    return round(above / below, 6) if below > 0 else None


def rate(figures: _Numbers, name: str) -> str:
    """A group's FMR or FNMR, `name`, with its interval or the reason why it has none."""
    if figures[name] is not None and figures[f"{name}_low"] is None:
        return f"{figures[name]:.3f} (too few people)"
    return interval(figures, name)


def sentences(found: Mapping, groups: Mapping[str, _Numbers]) -> str:
    """A `report` in words, as Markdown: a warning for each attribute that exceeds, then the rest.

    `groups` are the error rates that the report was made from. "" where it has no attribute.
    """
    factor, by_verdict = found["factor"], {EXCEEDS: [], WITHIN: [], UNKNOWN: []}
    for attribute, contrast in found["attributes"].items():
        by_verdict[contrast["verdict"]].append((attribute, contrast))
    lines = [_warning(contrast, groups, factor) for _, contrast in by_verdict[EXCEEDS]]
    if by_verdict[WITHIN]:
        names = ", ".join(attribute for attribute, _ in by_verdict[WITHIN])
        lines.append(f"FMR on both and on none within a factor of {factor:g}: {names}.")
    if by_verdict[UNKNOWN]:
        people = ", ".join(
            "{} ({} and {} people)".format(
                attribute, *(groups[name]["people"] for name in compared_groups(attribute))
            )
            for attribute, _ in by_verdict[UNKNOWN]
        )
        lines.append(
            f"Too few people to tell whether the FMR on both and on none differ by more than a "
            f"factor of {factor:g}: {people}."
        )
    return "\n\n".join(lines)


def _warning(contrast: Mapping, groups: Mapping[str, _Numbers], factor: float) -> str:
    ratio, low, high = (contrast[f"fmr_ratio{end}"] for end in ENDS)
    times = "infinitely many" if ratio is None else f"{ratio:.2f}"
    end = "no end" if high is None else f"{high:.2f}"
    rates = " and ".join(
        f"{interval(groups[contrast[side]], 'fmr')} with {contrast[side]}"
        for side in ("higher", "lower")
    )
    return (
        f"**Warning: the FMR with {contrast['higher']} is {times} [{low:.2f}, {end}] times that "
        f"with {contrast['lower']}, more than the factor of {factor:g} (`evaluate.fmr_factor`) "
        f"that is allowed: {rates}.**"
    )
