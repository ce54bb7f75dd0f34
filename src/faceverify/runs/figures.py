"""What README and docs show of runs and benchmarks, as Markdown made of the files they wrote."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from faceverify.base import files, schema
from faceverify.base.errors import InputError, MadeFileError
from faceverify.evaluation import fairness, summary
from faceverify.runs import pages, parameters

METRICS, BENCHMARKS, PRETRAIN = Path("metrics"), Path("benchmarks"), Path("pretrain")
VERIFIER = Path("models/verifier.json")
# Two people of the sample.
FENCE = "```console not run: tested elsewhere"
EXAMPLE = "python src/verify.py data/img_align_celeba/000001.png data/img_align_celeba/000032.png"

# Figure -> what it is called in the tables of real people.
SAME_PEOPLE = {
    "no_answer": "no answer",
    "fnmr": "refused at the threshold",
    "tar_at_fmr_1pct": "accepted at FMR 1%",
    "tar_at_fmr_0.1pct": "accepted at FMR 0.1%",
    "auc": "AUC",
}

Kind = TypeVar("Kind", bound=schema.Part)


class People(schema.Part):
    """On how many people a figure rests."""

    people: int


class Pairs(People):
    """On how many people and pairs of either kind a figure rests."""

    genuine: int
    impostor: int


class Group(Pairs):
    """The ensemble's error rates on the pairs of an attribute group."""

    fnmr: schema.Finite | None
    fnmr_low: schema.Finite | None
    fnmr_high: schema.Finite | None
    fmr: schema.Finite | None
    fmr_low: schema.Finite | None
    fmr_high: schema.Finite | None


class Ensemble(schema.Part):
    """What is shown of the ensemble."""

    train: People
    val: Pairs
    groups: dict[str, Group]


class Details(schema.Part):
    """What is shown of `metrics/details.json`."""

    ensemble: Ensemble


class Export(schema.Part):
    """What is shown of `metrics/export.json`."""

    bytes: schema.Finite
    pairs: int
    changed_decisions: int
    limit: schema.Finite
    max_delta_theta: dict[str, schema.Finite]


class Speed(schema.Part):
    """A figure of `benchmarks/verify.json`: the verifier's, and that of dlib alone."""

    verify: schema.Finite
    dlib: schema.Finite


class Step(schema.Part):
    """A figure of `benchmarks/results.json`: ours, and that of the original project's way."""

    ours: schema.Finite
    original: schema.Finite | None = None
    ratio: schema.Finite | None = None


class Load(schema.Part):
    """What a number of clients got of the service: decisions, and times in ms."""

    rate: schema.Finite = Field(alias="decisions/s")
    p50: schema.Finite = Field(alias="p50, ms")
    p95: schema.Finite = Field(alias="p95, ms")
    p99: schema.Finite = Field(alias="p99, ms")


class Rate(schema.Part):
    """How often another way decides on the same photos."""

    rate: schema.Finite = Field(alias="decisions/s")


class Service(schema.Part):
    """What is shown of `benchmarks/service.json`."""

    clients: dict[str, Load]
    dlib: Rate = Field(alias="dlib alone")
    face_recognition: Rate | None = None


class Speeds(schema.Part):
    """What is shown of `benchmarks/verify.json`."""

    figures: dict[str, Speed]


class Steps(schema.Part):
    """What is shown of `benchmarks/results.json`."""

    figures: dict[str, Step]


class JudgedSet(Pairs):
    """A set of `benchmarks/real_people.json`: figures of each model, by condition."""

    photo: dict[str, dict[str, schema.Finite | None]]
    card: dict[str, dict[str, schema.Finite | None]]


class RealPeople(schema.Part):
    """What is shown of `benchmarks/real_people.json`."""

    sets: dict[str, JudgedSet]


class CaptureLimits(schema.Part):
    """What is shown of `benchmarks/capture_limits.json`: figures by condition and range."""

    sharpness: dict[str, dict[str, dict[str, schema.Finite | None]]]
    brightness: dict[str, dict[str, dict[str, schema.Finite | None]]]


class Unseen(schema.Part):
    """How well the people are told apart whom the pretraining never saw."""

    val_auc: schema.Finite
    val_best_accuracy: schema.Finite
    val_tar_at_fmr_1pct: schema.Finite


def scores() -> str:
    """On whom the models were judged, and the table of their six figures."""
    val = _ensemble().val
    table = pages.read(METRICS / "summary.md").partition("\n\n")[0].strip()
    return (
        f"The models were judged on {val.genuine} genuine and {val.impostor} impostor pairs of "
        f"{val.people} people on whom\nnone was trained (95% intervals in brackets):\n\n{table}"
    )


def card_scores() -> str:
    """What the condition "card" is, and the figures of the ensemble and of dlib in it."""
    _, said, table, _ = pages.read(METRICS / "summary.md").split("\n\n", 3)
    header, line, *rows = table.splitlines()
    shown = tuple(f"| {name} |" for name in (summary.ENSEMBLE, summary.BASELINE))
    of_both = [row for row in rows if row.startswith(shown)]
    return "\n".join([said, "", header, line, *of_both])


def card() -> str:
    """What the model card says of a run: the decision, the people, the figures, the app's file."""
    settings = parameters.load(Path("params.yaml"))
    ensemble, export = _ensemble(), _export()
    weights = " + ".join(f"{weight:g} {name}" for name, weight in settings.ensemble.items())
    val, train = ensemble.val, ensemble.train
    decision = (
        f"theta = {weights}; a registration is accepted when theta < "
        f"{settings.accept_threshold:g} radians. Trained on {train.people} people; judged on "
        f"{val.genuine} genuine and {val.impostor} impostor pairs of {val.people} other people "
        "(95% intervals in brackets):"
    )
    app_file = (
        f"`models/verifier.tflite` ({exported_size()}, float16 weights) gives a theta "
        f"at most {export.max_delta_theta['ensemble']:g} radians off the float32 models' on "
        f"{export.pairs} pairs, and decides {export.changed_decisions} of them otherwise."
    )
    table = pages.read(METRICS / "summary.md").strip()
    return "\n\n".join([decision, table, _groups(ensemble.groups), app_file])


def exported_size() -> str:
    """The size of the file that an app ships."""
    return f"{_export().bytes / 1e6:.1f} MB"


def exported_deltas() -> str:
    """How far theta of that file is from the float32 models' theta."""
    export = _export()
    members = [delta for name, delta in export.max_delta_theta.items() if name != "ensemble"]
    return (
        f"It fails when theta is more than {export.limit:g} radians off. On the {export.pairs} "
        "pairs of the sample the\n"
        f"ensemble's is at most {export.max_delta_theta['ensemble']:g} off, a member's at most "
        f"{max(members):g}, and {export.changed_decisions} decisions\nchanged."
    )


def example() -> str | None:
    """A comparison of two photos, run as it is shown; None where the verifier is missing."""
    if not VERIFIER.is_file():
        return None
    run = subprocess.run([sys.executable, *EXAMPLE.split()[1:]], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        last = run.stderr.strip().rpartition("\n")[2]
        raise InputError(f"the example cannot be run: {last or f'exit code {run.returncode}'}")
    return f"{FENCE}\n$ {EXAMPLE}\n{run.stdout.strip()}\n```"


def verify_speeds() -> str:
    """A table of the verifier's speed and memory beside those of dlib alone."""
    rows = [
        [name, f"{speed.verify:.3g}", f"{speed.dlib:.3g}"]
        for name, speed in _checked(BENCHMARKS / "verify.json", Speeds).figures.items()
    ]
    return summary.markdown(["", "verify", "dlib alone"], rows)


def service_speeds() -> str:
    """A table of the service's rates and times by clients, and the rates of dlib's ways."""
    found = _checked(BENCHMARKS / "service.json", Service)
    rows = [
        [clients, f"{load.rate:.1f}", *(f"{ms:.0f}" for ms in (load.p50, load.p95, load.p99))]
        for clients, load in found.clients.items()
    ]
    others = {"dlib alone": found.dlib, "`face_recognition`": found.face_recognition}
    rows += [[name, f"{other.rate:.1f}", "", "", ""] for name, other in others.items() if other]
    return summary.markdown(["clients", "decisions/s", "p50, ms", "p95, ms", "p99, ms"], rows)


def false_matches(condition: str) -> str:
    """A table of the share of different people that each model accepts, by set of photos."""
    sets = _checked(BENCHMARKS / "real_people.json", RealPeople).sets
    models = list(next(iter(sets.values())).photo)
    rows = [
        [name, f"{judged.people:,}", f"{judged.impostor:,}"]
        + [_percent(getattr(judged, condition)[model], "fmr") for model in models]
        for name, judged in sets.items()
    ]
    return summary.markdown(["different people of", "people", "pairs", *models], rows)


def same_people(condition: str) -> str:
    """A table of how each model does on the sets that have several photos of a person."""
    sets = _checked(BENCHMARKS / "real_people.json", RealPeople).sets
    models = list(next(iter(sets.values())).photo)
    rows = [
        [f"{name}, {judged.people} people, {judged.genuine:,} pairs", title]
        + [_percent(getattr(judged, condition)[model], figure) for model in models]
        for name, judged in sets.items()
        if judged.genuine
        for figure, title in SAME_PEOPLE.items()
        if figure in getattr(judged, condition)[models[0]]
    ]
    return summary.markdown(["same people of", "figure", *models], rows)


def capture_limits(measure: str) -> str:
    """A table of what is refused and accepted of pictures by their sharpness or brightness."""
    found = getattr(_checked(BENCHMARKS / "capture_limits.json", CaptureLimits), measure)
    ranges = dict.fromkeys(name for rates in found.values() for name in rates)
    rows = [[name] for name in sorted(ranges, key=lambda name: float(name.partition(" ")[0]))]
    for row in rows:
        for rates in found.values():
            rate = rates.get(row[0], {"genuine": 0})
            row += [f"{rate['genuine']:,.0f}", _percent(rate, "fnmr"), _percent(rate, "fmr")]
    shown = ("pairs", "refused", "accepted")
    header = [measure, *(f"{condition}: {name}" for condition in found for name in shown)]
    return summary.markdown(header, rows)


def _percent(figures: summary.Figures, name: str) -> str:
    """A share in percent with its 95% interval, or "-" where it is undefined."""
    value, low, high = (figures.get(f"{name}{end}") for end in summary.ENDS)
    if value is None:
        return "-"
    ends = "" if None in (low, high) else f" [{100 * low:.3g}, {100 * high:.3g}]"
    return f"{100 * value:.3g}{ends}"


def step(name: str, text: str) -> str:
    """A figure of the pipeline's benchmark; `text` has places for `ours`, `original`, `ratio`."""
    path = BENCHMARKS / "results.json"
    found = _checked(path, Steps).figures.get(name)
    try:
        return text.format(**found.model_dump())
    except (AttributeError, TypeError):  # it is missing, or was not measured for the other way
        raise InputError(f"{path} lacks what is shown of {name!r}; run `make bench`") from None


def real_people() -> str:
    """What theta 0.6 decides on real people, photo and card, beside dlib at its own 0.6."""
    sets = _checked(BENCHMARKS / "real_people.json", RealPeople).sets
    models = (summary.ENSEMBLE, summary.BASELINE)
    shown = {
        "strangers accepted": ("strangers: East and Southeast Asian", "fmr"),
        "same people refused": ("CelebA", "fnmr"),
    }
    rows = [
        [f"{title}: {name.removeprefix('strangers: ')}, {condition}"]
        + [_percent(getattr(sets[name], condition)[model], figure) for model in models]
        for title, (name, figure) in shown.items()
        for condition in ("photo", "card")
    ]
    return summary.markdown(["%, at 0.6", *models], rows)


def towers() -> str:
    """A table of how brain and towers, by themselves, tell the unseen people apart."""
    brain = _checked(PRETRAIN / "metrics.json", Unseen)
    found = {"`rai`'s brain before the cut, under its light head": brain}
    found |= {f"`{name}`'s tower on the frozen brain": tower for name, tower in _towers().items()}
    rows = [
        [
            name,
            f"{unseen.val_auc:.3f}",
            f"{unseen.val_best_accuracy:.3f}",
            f"{unseen.val_tar_at_fmr_1pct:.3f}",
        ]
        for name, unseen in found.items()
    ]
    return summary.markdown(["what judges", "AUC", "best accuracy", "TAR at FMR 1%"], rows)


def _ensemble() -> Ensemble:
    return _checked(METRICS / "details.json", Details).ensemble


def _export() -> Export:
    path = METRICS / "export.json"
    export = _checked(path, Export)
    if "ensemble" not in export.max_delta_theta or len(export.max_delta_theta) == 1:
        raise InputError(f"{path} lacks what is shown of the models; run `dvc repro`")
    return export


def _towers() -> dict[str, Unseen]:
    paths = sorted((PRETRAIN / "tower_metrics").glob("*.json"))
    if not paths:
        raise InputError(f"{PRETRAIN / 'tower_metrics'} is missing or empty; bring it from git")
    return {path.stem: _checked(path, Unseen) for path in paths}


def _groups(groups: dict[str, Group]) -> str:
    """The ensemble's error rates by attribute group, for the groups that have pairs.

    A rate without an interval rests on too few people for one.
    """
    rows = [
        [
            name,
            str(group.people),
            str(group.genuine),
            fairness.rate(group.model_dump(), "fnmr"),
            str(group.impostor),
            fairness.rate(group.model_dump(), "fmr"),
        ]
        for name, group in groups.items()
        if group.genuine or group.impostor
    ]
    header = ["attribute", "people", "genuine pairs", "fnmr", "impostor pairs", "fmr"]
    return f"By attribute of the two photos:\n\n{summary.markdown(header, rows)}"


def _checked(path: Path, kind: type[Kind]) -> Kind:
    """A JSON file as a `Part`; InputError where it is missing or damaged."""
    try:
        values = files.read_json(path)
        schema.check(kind, values, str(path))
    except MadeFileError as error:
        if path.parent == METRICS:
            raise
        raise InputError(f"{error}; bring it from git") from None  # no stage makes it
    return kind.model_validate(values)


# Page -> the name of each of its figures -> what belongs there.
PAGES: dict[Path, dict[str, Callable[[], str | None]]] = {
    Path("README.md"): {
        "scores": scores,
        "card scores": card_scores,
        "real people": real_people,
        "example": example,
    },
    Path("docs/model_card.md"): {"card": card},
    Path("docs/bundle.md"): {"size": exported_size, "deltas": exported_deltas},
    Path("docs/measuring.md"): {
        "verify speeds": verify_speeds,
        "service speeds": service_speeds,
    },
    Path("docs/verify.md"): {
        "sharpness": partial(capture_limits, "sharpness"),
        "brightness": partial(capture_limits, "brightness"),
    },
    Path("docs/people.md"): {
        "strangers, photo": partial(false_matches, "photo"),
        "strangers, card": partial(false_matches, "card"),
        "same people, photo": partial(same_people, "photo"),
        "same people, card": partial(same_people, "card"),
    },
    Path("docs/scale.md"): {
        "fine-tuning": partial(step, "fine-tuning, bfloat16", "{ours:.1f} photos/s in bfloat16"),
        "evaluating": partial(step, "evaluating 100,000 pairs", "{ours:.0f} s"),
    },
    Path("benchmarks/README.md"): {
        "reading": partial(step, "reading records", "{ours:,.0f} against {original:,.0f} pairs/s"),
        "record bytes": partial(
            step,
            "record bytes",
            "{ratio:.0f} times as large ({original:,.0f} against {ours:,.0f} bytes a pair)",
        ),
        "frozen brain": partial(
            step, "epoch with a frozen brain", "{ours:.0f} pairs/s, {ratio:.0f} times"
        ),
    },
    Path("pretrained/README.md"): {"towers": towers},
}
