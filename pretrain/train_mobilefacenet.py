"""Train MobileFaceNet on: photos and cards of people of all origins, pushed apart by a margin.

Each person is a class whose centre is fixed: the mean of what the published network gives the
person's photos, each with its mirror image, less the mean of strangers and whitened as
`linear_tail.whitening` says. Every view, most of them on a card, learns to give what the clean
photo gives, and to be nearer to its own person's centre than to all others, by a margin (H. Wang et
al., "CosFace", 2018). A person with a single photo is a class like the others. What ships lies
between the published and the trained weights, where held-back people are told apart best
(M. Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

from faceverify.base import backend

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    backend.start()

import cv2
import keras
import numpy as np
from dvclive import Live
from keras import layers, ops
from tqdm import tqdm

import bring_mobilefacenet
import draw_frames
import frames
import recipe
import student as students
from checkpoint import Checkpoint
from draw_frames import Frames
from faceverify.base import cache, digests, files
from faceverify.faces.aligned_photos import CANVAS_SIZE
from faceverify.model import features, mobile_face_net
from faceverify.model.mobile_face_net import EMBEDDING, SIDE
from faceverify.model.network import build_brain
from faceverify.runs import imports, script
from linear_tail import Cell, cleaned, whitening
from train_brain import Steps

CACHE = Path(".cache")
CHECKPOINT = CACHE / "mobile_face_net.npz"
CURVES = Path("plots/mobile_face_net")
FIGURES = Path("mobile_face_net_metrics.json")
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the way from the published weights to the trained ones
AT_ONCE = 64  # pictures whose embeddings are computed at once
FMR = 0.001  # of strangers, where genuine pairs are looked at
FAR_BELOW = -1e4  # a logit that counts for nothing


class Targets(NamedTuple):
    """What n photos are to give: their people's centres, and what each gives undamaged."""

    person: np.ndarray  # (n,): the row of the photo's person in `centres`
    own: np.ndarray  # float32 (n, EMBEDDING), of unit length
    centres: np.ndarray  # float32 (people, EMBEDDING), of unit length
    right: np.ndarray  # of bool (n,): near enough to the person's centre to be that person


class Whitening(NamedTuple):
    """The affine map by which embeddings are compared: (e - mean) @ matrix."""

    mean: np.ndarray  # (EMBEDDING,)
    matrix: np.ndarray  # (EMBEDDING, EMBEDDING)

    def __call__(self, embedded: np.ndarray) -> np.ndarray:
        """Embeddings (n, EMBEDDING), mapped and brought to unit length, float32."""
        return units((embedded - self.mean) @ self.matrix).astype(np.float32)


def main() -> None:
    """Write the weights of network and brain in float16, figures and training curves."""
    settings = recipe.read()
    how = settings.train_on
    cv2.setNumThreads(1)  # pictures are prepared in several threads already
    seen = draw_frames.read()
    checked = held_back(seen, how)
    network = mobile_face_net.build()
    network.set_weights(published())
    upright, mirrored = (embedded(network, seen.pictures, m) for m in (False, True))
    comparison = whitened(upright, seen, ~checked, settings)
    targets = targets_of(comparison(upright) + comparison(mirrored), seen.people, settings.fit.far)
    learner = learner_of(network, comparison, how)
    rows = np.flatnonzero(~checked & targets.right)
    print(
        f"{len(rows)} photos of {len(np.unique(seen.people[rows]))} people to learn from, "
        f"{checked.sum()} of {len(np.unique(seen.people[checked]))} others to look at",
        flush=True,
    )
    start = measured(learner, seen, checked, how)
    print(f"start  {said(start)}", flush=True)
    with Live(str(CURVES), dvcyaml=False, save_dvc_exp=False) as live:
        checkpoint = train(learner, seen, (targets, rows), checked, how, live)
    trained = network.get_weights()
    figures = {"start": start, "trained": checkpoint.history[-1]}
    for share in SHARES:
        network.set_weights(mixed(published(), trained, share))
        figures[f"{share}"] = measured(learner, seen, checked, how)
        print(f"{share} of the way  {said(figures[f'{share}'])}", flush=True)
    best = max(SHARES, key=lambda share: np.mean(accepted(figures[f"{share}"])))
    print(f"chosen: {best} of the way", flush=True)
    bring_mobilefacenet.write(mixed(published(), trained, best), recipe.FACES)
    files.write_json(FIGURES, figures | {"chosen": best}, indent=2)
    checkpoint.remove()


def mixed(start: list[np.ndarray], trained: list[np.ndarray], share: float) -> list[np.ndarray]:
    """The weights a share of the way from the start to the trained ones."""
    return [a + np.float32(share) * (b - a) for a, b in zip(start, trained, strict=True)]


def accepted(figures: dict[str, float]) -> list[float]:
    """The shares of genuine pairs accepted, of all kinds of people and conditions."""
    return [value for name, value in figures.items() if "_tar_" in name]


def published() -> list[np.ndarray]:
    """The weights that `bring_mobilefacenet` has written."""
    path = bring_mobilefacenet.FOLDER / bring_mobilefacenet.WEIGHTS
    brain = build_brain(mobile_face_net.NAME, "embedding", CANVAS_SIZE, str(path), seed=0)
    return brain.get_weights()


def held_back(seen: Frames, how: recipe.TrainOn) -> np.ndarray:
    """Which photos are looked at, and not learnt from, (n,): those of a share of some people.

    They are people with several photos, of the sets without and with origins, and of each origin
    that is large enough people with one.
    """
    rng = np.random.default_rng(how.seed)
    people, first, photos = np.unique(seen.people, return_index=True, return_counts=True)
    origins = seen.groups[first]
    kinds = [(photos >= how.several) & ((origins != "") == known) for known in (False, True)]
    kinds += [(photos == 1) & (origins == origin) for origin in np.unique(origins[origins != ""])]
    chosen: list[str] = []
    for number, kind in enumerate(kinds):
        count = min(round(how.checked * kind.sum()), how.most)
        if number < 2 or count >= how.least:
            chosen += list(rng.permutation(people[kind])[:count])
    return np.isin(seen.people, chosen)


def embedded(network: keras.Model, pictures: np.ndarray, mirrored: bool) -> np.ndarray:
    """The network's embeddings of photos, float32 (n, EMBEDDING), cached.

    `pictures` are (n, 2, FRAME, FRAME, 3).
    """

    def batches() -> Iterator[np.ndarray]:
        for at in tqdm(range(0, len(pictures), AT_ONCE), "embeddings", unit="batch", disable=None):
            faces = np.stack([frames.inner(photo) for photo, _ in pictures[at : at + AT_ONCE]])
            faces = faces[:, :, ::-1] if mirrored else faces
            found = network.predict_on_batch((faces - np.float32(127.5)) / 128)
            yield found.reshape(-1, EMBEDDING)

    key = [features.fingerprint(network), f"mirrored: {mirrored}", draw_frames.PICTURES]
    return cache.stored(CACHE, key, (len(pictures), EMBEDDING), batches)


def whitened(raw: np.ndarray, seen: Frames, used: np.ndarray, settings: recipe.Recipe) -> Whitening:
    """The whitening of the `used` photos: strangers of each origin, and people with several."""
    _, person, photos = np.unique(seen.people, return_inverse=True, return_counts=True)
    alone = photos[person] == 1
    origins = [
        chosen
        for group in np.unique(seen.groups[seen.groups != ""])
        if (chosen := used & alone & (seen.groups == group)).sum() >= settings.fit.least
    ]
    mean = raw[np.logical_or.reduce(origins)].mean(axis=0)
    cells = [Cell(raw[rows] - mean, person[rows]) for rows in [*origins, used & ~alone]]
    how = settings.train_on
    near = [cleaned(cell, settings.fit.far) for cell in cells]
    nothing = np.zeros((EMBEDDING, EMBEDDING))
    return Whitening(mean, whitening(near, how.ridge, how.groups, EMBEDDING, nothing))


def targets_of(own: np.ndarray, people: np.ndarray, far: float) -> Targets:
    """The targets of photos by their embeddings (n, EMBEDDING), with those of mirror images added.

    A photo with a cosine below `far` to its person's mean is not right; the means are of the
    others.
    """
    own = units(own)
    _, person = np.unique(people, return_inverse=True)
    right = np.ones(len(own), bool)
    for _ in range(2):
        centres = np.zeros((person.max() + 1, own.shape[1]))
        np.add.at(centres, person[right], own[right])
        centres = units(centres)
        right = (own * centres[person]).sum(axis=1) >= far
    return Targets(person, own.astype(np.float32), centres.astype(np.float32), right)


def units(rows: np.ndarray) -> np.ndarray:
    """Rows brought to length 1; zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def learner_of(network: keras.Model, comparison: Whitening, how: recipe.TrainOn) -> keras.Model:
    """What is trained: frames (B, 112, 112, 3) in 0..255 -> whitened embeddings (B, EMBEDDING).

    The layers before `how.first_layer` stay as they are. Raises InputError where it is none.
    """
    learns = False
    for layer in network.layers:
        learns = learns or layer.name == how.first_layer
        layer.trainable = learns
    if not learns:
        raise errors.InputError(f"params.yaml: train_on.first_layer: no layer {how.first_layer!r}")
    faces = keras.Input((SIDE, SIDE, 3), name="face")
    scaled = layers.Rescaling(1 / 128, -127.5 / 128)(faces)
    last = layers.Dense(EMBEDDING, trainable=False, name="whitening")
    learner = keras.Model(faces, last(layers.Flatten()(network(scaled))), name="learner")
    last.set_weights([comparison.matrix, -comparison.mean @ comparison.matrix])
    return learner


def loss_of(centres: np.ndarray, how: recipe.TrainOn):
    """The loss of targets (B, 1 + EMBEDDING), a person's row and what to give, and embeddings.

    Centres that are closer to a photo's own than `how.alike` may be the same person's, and do not
    push.
    """

    def loss(wanted, given):
        everybody = ops.convert_to_tensor(centres)
        across = ops.transpose(everybody)
        person = ops.cast(wanted[:, 0], "int32")
        given = ops.normalize(given, axis=-1)
        own = ops.take(everybody, person, axis=0)
        push = ops.matmul(own, across) < how.alike
        likeness = ops.sum(own * given, axis=-1)
        others = ops.where(push, how.scale * ops.matmul(given, across), FAR_BELOW)
        mine = how.scale * (likeness - how.margin)
        total = ops.logaddexp(mine, ops.logsumexp(others, axis=-1))
        pull = 1 - ops.sum(wanted[:, 1:] * given, axis=-1)
        return pull + how.push * (total - mine)

    return loss


class Batches(keras.utils.PyDataset):
    """One epoch's batches: frames (B, 112, 112, 3) and targets (B, 1 + EMBEDDING).

    A batch depends on the seed, the epoch and its index alone, so that a resumed run sees what an
    undisturbed one would.
    """

    def __init__(
        self, seen: Frames, targets: Targets, rows: np.ndarray, epoch: int, how: recipe.TrainOn
    ) -> None:
        """Take the rows to learn from, and the epoch's number, from 0."""
        super().__init__(workers=os.cpu_count() or 1, max_queue_size=8)
        self._seen, self._targets, self._epoch, self._how = seen, targets, epoch, how
        rng = np.random.default_rng((how.seed, epoch))
        _, person, photos = np.unique(targets.person[rows], return_inverse=True, return_counts=True)
        # A person with many photos is drawn more often than one with a single photo, but each of
        # the photos less often.
        weights = photos[person] ** -how.evenness
        count = how.photos // how.batch_size * how.batch_size
        self._rows = rng.choice(rows, count, p=weights / weights.sum())

    def __len__(self) -> int:
        """The batches of an epoch."""
        return len(self._rows) // self._how.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The frames and the targets of a batch."""
        how, targets = self._how, self._targets
        rows = self._rows[index * how.batch_size :][: how.batch_size]
        rng = np.random.default_rng((how.seed, self._epoch, index))
        cards = rng.random(len(rows)) < how.cards
        faces = [
            frames.changed(self._seen.pictures[row, int(card)], card=bool(card), rng=rng)
            for row, card in zip(rows, cards, strict=True)
        ]
        own, centres = targets.own[rows], targets.centres[targets.person[rows]]
        wanted = units((1 - how.person_share) * own + how.person_share * centres)
        wanted = np.concatenate([targets.person[rows, None], wanted], axis=1)
        return np.stack(faces).astype(np.float32), wanted.astype(np.float32)


def train(
    learner: keras.Model,
    seen: Frames,
    learnt: tuple[Targets, np.ndarray],
    checked: np.ndarray,
    how: recipe.TrainOn,
    live: Live,
) -> Checkpoint:
    """Train from the checkpoint on; `learnt` are the targets and the rows to learn from."""
    targets, rows = learnt
    steps = how.epochs * (how.photos // how.batch_size)
    chosen = students.optimizer(how.lr, 0.0, steps)
    loss = loss_of(targets.centres, how)
    learner.compile(chosen, loss, jit_compile=keras.backend.backend() == "jax")
    chosen.build(learner.trainable_variables)
    code = imports.code_of(Path(__file__).absolute())
    run = digests.sha256(how.model_dump_json(), draw_frames.PHOTOS, *code)
    checkpoint = Checkpoint(CHECKPOINT, run, learner)
    for logs in checkpoint.history:
        report(live, logs, how.epochs)
    for epoch in range(len(checkpoint.history), how.epochs):
        batches = Batches(seen, targets, rows, epoch, how)
        fitted = learner.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[Steps(epoch)])
        figures = measured(learner, seen, checked, how)
        checkpoint.finish_epoch({"loss": fitted.history["loss"][0]} | figures)
        report(live, checkpoint.history[-1], how.epochs)
    return checkpoint


def measured(
    learner: keras.Model, seen: Frames, checked: np.ndarray, how: recipe.TrainOn
) -> dict[str, float]:
    """How people from whom nothing is learnt are told apart, by photos and by cards.

    A pair is a photo, or a card, and another photo. For people with several photos, of the sets
    without and of the one with origins (`celeba`, `others`): the share of genuine pairs above the
    cosine that 1% and 0.1% of the impostor pairs exceed, and above the one that 0.1% of the
    strangers of the worst origin exceed, on photos or on cards (`strangers`).
    """
    rows = np.flatnonzero(checked)
    photos, cards = (outputs(learner, seen.pictures, rows, side) for side in (0, 1))
    groups = seen.groups[rows]
    _, person, count = np.unique(seen.people[rows], return_inverse=True, return_counts=True)
    several, alone = count[person] >= how.several, count[person] == 1
    same = person[:, None] == person
    other = ~np.eye(len(rows), dtype=bool)  # neither a photo with itself nor with its own card

    def pairs_of(chosen: np.ndarray) -> np.ndarray:
        return chosen[:, None] & chosen & other

    origins = [alone & (groups == group) for group in np.unique(groups[groups != ""])]
    origins = [chosen for chosen in origins if chosen.sum() >= how.least]
    kinds = {"celeba": several & (groups == ""), "others": several & (groups != "")}
    figures = {}
    for condition, first in (("photo", photos), ("card", cards)):
        cosines = first @ photos.T
        worst = max(np.quantile(cosines[pairs_of(of)], 1 - FMR) for of in origins)
        for kind, chosen in kinds.items():
            genuine, impostor = (cosines[pairs_of(chosen) & as_one] for as_one in (same, ~same))
            limits = {"1pct": np.quantile(impostor, 0.99), "01pct": np.quantile(impostor, 1 - FMR)}
            for name, limit in (limits | {"strangers": worst}).items():
                figures[f"val_{kind}_{condition}_tar_{name}"] = float((genuine > limit).mean())
    return figures


def outputs(learner: keras.Model, pictures: np.ndarray, rows: np.ndarray, side: int) -> np.ndarray:
    """Whitened embeddings, of unit length, of photos (`side` 0) or of their cards (1)."""
    found = []
    for at in range(0, len(rows), AT_ONCE):
        faces = [frames.inner(pictures[row, side]) for row in rows[at : at + AT_ONCE]]
        found.append(learner.predict_on_batch(np.stack(faces).astype(np.float32)))
    return units(np.concatenate(found))


def report(live: Live, logs: dict[str, float], epochs: int) -> None:
    """Log all figures of an epoch to DVCLive, and print those that people follow."""
    for name, value in logs.items():
        split, figure = ("val", name[4:]) if name.startswith("val_") else ("train", name)
        live.log_metric(f"{split}/{figure}", round(value, 6))
    print(
        f"epoch {live.step + 1}/{epochs}  loss {logs['loss']:.3f}, {said(logs)}",
        flush=True,
    )
    live.next_step()


def said(figures: dict[str, float]) -> str:
    """The share of genuine pairs accepted where 0.1% of impostors are, and of strangers."""
    parts = []
    for condition in ("photo", "card"):
        numbers = " ".join(
            f"{figures[f'val_{kind}_{condition}_tar_{limit}']:.3f}"
            for kind in ("celeba", "others")
            for limit in ("1pct", "01pct", "strangers")
        )
        parts.append(f"{condition}: {numbers}")
    return "accepted of genuine pairs at FMR 1%, 0.1%, and 0.1% of strangers, " + ", ".join(parts)


if __name__ == "__main__":
    script.run(main)
