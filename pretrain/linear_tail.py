"""A linear tail: EdgeFace's last layers, then one matrix that is fitted to embeddings.

The matrix begins as W = S^(-1/2) of the embeddings less the mean of strangers, with S = within +
ridge x mean eigenvalue + groups x between: the scatters of photos about their person's mean, and
of the means of people of one origin (A. Hatch et al., "Within-class covariance normalization",
2006). It then learns to accept as many genuine pairs as it can at the cosine that strangers of
any one origin hardly exceed.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from faceverify.base import errors
from recipe import Fit, Fitted

LARGEST = 0.3  # input of the tail's last tanh, which makes up to 3% less of it
EACH = 4  # photos of a person in a batch
BATCH = 36 * EACH  # photos of each cell
SHARPNESS = 20.0  # of the soft maximum over impostors' cosines, and of the step at the threshold
ALIKE = 0.8  # cosine above which two strangers are taken for one person, seen twice


class Ending(NamedTuple):
    """EdgeFace after its last feature maps, or a tail on them: maps -> c numbers -> n."""

    filters: np.ndarray  # (height, width, c): one for each map, as large as the map
    filters_bias: np.ndarray  # (c,)
    matrix: np.ndarray  # (c, n)
    bias: np.ndarray  # (n,)

    @classmethod
    def of(cls, network: keras.Model, maps: tuple[int, ...]) -> "Ending":
        """That of EdgeFace: the mean over maps (height, width, c), two linear layers as one."""
        low, last, bias = (array.astype(np.float64) for array in network.get_weights()[-3:])
        filters = np.full(maps, 1 / math.prod(maps[:2]))
        return cls(filters, np.zeros(maps[2]), low[0, 0] @ last[0, 0], bias)

    def read(self, maps: np.ndarray) -> np.ndarray:
        """A number for each map, (B, c), of feature maps (B, height, width, c)."""
        return np.einsum("bhwc,hwc->bc", maps, self.filters, optimize=True) + self.filters_bias

    def embed(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of the maps (B, c) -> (B, n)."""
        return numbers @ self.matrix + self.bias


class Cell(NamedTuple):
    """Photos whose people are compared with each other: of one origin, or of one photo set."""

    embedded: np.ndarray  # (m, n)
    identities: np.ndarray  # (m,)

    @property
    def several(self) -> bool:
        """Whether there are people with several photos."""
        return len(np.unique(self.identities)) < len(self.identities)

    @property
    def people(self) -> np.ndarray:
        """The people with EACH photos or more."""
        people, photos = np.unique(self.identities, return_counts=True)
        return people[photos >= EACH]


def fit(
    ending: Ending,
    cells: list[Cell],
    how: Fit,
    member: Fitted,
    cards: np.ndarray | None = None,
) -> Ending:
    """The tail that follows `ending`, fitted to cells of its embeddings.

    `cards` is a scatter (n, n) that is added to the one within people: of what a card changes.
    Raises InputError for a cell with too few people for a batch.
    """
    strangers = np.concatenate([cell.embedded for cell in cells if not cell.several])
    mean = strangers.mean(axis=0)
    size = np.sqrt(np.square(strangers - mean).sum(axis=1).mean())
    moved = [cell._replace(embedded=(cell.embedded - mean) / size) for cell in cells]
    used = [cleaned(cell, how.far) for cell in moved]
    for cell in used:
        if (len(cell.people) * EACH if cell.several else len(cell.identities)) < BATCH:
            raise errors.InputError(
                f"pretrain/data: a fit needs {BATCH} strangers of an origin, and {BATCH // EACH} "
                f"people with {EACH} photos in a set where people have several"
            )
    apart = np.zeros((len(mean), len(mean))) if cards is None else cards / size**2
    (units,) = member.tail_units
    start = whitening(used, member.ridge, member.groups, units, apart)
    matrix, bias = learnt(start, used, how, member.seed)
    inputs = np.concatenate([cell.embedded for cell in moved]) @ matrix + bias
    factor = LARGEST / np.abs(inputs).max()
    matrix, bias = factor * matrix / size, factor * bias
    return ending._replace(matrix=ending.matrix @ matrix, bias=(ending.bias - mean) @ matrix + bias)


def cleaned(cell: Cell, far: float) -> Cell:
    """Without the photos whose cosine with the mean of their person's is less than `far`."""
    units = cell.embedded / np.linalg.norm(cell.embedded, axis=1, keepdims=True)
    near = (units * _unit(_means(units, cell.identities))).sum(axis=1) >= far
    return Cell(cell.embedded[near], cell.identities[near])


def whitening(
    cells: list[Cell], ridge: float, groups: float, units: int, cards: np.ndarray
) -> np.ndarray:
    """W (n, units) of the module's text, its columns in the order of how strangers spread.

    `cards` is what the scatter of what cards change adds to that within people, (n, n).
    """
    several = [cell for cell in cells if cell.several]
    apart = np.concatenate([c.embedded - _means(c.embedded, c.identities) for c in several])
    strangers = [cell.embedded for cell in cells if not cell.several]
    means = np.stack([embedded.mean(axis=0) for embedded in strangers])
    within, between = scatter(apart) + cards, scatter(means - means.mean(axis=0))
    little = ridge * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within + little + groups * between)
    matrix = vectors / np.sqrt(values)
    spread, turned = np.linalg.eigh(scatter(np.concatenate(strangers) @ matrix))
    return matrix @ turned[:, ::-1][:, :units] / np.sqrt(spread.sum())


def scatter(rows: np.ndarray) -> np.ndarray:
    """The mean of the outer squares of rows (m, n): (n, n)."""
    return rows.T @ rows / len(rows)


def learnt(
    matrix: np.ndarray, cells: list[Cell], how: Fit, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The matrix (n, units) after its training, and a bias (units,)."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((BATCH, len(matrix))), keras.layers.Dense(matrix.shape[1])]
    )
    model.set_weights([matrix, np.zeros(matrix.shape[1])])
    rate = keras.optimizers.schedules.CosineDecay(how.lr, how.steps)
    model.compile(keras.optimizers.Adam(rate), refused)
    model.fit(Batches(cells, how.steps, seed), shuffle=False, verbose=0)
    return tuple(array.astype(np.float64) for array in model.get_weights())


class Batches(keras.utils.PyDataset):
    """Embeddings (cells, BATCH, n) and who they are, drawn anew for each step."""

    def __init__(self, cells: list[Cell], steps: int, seed: int) -> None:
        """Take cells of at least BATCH people with one photo, or some with EACH or more."""
        super().__init__()
        self._cells, self._steps, self._seed = cells, steps, seed

    def __len__(self) -> int:
        """The number of steps."""
        return self._steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of a step."""
        rng = np.random.default_rng((self._seed, index))
        rows = [_drawn(cell, rng) for cell in self._cells]
        pairs = list(zip(self._cells, rows, strict=True))
        return (
            np.stack([cell.embedded[r] for cell, r in pairs]).astype(np.float32),
            np.stack([np.unique(cell.identities[r], return_inverse=True)[1] for cell, r in pairs]),
        )


def _drawn(cell: Cell, rng: np.random.Generator) -> np.ndarray:
    """BATCH rows of a cell: of strangers, or EACH of as many people as that makes."""
    if not cell.several:
        return rng.choice(len(cell.embedded), BATCH, replace=False)
    chosen = rng.choice(cell.people, BATCH // EACH, replace=False)
    rows = (np.flatnonzero(cell.identities == person) for person in chosen)
    return np.concatenate([rng.choice(of_one, EACH, replace=False) for of_one in rows])


def refused(identities, tails):
    """The loss: a smooth share of genuine pairs refused where hardly a stranger is accepted.

    `identities` (cells, n), `tails` (cells, n, units). A cell's threshold is the soft maximum of
    its impostors' cosines, the loss's that of the cells'.
    """
    units = ops.normalize(tails, axis=-1)
    cosines = ops.matmul(units, ops.transpose(units, (0, 2, 1)))  # (cells, n, n)
    same = identities[:, :, None] == identities[:, None, :]
    impostor = ops.cast(ops.logical_and(~same, cosines < ALIKE), "float32")
    likeness = ops.sum(ops.exp(SHARPNESS * cosines) * impostor, axis=(1, 2))
    thresholds = ops.log(likeness / ops.sum(impostor, axis=(1, 2))) / SHARPNESS  # (cells,)
    threshold = ops.logsumexp(SHARPNESS * thresholds) / SHARPNESS
    genuine = ops.cast(same, "float32") - ops.eye(tails.shape[1])
    missed = ops.sigmoid(SHARPNESS * (threshold - cosines))
    return ops.sum(genuine * missed) / ops.sum(genuine)


def _means(rows: np.ndarray, identities: np.ndarray) -> np.ndarray:
    """For each row (m, n) the mean of its person's."""
    _, person, photos = np.unique(identities, return_inverse=True, return_counts=True)
    sums = np.zeros((len(photos), rows.shape[1]))
    np.add.at(sums, person, rows)
    return (sums / photos[:, None])[person]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
