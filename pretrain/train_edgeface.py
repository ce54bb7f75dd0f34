"""Train EdgeFace on: photos and cards of people of all origins, pushed apart by a margin.

Each person is a class whose centre is fixed: the mean of what the published network gives the
person's photos, each with its mirror image, less the mean of strangers and whitened as
`linear_tail.whitening` says. Each photo and each card learns to give what the clean photo gives,
and to be nearer to its own person's centre than to all others, by a margin (H. Wang et al.,
"CosFace", 2018). A person with a single photo is a class like the others. The layers up to
`last_kept` stay as published, so that what they make of all photos and cards is computed once. What
is written lies between the published and the trained weights (M. Wortsman et al., "Robust
fine-tuning of zero-shot models", 2022).
"""

import os
from collections.abc import Callable
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

import bring_edgeface
import recipe
import strangers
import student as students
from checkpoint import Checkpoint, run_hash
from faceverify.base import files
from faceverify.faces.aligned_photos import CANVAS_SIZE
from faceverify.model import edge_face
from faceverify.model.edge_face import EMBEDDING
from faceverify.model.network import build_brain
from faceverify.runs import script
from fit_tail import OnCard
from fit_tower import canvas, outputs, parts
from linear_tail import Cell, cleaned, whitening
from people import learnt_and_unseen
from train_brain import Steps
from train_tower import CACHE

CHECKPOINT = CACHE / "edge_face.npz"
CURVES = Path("plots/edge_face")
FIGURES = Path("edge_face_metrics.json")
FMR = 0.001  # of strangers, where genuine pairs are looked at
FAR_BELOW = -1e4  # a logit that counts for nothing


class Photos(NamedTuple):
    """n photos of training people."""

    paths: np.ndarray  # of Path
    people: np.ndarray  # of str: set and number of the person
    groups: np.ndarray  # of str: the person's origin, "" where the set does not tell

    def maps(self, lower: keras.Model) -> tuple[np.ndarray, np.ndarray]:
        """What a brain makes of the photos and of their cards, each (n, height, width, c)."""
        return outputs(lower, self.paths), outputs(lower, self.paths, OnCard(recipe.card_effects()))


class Mirrored(NamedTuple):
    """What becomes of a photo: its mirror image."""

    def __call__(self, path: Path) -> np.ndarray:
        """The canvas, uint8 (218, 218, 3)."""
        return canvas(path)[:, ::-1]


class Targets(NamedTuple):
    """What n photos are to give: their people's centres, and what each gives undamaged."""

    person: np.ndarray  # (n,): the row of the photo's person in `centres`
    own: np.ndarray  # float32 (n, EMBEDDING), of unit length
    centres: np.ndarray  # float32 (people, EMBEDDING), of unit length
    right: np.ndarray  # of bool (n,): near enough to the person's centre to be that person

    def of_people(self, rows: np.ndarray) -> "Targets":
        """Those with the centres of the people of some photos alone; other photos' person is -1."""
        people, numbers = np.unique(self.person[rows], return_inverse=True)
        person = np.full(len(self.person), -1)
        person[rows] = numbers
        return self._replace(person=person, centres=self.centres[people])


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
    if how.epochs * (how.photos // how.batch_size) < 2:
        raise errors.InputError(
            "params.yaml: train_on.photos: two batches of train_on.batch_size are needed at least"
        )
    cv2.setNumThreads(1)  # the threads of the network are enough
    seen = training_photos(settings)
    checked = held_back(seen, how)
    origins_of(seen, ~checked, settings.fit.least)  # fails now rather than after the networks
    whole, lower, network, upper = split(how.last_kept)
    mirrored = outputs(whole, seen.paths, Mirrored()).reshape(-1, EMBEDDING)
    maps = seen.maps(lower)
    upright = embedded(upper, maps[0])
    comparison = whitened(upright, seen, ~checked, settings)
    targets = targets_of(comparison(upright) + comparison(mirrored), seen.people, settings.fit.far)
    rows = np.flatnonzero(~checked & targets.right)
    targets = targets.of_people(rows)
    print(
        f"{len(rows)} photos of {len(np.unique(seen.people[rows]))} people to learn from, "
        f"{checked.sum()} of {len(np.unique(seen.people[checked]))} others to look at",
        flush=True,
    )

    def figures() -> dict[str, float]:
        return measured(upper, maps, seen, checked, settings)

    start = upper.get_weights()
    told = {"start": figures()}
    print(f"start  {said(told['start'])}", flush=True)
    learner = learner_of(upper, comparison)
    prepare(learner, targets.centres, how)
    checkpoint = Checkpoint(CHECKPOINT, run_of(seen, settings), learner)
    with Live(str(CURVES), dvcyaml=False, save_dvc_exp=False) as live:
        train(learner, checkpoint, (maps, targets, rows), figures, how, live)
    told["trained"] = checkpoint.history[-1]
    upper.set_weights(mixed(start, upper.get_weights(), how.share))
    told["written"] = figures()
    print(f"{how.share} of the way  {said(told['written'])}", flush=True)
    bring_edgeface.write(network.get_weights(), recipe.FACES)
    files.write_json(FIGURES, told, indent=2)
    checkpoint.remove()


def training_photos(settings: recipe.Recipe) -> Photos:
    """The photos of all people to learn from, of the labelled sets and of the set of strangers."""
    labelled, _ = learnt_and_unseen()
    people = strangers.read(recipe.DATA / settings.fit.strangers)
    people = people.of(~people.held_out)
    known = [f"labelled/{person}" for person in labelled.identities]
    others = [f"{settings.fit.strangers}/{person}" for person in people.identities]
    return Photos(
        np.concatenate([labelled.paths, people.paths]),
        np.array(known + others),
        np.concatenate([np.full(len(known), ""), people.groups]),
    )


def split(last_kept: str) -> tuple[keras.Model, keras.Model, keras.Model, keras.Model]:
    """The published network as a brain; that up to a layer; the network; and what follows there.

    The last two share their weights. Raises InputError where there is no such layer, or where what
    follows reads more than that one.
    """
    published = bring_edgeface.FOLDER / bring_edgeface.WEIGHTS
    whole = build_brain(edge_face.NAME, "embedding", CANVAS_SIZE, str(published), seed=0)
    network = edge_face.build()
    network.set_weights(whole.get_weights())
    try:
        upper = keras.Model(network.get_layer(last_kept).output, network.output, name="upper")
    except ValueError:
        raise errors.InputError(
            f"params.yaml: train_on.last_kept: {last_kept!r} is no layer of EdgeFace that "
            "alone is read by what follows, such as stage3_block8_add"
        ) from None
    lower = build_brain(edge_face.NAME, last_kept, CANVAS_SIZE, None, seed=0)
    lower.set_weights(whole.get_weights()[: len(lower.weights)])
    return whole, lower, network, upper


def mixed(start: list[np.ndarray], trained: list[np.ndarray], share: float) -> list[np.ndarray]:
    """The weights a share of the way from the start to the trained ones."""
    return [a + np.float32(share) * (b - a) for a, b in zip(start, trained, strict=True)]


def held_back(seen: Photos, how: recipe.TrainOn) -> np.ndarray:
    """Which photos are looked at, and not learnt from, (n,): those of a share of some people.

    They are people with several photos, of the sets without and with origins, and of each origin
    that is large enough people with one. Raises InputError where there are too few.
    """
    rng = np.random.default_rng(how.seed)
    people, first, photos = np.unique(seen.people, return_index=True, return_counts=True)
    origins = seen.groups[first]
    kinds = [(photos >= how.several) & ((origins != "") == known) for known in (False, True)]
    kinds += [(photos == 1) & (origins == origin) for origin in np.unique(origins[origins != ""])]
    chosen: list[np.ndarray] = []
    for number, kind in enumerate(kinds):
        count = min(round(how.checked * kind.sum()), how.most)
        if number < 2 or count >= how.least:
            chosen.append(rng.permutation(people[kind])[:count])
    for where, found in zip(("labelled sets", "set of strangers"), chosen, strict=False):
        if len(found) < 2:
            raise errors.InputError(
                f"pretrain/data: of the people with {how.several} photos or more in the {where}, "
                f"{len(found)} can be held back to look at, and 2 are needed; train_on.several and "
                "train_on.checked in params.yaml say how many"
            )
    if len(chosen) == 2:
        raise errors.InputError(
            f"pretrain/data: of no origin {how.least} strangers can be held back to look at; "
            "train_on.least and train_on.checked in params.yaml say how many"
        )
    return np.isin(seen.people, np.concatenate(chosen))


def whitened(raw: np.ndarray, seen: Photos, used: np.ndarray, settings: recipe.Recipe) -> Whitening:
    """The whitening of the `used` photos: strangers of each origin, and people with several."""
    _, person, photos = np.unique(seen.people, return_inverse=True, return_counts=True)
    alone = photos[person] == 1
    origins = origins_of(seen, used, settings.fit.least)
    mean = raw[np.logical_or.reduce(origins)].mean(axis=0)
    cells = [Cell(raw[rows] - mean, person[rows]) for rows in [*origins, used & ~alone]]
    how = settings.train_on
    near = [cleaned(cell, settings.fit.far) for cell in cells]
    nothing = np.zeros((EMBEDDING, EMBEDDING))
    return Whitening(mean, whitening(near, how.ridge, how.groups, EMBEDDING, nothing))


def origins_of(seen: Photos, used: np.ndarray, least: int) -> list[np.ndarray]:
    """Which of the `used` photos (n,) are of strangers of an origin, a mask for each large one.

    Raises InputError where no origin has `least` of them.
    """
    _, person, photos = np.unique(seen.people, return_inverse=True, return_counts=True)
    strangers_of = (
        used & (photos[person] == 1) & (seen.groups == group)
        for group in np.unique(seen.groups[seen.groups != ""])
    )
    large = [chosen for chosen in strangers_of if chosen.sum() >= least]
    if not large:
        raise errors.InputError(
            f"pretrain/data: no origin has {least} strangers to learn from; fit.least in "
            "params.yaml says how many"
        )
    return large


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


def learner_of(upper: keras.Model, comparison: Whitening) -> keras.Model:
    """What is trained: what the layers that stay give -> whitened embeddings (B, EMBEDDING)."""
    last = layers.Dense(EMBEDDING, trainable=False, name="whitening")
    learner = keras.Model(upper.input, last(layers.Flatten()(upper.output)), name="learner")
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
    """One epoch's batches: maps (B, height, width, c) and targets (B, 1 + EMBEDDING).

    A batch depends on the seed, the epoch and its index alone, so that a resumed run sees what an
    undisturbed one would.
    """

    def __init__(
        self,
        maps: tuple[np.ndarray, np.ndarray],
        targets: Targets,
        rows: np.ndarray,
        epoch: int,
        how: recipe.TrainOn,
    ) -> None:
        """Take the rows to learn from, and the epoch's number, from 0."""
        super().__init__()
        self._maps, self._targets, self._epoch, self._how = maps, targets, epoch, how
        rng = np.random.default_rng((how.seed, epoch))
        self._rows = rng.choice(rows, how.photos // how.batch_size * how.batch_size)

    def __len__(self) -> int:
        """The batches of an epoch."""
        return len(self._rows) // self._how.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The maps and the targets of a batch."""
        how, targets = self._how, self._targets
        rows = self._rows[index * how.batch_size :][: how.batch_size]
        rng = np.random.default_rng((how.seed, self._epoch, index))
        on_card = rng.random(len(rows)) < how.cards
        maps = self._maps[0][rows]
        maps[on_card] = self._maps[1][rows[on_card]]
        own, centres = targets.own[rows], targets.centres[targets.person[rows]]
        wanted = units((1 - how.person_share) * own + how.person_share * centres)
        wanted = np.concatenate([targets.person[rows, None], wanted], axis=1)
        return maps, wanted.astype(np.float32)


def prepare(learner: keras.Model, centres: np.ndarray, how: recipe.TrainOn) -> None:
    """Compile the learner for the whole training."""
    steps = how.epochs * (how.photos // how.batch_size)
    chosen = students.optimizer(how.lr, 0.0, steps)
    loss = loss_of(centres, how)
    learner.compile(chosen, loss, jit_compile=keras.backend.backend() == "jax")
    chosen.build(learner.trainable_variables)


def train(
    learner: keras.Model,
    checkpoint: Checkpoint,
    learnt: tuple[tuple[np.ndarray, np.ndarray], Targets, np.ndarray],
    figures: Callable[[], dict[str, float]],
    how: recipe.TrainOn,
    live: Live,
) -> None:
    """Train from the checkpoint on; `learnt` are maps, targets and the rows to learn from."""
    for logs in checkpoint.history:
        report(live, logs, how.epochs)
    for epoch in range(len(checkpoint.history), how.epochs):
        batches = Batches(*learnt, epoch, how)
        fitted = learner.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[Steps(epoch)])
        checkpoint.finish_epoch({"loss": fitted.history["loss"][0]} | figures())
        report(live, checkpoint.history[-1], how.epochs)


def run_of(seen: Photos, settings: recipe.Recipe) -> str:
    """The hash of a run: of all that its results depend on."""
    return run_hash(
        Path(__file__),
        settings.train_on.model_dump_json(),
        settings.fit.model_dump_json(),
        repr(recipe.card_effects()),
        bring_edgeface.FOLDER / bring_edgeface.WEIGHTS,
        "\n".join([*seen.people, *seen.groups]),
        *seen.paths,
    )


def measured(
    upper: keras.Model,
    maps: tuple[np.ndarray, np.ndarray],
    seen: Photos,
    checked: np.ndarray,
    settings: recipe.Recipe,
) -> dict[str, float]:
    """How people from whom nothing is learnt are told apart, by photos and by cards.

    A pair is a photo, or a card, and another photo, both whitened as the others' photos say. For
    people with several photos, of the sets without and of the one with origins (`celeba`,
    `others`): the share of genuine pairs above the cosine that 1% and 0.1% of the impostor pairs
    exceed, and above the one that 0.1% of the strangers of the worst origin exceed, on photos or on
    cards (`strangers`).
    """
    how, rows = settings.train_on, np.flatnonzero(checked)
    everybody = embedded(upper, maps[0])
    comparison = whitened(everybody, seen, ~checked, settings)
    photos, cards = comparison(everybody[rows]), comparison(embedded(upper, maps[1][rows]))
    groups = seen.groups[rows]
    _, person, count = np.unique(seen.people[rows], return_inverse=True, return_counts=True)
    several, alone = count[person] >= how.several, count[person] == 1
    same = person[:, None] == person
    other = ~np.eye(len(rows), dtype=bool)  # neither a photo with itself nor with its own card

    def pairs_of(chosen: np.ndarray) -> np.ndarray:
        return chosen[:, None] & chosen & other

    origins = [alone & (groups == group) for group in np.unique(groups[groups != ""])]
    origins = [chosen for chosen in origins if chosen.sum() >= how.least]
    conditions = {"photo": photos @ photos.T, "card": cards @ photos.T}
    worst = max(
        np.quantile(cosines[pairs_of(of)], 1 - FMR)
        for cosines in conditions.values()
        for of in origins
    )
    kinds = {"celeba": several & (groups == ""), "others": several & (groups != "")}
    figures = {}
    for condition, cosines in conditions.items():
        for kind, chosen in kinds.items():
            genuine, impostor = (cosines[pairs_of(chosen) & as_one] for as_one in (same, ~same))
            limits = {"1pct": np.quantile(impostor, 0.99), "01pct": np.quantile(impostor, 1 - FMR)}
            for name, limit in (limits | {"strangers": worst}).items():
                figures[f"val_{kind}_{condition}_tar_{name}"] = float((genuine > limit).mean())
    return figures


def embedded(upper: keras.Model, maps: np.ndarray) -> np.ndarray:
    """The embeddings, (n, EMBEDDING), of what the layers that stay make of n pictures."""
    found = [upper.predict_on_batch(maps[part]) for part in parts(len(maps))]
    return np.concatenate(found).reshape(-1, EMBEDDING)


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
    texts = []
    for condition in ("photo", "card"):
        numbers = " ".join(
            f"{figures[f'val_{kind}_{condition}_tar_{limit}']:.3f}"
            for kind in ("celeba", "others")
            for limit in ("1pct", "01pct", "strangers")
        )
        texts.append(f"{condition}: {numbers}")
    return "accepted of genuine pairs at FMR 1%, 0.1%, and 0.1% of strangers, " + ", ".join(texts)


if __name__ == "__main__":
    script.run(main)
