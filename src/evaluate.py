"""Stage 4: how well the members, their ensemble and dlib's descriptor tell people apart."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from faceverify import backend

backend.start()

import numpy as np
import pandas as pd

from faceverify import (
    annotations,
    baseline,
    errors,
    files,
    gallery,
    metrics,
    parameters,
    photos,
    store,
    tables,
    verification,
)
from faceverify.judged import PREPARED, SPLITS, Photos, load_pairs, member_outputs
from faceverify.landmarks import interocular_distance, unflatten
from faceverify.targets import LandmarkRange

DATA, MODELS, CACHE = Path("data"), Path("models"), Path(".cache")
METRICS, PLOTS = Path("metrics"), Path("plots")
# The six figures that people compare; each comes with _low and _high.
SUMMARY = ("accuracy", "accuracy_fitted", "auc", "eer", "fmr", "fnmr")
ENDS = ("", "_low", "_high")
GROUPED_BY = ("Male", "Young", "Pale_Skin", "Eyeglasses")
ENSEMBLE, BASELINE = "ensemble", "dlib"
WORST = 12
ROC_POINTS, BINS = 200, 40


class Scores(NamedTuple):
    """A model's scores of the pairs of each split, and where it decides."""

    values: dict[str, np.ndarray]
    decision: verification.Decision
    landmark_error: dict[str, float] | None


def main() -> None:
    """Score the same pairs with every model and write metrics, plots and gallery."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    settings = parameters.load(Path("params.yaml"))
    judged, pairs = load_pairs(settings.evaluate.genuine_per_identity, settings.seed)
    scores = {name: member_scores(name, judged, pairs, settings) for name in settings.members}
    scores[ENSEMBLE] = ensemble_scores(scores, pairs, settings)
    scores[BASELINE] = baseline_scores(judged, pairs)

    groups = attribute_masks(judged, pairs["val"])
    details = {
        name: details_of(model_scores, pairs, groups, settings)
        for name, model_scores in scores.items()
    }
    compare_with_baseline(details)
    summary = {
        name: {f"{key}{end}": report["val"][f"{key}{end}"] for key in SUMMARY for end in ENDS}
        for name, report in details.items()
    }
    files.write_json(METRICS / "summary.json", summary, indent=2)
    files.write_json(METRICS / "details.json", details, indent=2)
    with files.replacing(METRICS / "summary.md") as temporary:
        temporary.write_text(table(details) + "\n", encoding="utf-8")
    write_plots(scores, pairs["val"])
    write_gallery(scores[ENSEMBLE], judged, pairs["val"])
    print(f"\n{table(details)}\n")
    print("more figures: metrics/details.json; worst errors: plots/gallery; dvc plots show --open")


def member_scores(
    name: str,
    judged: Photos,
    pairs: dict[str, verification.VerificationPairs],
    settings: parameters.Parameters,
) -> Scores:
    """theta of a member for all pairs, and how far its landmarks lie from dlib's."""
    tails, predicted = member_outputs(store.load(MODELS / name), judged, CACHE)
    limits = LandmarkRange.load(PREPARED / "landmark_range.json")
    truth, guess = unflatten(judged.landmarks), unflatten(limits.denormalize(predicted))
    errors_ = np.linalg.norm(guess - truth, axis=-1).mean(axis=-1) / interocular_distance(truth)
    return decided(
        lambda split: verification.thetas(tails, pairs[split].photos),
        pairs,
        (settings.threshold, settings.accept_threshold),
        {s: float(errors_[np.unique(pairs[s].photos)].mean()) for s in SPLITS},
    )


def ensemble_scores(
    scores: dict[str, Scores],
    pairs: dict[str, verification.VerificationPairs],
    settings: parameters.Parameters,
) -> Scores:
    """The weighted mean of the members' theta."""
    return decided(
        lambda split: sum(w * scores[name].values[split] for name, w in settings.ensemble.items()),
        pairs,
        (settings.threshold, settings.accept_threshold),
    )


def baseline_scores(judged: Photos, pairs: dict[str, verification.VerificationPairs]) -> Scores:
    """Distances of dlib's descriptors, at dlib's own threshold."""
    described = baseline.descriptors(
        [PREPARED / "selected" / name for name in judged.names],
        judged.landmarks.tolist(),
        DATA / "dlib_face_recognition_resnet_model_v1.dat",
        CACHE,
    )
    return decided(
        lambda split: verification.distances(described, pairs[split].photos),
        pairs,
        (baseline.THRESHOLD, baseline.THRESHOLD),
    )


def decided(
    score: Callable[[str], np.ndarray],
    pairs: dict[str, verification.VerificationPairs],
    thresholds: tuple[float, float],
    landmark_error: dict[str, float] | None = None,
) -> Scores:
    """Score both splits; the fitted threshold comes from train, whose people are not in val."""
    values = {split: score(split) for split in SPLITS}
    fitted = metrics.fitted_threshold(values["train"], pairs["train"].same)
    return Scores(values, verification.Decision(*thresholds, fitted), landmark_error)


def attribute_masks(judged: Photos, pairs: verification.VerificationPairs) -> dict[str, np.ndarray]:
    """The groups of pairs by attribute, for each attribute that the data has."""
    attributes = annotations.read_attributes(DATA / "list_attr_celeba.txt")
    row = {photo: i for i, photo in enumerate(attributes.photos)}
    unknown = next((source for source in judged.sources if source not in row), None)
    if unknown:
        raise errors.InputError(f"list_attr_celeba.txt lacks {unknown}; run `dvc repro`")
    rows = np.array([row[source] for source in judged.sources])
    groups = {}
    for name in GROUPED_BY:
        if name in attributes.names:
            present = attributes.column(name)[rows][pairs.photos]
            groups |= verification.attribute_groups(present, name)
    return groups


def details_of(
    scores: Scores,
    pairs: dict[str, verification.VerificationPairs],
    groups: dict[str, np.ndarray],
    settings: parameters.Parameters,
) -> dict:
    """Everything that is reported of one model."""
    resampling = {"resamples": settings.evaluate.resamples, "seed": settings.seed}
    report = {key: round(value, 6) for key, value in scores.decision._asdict().items()}
    if scores.landmark_error:
        report["landmark_error"] = {k: round(v, 6) for k, v in scores.landmark_error.items()}
    for split in SPLITS:
        part = pairs[split]
        report[split] = {
            "people": len(np.unique(part.identities)),
            "genuine": int(part.same.sum()),
            "impostor": int((~part.same).sum()),
        } | verification.figures(scores.values[split], part, scores.decision, **resampling)
    # The fitted threshold was chosen on the train pairs: no figure of theirs may use it.
    for end in ENDS:
        del report["train"][f"accuracy_fitted{end}"]
    report["groups"] = metrics.group_error_rates(
        scores.values["val"],
        pairs["val"].same,
        pairs["val"].identities,
        groups,
        threshold=scores.decision.accept_threshold,
        **resampling,
    )
    return report


def compare_with_baseline(details: dict[str, dict]) -> None:
    """Say in each model's report whether it loses to dlib's descriptor."""
    best = details[BASELINE]["val"]
    for name, report in details.items():
        if name != BASELINE:
            behind = [k for k in ("accuracy_fitted", "auc") if report["val"][k] < best[k]]
            report["loses_to_baseline_in"] = behind


def table(details: dict[str, dict]) -> str:
    """The six figures of each model with their intervals, as a Markdown table."""
    lines = [
        f"| model | {' | '.join(SUMMARY)} | loses to {BASELINE} in |",
        "|---" * (len(SUMMARY) + 2) + "|",
    ]
    for name, report in details.items():
        cells = [name, *(interval(report["val"], key) for key in SUMMARY)]
        cells.append(", ".join(report.get("loses_to_baseline_in", [])) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(figures: dict[str, float | None], key: str) -> str:
    """A figure with its 95% interval; a dash where there is none."""
    value, low, high = (figures[f"{key}{end}"] for end in ENDS)
    if None in (value, low, high):
        return "-"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def write_plots(scores: dict[str, Scores], pairs: verification.VerificationPairs) -> None:
    """The data of the plots that dvc.yaml declares."""
    curves = []
    for name, model_scores in scores.items():
        fmr, tar, _ = metrics.roc(model_scores.values["val"], pairs.same)
        keep = np.unique(np.linspace(0, len(fmr) - 1, ROC_POINTS).round().astype(int))
        curves.append(pd.DataFrame({"model": name, "fmr": fmr[keep], "tar": tar[keep]}))
    tables.write(PLOTS / "roc.csv", pd.concat(curves).round(6))

    theta = scores[ENSEMBLE].values["val"]
    edges = np.linspace(0, max(theta.max(), scores[ENSEMBLE].decision.accept_threshold), BINS + 1)
    histograms = [
        pd.DataFrame(
            {
                "theta": ((edges[1:] + edges[:-1]) / 2).round(6),
                "kind": kind,
                "share": np.histogram(theta[mask], edges)[0] / max(mask.sum(), 1),
            }
        )
        for kind, mask in (("genuine", pairs.same), ("impostor", ~pairs.same))
    ]
    tables.write(PLOTS / "scores.csv", pd.concat(histograms).round(6))

    accepted = theta < scores[ENSEMBLE].decision.accept_threshold
    confusion = pd.DataFrame(
        {
            "actual": np.where(pairs.same, "same person", "different people"),
            "predicted": np.where(accepted, "accepted", "refused"),
        }
    )
    counts = confusion.value_counts(sort=False).rename("pairs").reset_index()
    tables.write(PLOTS / "confusion.csv", counts)


def write_gallery(scores: Scores, judged: Photos, pairs: verification.VerificationPairs) -> None:
    """Pictures of the ensemble's worst errors. They show faces: never in git or a report."""
    theta, limit = scores.values["val"], scores.decision.accept_threshold

    def exhibit(i: int) -> gallery.Exhibit:
        first, second = (
            photos.decode_aligned(judged.read(judged.names[row])) for row in pairs.photos[i]
        )
        names = " ".join(judged.sources[row] for row in pairs.photos[i])
        return gallery.Exhibit(first, second, f"theta {theta[i]:.3f}  {names}")

    accepts, rejects = verification.worst(theta, pairs, limit, WORST)
    with files.replacing_folder(PLOTS / "gallery") as folder:
        for kind, title, worst in (
            ("false_accepts", "Different people, accepted", accepts),
            ("false_rejects", "Same person, refused", rejects),
        ):
            heading = f"{title} (theta, limit {limit:g}): the worst {len(worst)}"
            picture = gallery.render(heading, [exhibit(i) for i in worst])
            (folder / f"{kind}.png").write_bytes(photos.encode_png(picture))


if __name__ == "__main__":
    errors.run(main)
