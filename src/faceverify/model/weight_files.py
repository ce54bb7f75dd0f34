"""Weight files of Keras models, `.weights.h5`: read as plain numbers only, and written."""

import os
import re
from collections import Counter
from pathlib import Path

import h5py
import keras
import numpy as np

from faceverify.base.digests import check_checksum, digest
from faceverify.base.errors import InputError

# What h5py and Keras raise for a file that holds no weights, or others.
_FAULTS = (OSError, ValueError, LookupError, TypeError, RuntimeError)


def load_weights(model: keras.Model, path: Path) -> None:
    """Give a model the weights of a file, which are plain numbers: nothing in it can run as code.

    Raises InputError for a file that is missing, damaged or of another architecture, that links
    to another file, or has a weight that is not finite. HDF5 itself may crash on a damaged file:
    check the file's hash before.
    """
    try:
        with h5py.File(path) as file:
            stored = _stored_shapes(file)
        # Keras itself would pass over weights that the model has no place for.
        if stored.total() != len(model.weights):
            raise ValueError(f"{stored.total()} arrays for {len(model.weights)} weights")
        if stored != shapes_of(model):
            raise ValueError("its arrays have other shapes")
        model.load_weights(path)
        if not all(np.isfinite(weight).all() for weight in model.get_weights()):
            raise ValueError("a weight is not a finite number")
    except _FAULTS as error:
        raise InputError(f"{path} does not fit the {model.name}: {error}") from None


def shapes_in(path: Path) -> Counter[tuple[int, ...]]:
    """How many arrays of each shape a weight file holds; their numbers are not read.

    Raises InputError for a file that is not what its checksum says, or holds other things.
    """
    check_checksum(path)
    try:
        with h5py.File(path) as file:
            return _stored_shapes(file)
    except _FAULTS as error:
        raise InputError(f"{path} is no weight file: {error}") from None


def shapes_of(model: keras.Model) -> Counter[tuple[int, ...]]:
    """How many weights of each shape a model has."""
    return Counter(tuple(weight.shape) for weight in model.weights)


def _stored_shapes(file: h5py.File) -> Counter[tuple[int, ...]]:
    """The shapes of a file's arrays; ValueError for a link, or what is no plain array in it."""
    # A visitor that raises makes h5py raise SystemError; one that returns something stops.
    leads_away = file.visititems_links(
        lambda name, link: None if isinstance(link, h5py.HardLink) else name
    )
    if leads_away:
        raise ValueError(f"{leads_away} is a link")
    items: list[h5py.HLObject] = []
    file.visititems(lambda _, item: items.append(item))
    arrays = [item for item in items if isinstance(item, h5py.Dataset)]
    for array in arrays:
        # No chunks means no filters either, which could be code or unpack enormously.
        if array.external or array.is_virtual or array.chunks or array.dtype.kind != "f":
            raise ValueError(f"{array.name} is not a plain array of numbers in this file")
    return Counter(array.shape for array in arrays)


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights to a file; OSError with its number, such as that of a full disk."""
    try:
        model.save_weights(path)
    except (OSError, RuntimeError) as error:
        # HDF5 says so only in the text of errors of its own.
        code = re.search(r"errno = (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


def write_checksum(path: Path) -> None:
    """Write `<path>.sha256` beside a weight file, in the form that `sha256sum --check` reads."""
    line = f"{digest(path)}  {path.name}\n"
    path.with_name(f"{path.name}.sha256").write_text(line, encoding="utf-8")
