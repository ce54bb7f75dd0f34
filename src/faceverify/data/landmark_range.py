"""Landmarks as regression targets: scaled to canvas pixels, then to [0, 1]."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceverify.base.errors import InputError
from faceverify.base.files import read_json, write_json
from faceverify.faces.aligned_photos import CANVAS_SIZE, FARTHEST, PHOTO_HEIGHT, PHOTO_WIDTH
from faceverify.faces.landmarks import LANDMARK_NUMBERS, POINTS

# Factors from photo pixels to canvas pixels, for the 68 x's and then the 68 y's.
CANVAS_SCALE = np.repeat([CANVAS_SIZE / PHOTO_WIDTH, CANVAS_SIZE / PHOTO_HEIGHT], POINTS)


class LandmarkRange(NamedTuple):
    """The range of each of the 136 coordinates in canvas pixels: minima and maxima, (136,) each."""

    minimum: np.ndarray
    maximum: np.ndarray

    @classmethod
    def fit(cls, landmarks: np.ndarray) -> "LandmarkRange":
        """The range of landmarks in photo pixels, (n, 136), n at least 1."""
        canvas = np.asarray(landmarks) * CANVAS_SCALE
        return cls(canvas.min(axis=0), canvas.max(axis=0))

    @property
    def span(self) -> np.ndarray:
        """Width of each coordinate's range, at least 1 pixel to avoid division by zero."""
        return np.maximum(self.maximum - self.minimum, 1.0)

    def normalize(self, landmarks: np.ndarray) -> np.ndarray:
        """Photo pixels (..., 136) to targets, float32 in [0, 1]; values outside are clipped."""
        scaled = (np.asarray(landmarks) * CANVAS_SCALE - self.minimum) / self.span
        return np.clip(scaled, 0, 1).astype(np.float32)

    def denormalize(self, targets: np.ndarray) -> np.ndarray:
        """Targets or model outputs (..., 136) to photo pixels, float64."""
        return (np.asarray(targets, np.float64) * self.span + self.minimum) / CANVAS_SCALE

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, {name: value.tolist() for name, value in self._asdict().items()})

    @classmethod
    def load(cls, path: Path) -> "LandmarkRange":
        """Read a range that `save` wrote; InputError, naming the file, for anything else."""
        values = read_json(path)
        try:
            limits = cls(*(np.array(values[name], np.float64) for name in cls._fields))
        except (KeyError, TypeError, ValueError, OverflowError):
            limits = None
        shape = (LANDMARK_NUMBERS,)
        if (
            limits is None
            or any(v.shape != shape or not (np.abs(v) <= FARTHEST).all() for v in limits)
            or (limits.minimum > limits.maximum).any()
        ):
            raise InputError(f"{path} does not hold two times {LANDMARK_NUMBERS} numbers in order")
        return limits
