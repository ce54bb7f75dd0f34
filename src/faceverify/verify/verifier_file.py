"""The exported verifier, read and run without TensorFlow: `verifier.json` and its `.tflite`."""

import hashlib
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner
from pydantic import Field, model_validator

from faceverify.base.errors import InputError, MadeFileError
from faceverify.base.files import content, parse_json, path_inside
from faceverify.base.quiet import held_stderr
from faceverify.base.schema import (
    Angle,
    Capture,
    Digest,
    Group,
    MemberName,
    Number,
    Share,
    checked,
)
from faceverify.verify.face_networks import FaceNetworks, Finder, Mesh, loading

FORMAT = 2
SIGNATURES = {
    "compare": {"inputs": ["first", "second"], "outputs": ["theta", "thetas"]},
    "embed": {"inputs": ["photos"], "outputs": ["embedding"]},
}
# Most photos and most comparisons of one call of the model, so that memory is bounded.
PHOTOS_AT_ONCE, COMPARED_AT_ONCE = 8, 4096
# Most bytes of a `verifier.json`: real ones have a few thousand, and pydantic needs a kilobyte of
# memory for each wrong value.
LARGEST = 2**18

_Model = TypeVar("_Model")
Position = Annotated[list[Number], Field(min_length=2, max_length=2)]
Size = Annotated[int, Field(ge=1)]


class NamedFile(Group):
    """A file's name, SHA-256 and size in bytes."""

    file: Annotated[str, Field(min_length=1)]
    sha256: Digest
    bytes: Size


class Alignment(Group):
    """Where an aligned photo has the five points, (x, y) in pixels; sides are the person's."""

    right_eye: Position
    left_eye: Position
    nose_tip: Position
    mouth_right: Position
    mouth_left: Position


class Input(Group):
    """Input of `embed`: photos aligned to one size, then stretched to the canvas; pixels."""

    aligned_width: Size
    aligned_height: Size
    canvas_width: Size
    canvas_height: Size
    channels: Literal["RGB"]
    type: Literal["uint8"]
    alignment: Alignment


class Member(Group):
    """A member of the ensemble: its weight, and its tail's length within an embedding."""

    name: MemberName
    weight: Share
    tail: Size


class Parity(Group):
    """How far the file is from the float32 models, measured on the validation pairs.

    `max_delta_theta`: largest difference of theta by model, in radians, at most `limit`.
    `changed_decisions`: pairs that the ensemble decides otherwise at the threshold;
    `changed_outside`: those of them whose theta is further than `limit` from the threshold.
    """

    pairs: Annotated[int, Field(ge=0)]
    limit: Angle
    max_delta_theta: dict[MemberName, Angle]
    changed_decisions: Annotated[int, Field(ge=0)]
    changed_outside: Annotated[int, Field(ge=0)]


class VerifierDescription(Group):
    """The contents of `verifier.json`.

    `threshold`: below this theta, in radians, two photos are accepted as one person. `inputs`:
    SHA-256 of the files that the export was made of. `metrics`: the ensemble's figures.
    """

    format: Literal[FORMAT]
    model: NamedFile
    finder: NamedFile
    mesh: NamedFile
    input: Input
    threshold: Angle
    members: Annotated[list[Member], Field(min_length=1)]
    capture: Capture
    metrics: dict[str, Number | None]
    parity: Parity
    inputs: dict[str, Digest]
    licences: list[str]

    @model_validator(mode="after")
    def _different_members(self) -> "VerifierDescription":
        names = [member.name for member in self.members]
        if len(set(names)) < len(names):
            raise ValueError("two members have one name")
        return self


class Network:
    """The model file, run by LiteRT; may be called from several threads at once."""

    def __init__(self, data: bytes) -> None:
        """Take a model file's bytes; ValueError for those of no model with the two signatures."""
        with loading, held_stderr():  # LiteRT tells of its processor delegate
            interpreter = Interpreter(model_content=data, num_threads=1)
            interpreter.allocate_tensors()
        if interpreter.get_signature_list() != SIGNATURES:
            raise ValueError("its signatures are not those of a verifier")
        self._lock = threading.Lock()
        self._embed = interpreter.get_signature_runner("embed")
        self._compare = interpreter.get_signature_runner("compare")
        self.photo_shape = _shape(self._embed, "photos")
        (self.units,) = _shape(self._compare, "first")
        self.members = int(self._compare.get_output_details()["thetas"]["shape"][-1])

    def embed(self, canvases: np.ndarray) -> np.ndarray:
        """Embed aligned photos, uint8 (B, 218, 218, 3) -> float32 (B, N)."""
        _check(canvases, np.uint8, self.photo_shape, "photos")
        found = np.empty((len(canvases), self.units), np.float32)
        for part in _parts(len(canvases), PHOTOS_AT_ONCE):
            with self._lock:
                found[part] = self._embed(photos=canvases[part])["embedding"]
        return found

    def compare(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Measure the angles between pairs of embeddings, float32 (B, N) each.

        Gives theta (B,), the ensemble's, and thetas (B, members), in radians, [0, pi]. Low means
        same person.
        """
        for vectors, name in ((first, "first"), (second, "second")):
            _check(vectors, np.float32, (self.units,), name)
        if len(first) != len(second):
            raise ValueError(f"{len(first)} embeddings cannot be compared with {len(second)}")
        thetas = np.empty((len(first), self.members), np.float32)
        theta = np.empty(len(first), np.float32)
        for part in _parts(len(first), COMPARED_AT_ONCE):
            with self._lock:
                found = self._compare(first=first[part], second=second[part])
                theta[part], thetas[part] = found["theta"], found["thetas"]
        return theta, thetas


class VerifierFile(NamedTuple):
    """An exported verifier: its `verifier.json` and the model that it describes."""

    description: VerifierDescription
    network: Network
    faces: FaceNetworks


def load(path: Path) -> VerifierFile:
    """Load a `verifier.json` and the three model files beside it.

    Raises InputError as `read` does, and for a model file that is missing or is not the one
    that `verifier.json` describes.
    """
    description = read(path)
    faces = FaceNetworks(
        _model(path, description.finder, Finder, "face finder"),
        _model(path, description.mesh, Mesh, "face mesh"),
    )
    network = _model(path, description.model, Network, "verifier")
    file = path.parent / description.model.file
    canvas = (description.input.canvas_height, description.input.canvas_width, 3)
    if canvas != network.photo_shape:
        raise InputError(f"{path}: input: {file.name} takes photos of {network.photo_shape}")
    members = description.members
    if len(members) != network.members:
        raise InputError(f"{path}: members: {file.name} has {network.members}, not {len(members)}")
    if sum(member.tail for member in members) != network.units:
        raise InputError(f"{path}: members: {file.name} gives {network.units} numbers a photo")
    if not _are_of(network, members):
        raise InputError(f"{path}: members: {file.name} has other tails or weights")
    return VerifierFile(description, network, faces)


def _model(path: Path, named: NamedFile, kind: Callable[[bytes], _Model], meaning: str) -> _Model:
    file = path_inside(path.parent, named.file)
    try:
        # A file of another size is not read whole: it may be endless.
        data = file.read_bytes() if file.stat().st_size == named.bytes else b""
    except FileNotFoundError:
        raise InputError(f"{file} is missing; it belongs beside {path.name}") from None
    if hashlib.sha256(data).hexdigest() != named.sha256:
        raise InputError(f"{file} is not the file that {path.name} describes; bring both again")
    try:
        return kind(data)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{file} is no {meaning}: {error}") from None


def read(path: Path) -> VerifierDescription:
    """Read and check a `verifier.json`.

    Raises InputError, in one line that names the file and the first wrong key, when it is
    missing, no regular file, too large, not JSON or not such a description.
    """
    try:
        values = parse_json(content(path, LARGEST))
    except FileNotFoundError:
        raise MadeFileError(f"{path} is missing") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    return checked(VerifierDescription, values, path)


def _are_of(network: Network, members: list[Member]) -> bool:
    """Whether a model has members of these tails and weights, in this order.

    Its file does not tell. But where one tail is turned around, only the member that it belongs
    to sees opposite vectors, and the ensemble's angle is that member's share.
    """
    numbers = np.arange(len(members))
    owners = np.repeat(numbers, [member.tail for member in members])  # (N,)
    vectors = np.ones((len(members), network.units), np.float32)  # (members, N)
    turned = np.where(owners == numbers[:, None], -vectors, vectors)
    theta, thetas = network.compare(vectors, turned)
    weights = [member.weight for member in members]
    return np.allclose(thetas, math.pi * np.eye(len(members)), atol=1e-3) and np.allclose(
        theta, np.multiply(math.pi, weights), atol=1e-3
    )


def _shape(runner: SignatureRunner, name: str) -> tuple[int, ...]:
    return tuple(int(size) for size in runner.get_input_details()[name]["shape_signature"][1:])


def _check(array: np.ndarray, kind: type, shape: tuple[int, ...], name: str) -> None:
    if array.dtype != kind or array.shape[1:] != shape:
        raise ValueError(
            f"{name} must be {kind.__name__} (B, {', '.join(map(str, shape))}), "
            f"not {array.dtype} {array.shape}"
        )


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
