"""Calibration: the constants that scale the members' angles, and the thresholds that go with them.

The constants are those of `model.network.Calibration`. The shipped ones come with the weights; on
request they are fitted anew, to the training people at hand.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import ops

from faceverify.base.errors import InputError
from faceverify.base.files import read_json
from faceverify.base.schema import Calibration, OperatingPoint, check
from faceverify.model.network import angle

SHIPPED = Path("pretrained/thresholds.json")  # those of the shipped weights, by false match rate
RATES = (0.01, 0.001, 0.0001)  # of different people accepted, whose thresholds are stated
FMR = 0.001  # at the accepting threshold
LEAST = 10  # pairs below a threshold, for its rate to be told
MOST_PHOTOS = 3000  # of the training people, evenly chosen, whose pairs are compared
_LAYER = "calibration"


def shipped(towers: Mapping[str, keras.Model]) -> Calibration:
    """The members' constants as they are, and the thresholds stated with the shipped weights."""
    constants = {name: constant_of(tower) for name, tower in towers.items()}
    stated = read_json(SHIPPED)
    check(list[OperatingPoint], stated, str(SHIPPED))
    return Calibration(kind="shipped", constants=constants, thresholds=stated)


def constant_of(tower: keras.Model) -> float | None:
    """A tower's constant; None for one whose angles are not calibrated."""
    if all(layer.name != _LAYER for layer in tower.layers):
        return None
    return round(float(tower.get_layer(_LAYER).get_weights()[0][0]), 6)


def set_constants(towers: Mapping[str, keras.Model], constants: Mapping[str, float | None]) -> None:
    """Give towers their constants; None leaves one as it is."""
    for name, tower in towers.items():
        if constants[name] is not None:
            tower.get_layer(_LAYER).set_weights([np.array([constants[name]], np.float32)])


class Strangers:
    """Pairs of different people among some photos."""

    def __init__(self, identities: np.ndarray) -> None:
        """Take who is on each photo, (n,)."""
        count = len(identities)
        self._rows = np.linspace(0, count - 1, min(count, MOST_PHOTOS)).astype(int)
        first, second = np.triu_indices(len(self._rows), 1)
        who = identities[self._rows]
        apart = who[first] != who[second]
        self._pairs = first[apart], second[apart]

    def angles(self, tails: np.ndarray) -> np.ndarray:
        """The pairs' angles, (P,), by the photos' tails (n, units)."""
        own = tails[self._rows]
        return ops.convert_to_numpy(angle(*(own[rows] for rows in self._pairs)))

    def fitted_constant(self, tails: np.ndarray, theta: float) -> float:
        """The constant by which FMR of the pairs lie below theta, in radians.

        `tails` (n, units + 1) are calibrated in any way. Raises InputError for too few pairs, and
        where no constant brings the most alike of them to theta.
        """
        found = threshold(self.angles(tails[:, :-1]), FMR)
        if found is None:
            raise InputError(
                f"calibration: fitted needs {LEAST / FMR:,.0f} pairs of different training people; "
                f"there are {len(self._pairs[0]):,}"
            )
        squared = (math.cos(theta) - math.cos(found)) / (1 - math.cos(theta))
        if not squared >= 0:
            raise InputError(
                f"calibration: {FMR:.1%} of different training people are closer than an "
                f"accept_threshold of {theta:g}; shipped keeps the constants as they are"
            )
        return round(math.sqrt(squared), 6)


def threshold(thetas: np.ndarray, rate: float) -> float | None:
    """The angle below which a share of thetas (P,) of different people lie.

    None where fewer than LEAST would be.
    """
    count = int(rate * len(thetas))
    return round(float(np.partition(thetas, count)[count]), 6) if count >= LEAST else None


def thresholds(thetas: np.ndarray) -> list[OperatingPoint]:
    """The thresholds of RATES, from thetas (P,) of different people."""
    return [OperatingPoint(fmr=rate, threshold=threshold(thetas, rate)) for rate in RATES]
