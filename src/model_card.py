"""Write the measured part of the model card anew, from metrics/ and params.yaml."""

import argparse
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import files, schema
from faceverify.evaluation import fairness, summary
from faceverify.runs import parameters, script

CARD, METRICS = Path("docs/model_card.md"), Path("metrics")
TEXT_BYTES = 2**20
BEGIN, END = "<!-- measured: `make card` writes this part -->", "<!-- end of the measured part -->"


class Export(schema.Part):
    """What is shown of `export.json`."""

    bytes: schema.Finite
    pairs: int
    changed_decisions: int
    max_delta_theta: dict[str, schema.Finite]


def main() -> None:
    """Put today's figures between the card's two marks."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    settings = parameters.load(Path("params.yaml"))
    text = read(CARD)
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise errors.InputError(
            f"{CARD} must have {BEGIN!r} once, and {END!r} once below it; bring it from git"
        )
    with files.replacing(CARD) as temporary:
        temporary.write_text(
            f"{before}{BEGIN}\n\n{measured(settings)}\n\n{END}{after}", encoding="utf-8"
        )
    print(f"{CARD} has the figures of {METRICS}")


def read(path: Path) -> str:
    """A text file of the repository; InputError where it is missing or no text."""
    try:
        return files.content(path, TEXT_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise errors.InputError(
            f"{path} is missing; bring it from git, or `dvc repro` makes it"
        ) from None
    except UnicodeDecodeError:
        raise errors.InputError(f"{path} is not a text file; bring it from git") from None


def measured(settings: parameters.Parameters) -> str:
    """All that depends on the run: what decides, on whom it was judged, figures, the app's file."""
    details, export = (files.read_json(METRICS / f"{name}.json") for name in ("details", "export"))
    schema.check(summary.EnsembleDetails, details, str(METRICS / "details.json"))
    schema.check(Export, export, str(METRICS / "export.json"))
    try:
        ensemble = details["ensemble"]
        paragraphs = [decision(settings, ensemble), read(METRICS / "summary.md").strip()]
        paragraphs += [groups(ensemble["groups"]), app_file(export)]
    except (KeyError, TypeError) as error:
        raise errors.InputError(
            f"{METRICS} lacks what the card shows ({error!r}); run `dvc repro`"
        ) from None
    return "\n\n".join(paragraphs)


def decision(settings: parameters.Parameters, ensemble: dict) -> str:
    """How a registration is decided, and the people and pairs behind the figures."""
    weights = " + ".join(f"{weight:g} {name}" for name, weight in settings.ensemble.items())
    val, train = ensemble["val"], ensemble["train"]
    return (
        f"theta = {weights}; a registration is accepted when theta < "
        f"{settings.accept_threshold:g} radians. Trained on {train['people']} people; judged on "
        f"{val['genuine']} genuine and {val['impostor']} impostor pairs of {val['people']} other "
        "people (95% intervals in brackets):"
    )


def groups(report: dict[str, dict]) -> str:
    """The ensemble's error rates by attribute group, for the groups that have pairs.

    A rate without an interval rests on too few people for one.
    """
    rows = [
        [
            name,
            str(figures["people"]),
            str(figures["genuine"]),
            fairness.rate(figures, "fnmr"),
            str(figures["impostor"]),
            fairness.rate(figures, "fmr"),
        ]
        for name, figures in report.items()
        if figures["genuine"] or figures["impostor"]
    ]
    header = ["attribute", "people", "genuine pairs", "fnmr", "impostor pairs", "fmr"]
    return f"By attribute of the two photos:\n\n{summary.markdown(header, rows)}"


def app_file(export: dict) -> str:
    """What the exported file differs in from the models above."""
    return (
        f"`models/verifier.tflite` ({export['bytes'] / 1e6:.1f} MB, float16 weights) gives a theta "
        f"at most {export['max_delta_theta']['ensemble']:g} radians off the float32 models' on "
        f"{export['pairs']} pairs, and decides {export['changed_decisions']} of them otherwise."
    )


if __name__ == "__main__":
    script.run(main)
