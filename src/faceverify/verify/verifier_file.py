"""The exported verifier, read and run without TensorFlow: `verifier.json` and its `.tflite`."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import Field, model_validator

from faceverify.base.errors import InputError, MadeFileError
from faceverify.base.files import content, parse_json, path_inside, replacing
from faceverify.base.schema import (
    Angle,
    Calibration,
    Capture,
    Digest,
    Group,
    MemberName,
    Number,
    Share,
    checked,
)
from faceverify.verify import workers
from faceverify.verify.face_networks import FaceNetworks, Finder, Mesh
from faceverify.verify.interpreters import Interpreters

FORMAT = 2
SIGNATURES = {
    "compare": {"inputs": ["first", "second"], "outputs": ["theta", "thetas"]},
    "embed": {"inputs": ["photo"], "outputs": ["embedding", "quality"]},
    "quality": {"inputs": ["photo"], "outputs": ["quality"]},
}
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


class MlKitPoint(Group):
    """A point by Google's ML Kit: a landmark, or the mean of some points of a contour.

    `points`: their places in the contour; none for all of them.
    """

    kind: Literal["contour", "landmark"]
    name: str
    points: list[int]


class PointSource(Group):
    """How other finders of faces tell one of the five points.

    `mesh`: vertices of MediaPipe's Face Mesh, whose mean it is. `ml_kit`: the same by ML Kit.
    """

    mesh: Annotated[list[int], Field(min_length=1)]
    ml_kit: MlKitPoint


class PointSources(Group):
    """A source for each of the points of `Alignment`; sides are the person's."""

    right_eye: PointSource
    left_eye: PointSource
    nose_tip: PointSource
    mouth_right: PointSource
    mouth_left: PointSource


class Input(Group):
    """How a photo becomes the input of `embed`: found, aligned, stretched to the canvas.

    `front_camera`: a picture that a front camera mirrors is mirrored back first. `transform`: the
    similarity of least squared distance of the five points from `alignment`, which never mirrors.
    `pixel_centres`: the middle of the first pixel is (0, 0). `shrinking`: where the transform
    makes the photo smaller, the photo is scaled to that size first, each new pixel the mean of
    the area that it covers. `sampling`: what is read between pixels. `border`: beyond the photo's
    edge its last pixels are repeated. `stretch`: the aligned photo is stretched to the canvas,
    edge to edge: x' = (x + 1/2) canvas_width / aligned_width - 1/2.
    """

    front_camera: Literal["unmirrored"]
    transform: Literal["least_squares_similarity"]
    mirroring: Literal[False]
    pixel_centres: Literal["whole_numbers"]
    shrinking: Literal["area"]
    sampling: Literal["bilinear"]
    border: Literal["replicate"]
    stretch: Literal["bilinear"]
    aligned_width: Size
    aligned_height: Size
    canvas_width: Size
    canvas_height: Size
    channels: Literal["RGB"]
    type: Literal["uint8"]
    alignment: Alignment
    points: PointSources


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

    `version`: the SHA-256 of the file without these 64 digits; as the file names all others by
    theirs, it stands for the whole bundle. `vectors`: what `verify.bundle` checks an app by.
    `threshold`: below this theta, in radians, two photos are accepted as one person. `inputs`:
    SHA-256 of the files that the export was made of. `metrics`: the ensemble's figures.
    """

    format: Literal[FORMAT]
    version: Digest
    model: NamedFile
    finder: NamedFile
    mesh: NamedFile
    vectors: NamedFile
    input: Input
    threshold: Angle
    calibration: Calibration
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
    """The model file, run by LiteRT; may be called from several threads at once.

    The file takes one photo at a time; `Interpreters` share the work.
    """

    def __init__(self, data: bytes) -> None:
        """Take a model file's bytes; ValueError for those of no model with the signatures."""
        self._interpreters = Interpreters(data)
        with self._interpreters.borrowed() as interpreter:
            if interpreter.get_signature_list() != SIGNATURES:
                raise ValueError("its signatures are not those of a verifier")
            embed, compare = map(interpreter.get_signature_runner, ("embed", "compare"))
            self.photo_shape = _shape(embed.get_input_details()["photo"])
            (self.units,) = _shape(compare.get_input_details()["first"])
            (self.members,) = _shape(compare.get_output_details()["thetas"])

    def embed(self, canvases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embed aligned photos, uint8 (B, 218, 218, 3).

        Gives the embeddings, float32 (B, N), and the qualities (B,): how far each photo is
        believed to be an aligned face in RGB, [0, 1].
        """
        _check(canvases, np.uint8, self.photo_shape, "photos")
        found = workers.each(self._embed, canvases)
        vectors = np.array([one["embedding"][0] for one in found], np.float32)
        qualities = np.array([one["quality"][0] for one in found], np.float32)
        return vectors.reshape(len(canvases), self.units), qualities

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
        with self._interpreters.borrowed() as interpreter:
            compare = interpreter.get_signature_runner("compare")
            for i in range(len(first)):
                found = compare(first=first[i : i + 1], second=second[i : i + 1])
                theta[i], thetas[i] = found["theta"][0], found["thetas"][0]
        return theta, thetas

    def _embed(self, canvas: np.ndarray) -> dict[str, np.ndarray]:
        with self._interpreters.borrowed() as interpreter:
            return interpreter.get_signature_runner("embed")(photo=canvas[None])


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
    text = content(path, LARGEST).decode("utf-8")
    if version_of(text, description.version) != description.version:
        raise InputError(f"{path} was changed: its version is not that of its contents")
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


def write(path: Path, values: dict[str, Any]) -> None:
    """Write a `verifier.json` with these values and the version that they make."""
    text = json.dumps(values | {"version": ""}, indent=2, allow_nan=False) + "\n"
    empty = '"version": ""'
    text = text.replace(empty, f'"version": "{version_of(text, "")}"', 1)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def version_of(text: str, version: str) -> str:
    """The SHA-256 of a `verifier.json`'s text without the version that it names."""
    return hashlib.sha256(text.replace(version, "", 1).encode()).hexdigest()


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


def _shape(detail: dict) -> tuple[int, ...]:
    """The shape of one row of a signature's input or output."""
    return tuple(int(size) for size in detail["shape"][1:])


def _check(array: np.ndarray, kind: type, shape: tuple[int, ...], name: str) -> None:
    if array.dtype != kind or array.shape[1:] != shape:
        raise ValueError(
            f"{name} must be {kind.__name__} (B, {', '.join(map(str, shape))}), "
            f"not {array.dtype} {array.shape}"
        )
