"""Fit the tail of a member's tower on EdgeFace once more: to photos and views of cards."""

import math
import os
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

import bring_edgeface
import card_views
import recipe
import strangers
from faceverify.base import files
from faceverify.cards.effects import Effects
from faceverify.cards.phone import generator
from faceverify.faces.aligned_photos import to_canvas
from faceverify.model.network import build_tower
from faceverify.runs import script
from fit_tower import (
    CELLS,
    brought,
    calibrate,
    cells_of,
    figures_of,
    framed,
    named,
    outputs,
    parts,
    set_tail,
    shape,
)
from linear_tail import Cell, Ending, fit, scatter
from people import learnt_and_unseen
from strangers import People
from train_tower import FIGURES, save

TAIL = Path("tail")
SEED = 2356  # of which photos are put on a card, and of the cards


class Views(NamedTuple):
    """What a tail reads of n photos, and of k cards on which some of them are."""

    photos: np.ndarray  # numbers of the maps (n, c), see `Ending.read`
    cards: np.ndarray  # (k, c)
    rows: np.ndarray  # (k,): the photo that is on a card

    def of(self, chosen: np.ndarray) -> "Views":
        """Those of a mask (n,), and their cards."""
        kept = chosen[self.rows]
        rows = (np.cumsum(chosen) - 1)[self.rows[kept]]
        return Views(self.photos[chosen], self.cards[kept], rows)


class OnCard(NamedTuple):
    """What becomes of a photo: the canvas of its face on a photo of a card."""

    effects: Effects

    def __call__(self, path: Path) -> np.ndarray:
        """The canvas, uint8 (218, 218, 3); all of chance is drawn from the photo's name."""
        return to_canvas(card_views.view(framed(path), self.effects, generator(SEED, path.name)))


def main() -> None:
    """Write the tower's weights, in float16, and figures for the member that is named."""
    name, member, how = named()
    cv2.setNumThreads(1)  # the threads of the network are enough
    learnt, unseen = learnt_and_unseen()
    others = strangers.read(recipe.DATA / how.strangers)
    brain = brought(bring_edgeface.CUT, bring_edgeface.BRAIN)
    weights = recipe.TOWER / name / recipe.fitted_weights(name)
    tower = build_tower(brain.output_shape[1:], shape(member), member.seed, str(weights))
    before = ending_of(tower)
    known, foreign, shown = (
        views(brain, before, photos.paths, how.cards) for photos in (learnt, others, unseen)
    )

    fitting = foreign.of(~others.held_out), others.of(~others.held_out)
    tail = refit(before, (known, learnt.identities), fitting, how, member)
    set_tail(tower, tail)
    likeness = worst_likeness(tail, *fitting, how)
    calibrate(tower, max(likeness.values()), how.theta)
    save(tower, shape(member), TAIL / name / recipe.fitted_weights(name))
    held = others.of(others.held_out)
    tails = np.tanh(tail.embed(foreign.photos[others.held_out]))
    figures = figures_of(tower, (outputs(brain, unseen.paths), unseen), learnt, how.theta)
    figures |= card_figures(tower, tail, shown, unseen.identities, how.theta)
    figures["likeness"] = likeness
    figures["val_strangers"] = strangers.accepted(tails, held, max(likeness.values()))
    files.write_json(FIGURES / f"{name}.json", figures, indent=2)
    print(f"{name}: {figures}")


def ending_of(tower: keras.Model) -> Ending:
    """A tower's tail without the calibration."""
    filters, filters_bias = tower.get_layer("tail_depthwise").get_weights()
    matrix, bias = tower.get_layer("tail0").get_weights()
    return Ending(*(a.astype(np.float64) for a in (filters[..., 0], filters_bias, matrix, bias)))


def views(brain: keras.Model, ending: Ending, paths: np.ndarray, most: int) -> Views:
    """What the ending reads of photos, and of cards with at most so many of them."""
    rows = np.sort(np.random.default_rng(SEED).permutation(len(paths))[:most])

    def numbers(maps: np.ndarray) -> np.ndarray:
        return np.concatenate([ending.read(maps[part]) for part in parts(len(maps))])

    on_card = OnCard(recipe.card_effects())
    cards = numbers(outputs(brain, paths[rows], on_card))
    return Views(numbers(outputs(brain, paths)), cards, rows)


def refit(
    before: Ending,
    known: tuple[Views, np.ndarray],
    foreign: tuple[Views, People],
    how: recipe.Fit,
    member: recipe.Fitted,
) -> Ending:
    """The tail fitted to labelled photos (views, identities) and to strangers, and their cards.

    What people of one origin have in common is small in `before` already.
    """
    (labelled, identities), (viewed, people) = known, foreign
    embedded = before.embed(viewed.photos)
    embedded[viewed.rows] = before.embed(viewed.cards)  # a stranger with a card is there by it
    *cells, _ = cells_of(embedded, people, how.least)
    cells.append(together(before, viewed.of(~people.alone), people.identities[~people.alone]))
    cells += CELLS * [together(before, labelled, identities)]
    changes = np.concatenate(
        [
            before.embed(seen.cards) - before.embed(seen.photos[seen.rows])
            for seen in (labelled, viewed)
        ]
    )
    again = member.model_copy(update={"ridge": how.ridge, "groups": 0.0})
    return fit(before, cells, how, again, how.card_weight * scatter(changes))


def together(ending: Ending, seen: Views, identities: np.ndarray) -> Cell:
    """A cell of people with several photos, which their cards add to."""
    numbers = np.concatenate([seen.photos, seen.cards])
    return Cell(ending.embed(numbers), np.concatenate([identities, identities[seen.rows]]))


def worst_likeness(tail: Ending, seen: Views, people: People, how: recipe.Fit) -> dict[str, float]:
    """The cosine that `how.fmr` of a group's strangers exceed: of two photos, or card and photo."""
    photos, cards = (np.tanh(tail.embed(numbers)) for numbers in (seen.photos, seen.cards))
    likeness = strangers.likeness(photos, people, how.fmr, how.least)
    on_cards = strangers.card_likeness(
        (photos, people), (cards, people.of(seen.rows)), how.fmr, how.least
    )
    return {group: max(cosine, on_cards.get(group, -1.0)) for group, cosine in likeness.items()}


def card_figures(
    tower: keras.Model, tail: Ending, seen: Views, identities: np.ndarray, theta: float
) -> dict[str, float]:
    """How the tower tells cards of held-out people from photos other than the card's own."""
    photos, cards = (
        np.asarray(keras.ops.normalize(tower.get_layer("calibration")(np.tanh(tail.embed(n)))))
        for n in (seen.photos, seen.cards)
    )
    cosines = cards @ photos.T
    same = identities[seen.rows][:, None] == identities
    own = seen.rows[:, None] == np.arange(len(photos))
    genuine, impostor = cosines[same & ~own], cosines[~same]
    return {
        "val_card_tar_at_fmr_1pct": float((genuine > np.quantile(impostor, 0.99)).mean()),
        "val_card_tar_at_fmr_01pct": float((genuine > np.quantile(impostor, 0.999)).mean()),
        "val_card_tar_at_theta": float((genuine > math.cos(theta)).mean()),
        "val_card_fmr_at_theta": float((impostor > math.cos(theta)).mean()),
    }


if __name__ == "__main__":
    script.run(main)
