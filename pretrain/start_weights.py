"""First weights of the brain: InceptionV3 as published in the npm package nsfwjs (MIT).

The package has the network, fine-tuned from ImageNet, in 8 bits per weight, as JavaScript.
"""

import base64
import re
import tarfile
import tempfile
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import numpy as np

import npm
import recipe
from faceverify.base import backend, files
from faceverify.runs import script

PACKAGE = "nsfwjs@4.4.0"
SHA256 = "585cd178f3b994337c4d10a87b080d342fc52f8b9bf0085c4d1f345a3a1c5382"
FOLDER = "package/dist/models/inception_v3"

# `{name:"conv2d_1/kernel",shape:[3,3,3,32],...quantization:{min:-1.2,scale:.0074,...}}`
ENTRY = re.compile(
    r'\{name:"([^"]+)",shape:\[([\d,]+)\],dtype:"float32",'
    r'quantization:\{min:([-.\de]+),scale:([.\de-]+),dtype:"uint8"\}\}'
)
SHARD = re.compile(r'exports="([A-Za-z0-9+/=]+)"')


def main() -> None:
    """Write the brain's first weights into start/: the published ones, or random ones."""
    parameters = recipe.read()
    backend.start()
    from faceverify.model.network import build_brain

    brain = build_brain("InceptionV3", "mixed5", parameters.view, None, parameters.seed)
    if parameters.start:
        brain.set_weights(in_order(published(), brain))
    with files.replacing_folder(recipe.START) as folder:
        brain.save_weights(folder / recipe.WEIGHTS)


def published() -> dict[str, np.ndarray]:
    """Name of a weight in the package -> its numbers, float32."""
    with tempfile.TemporaryDirectory() as folder:
        archive = npm.archive(PACKAGE, SHA256, Path(folder))
        with tarfile.open(archive) as package:
            read = {
                member.name: package.extractfile(member).read().decode("utf-8")
                for member in package
                if member.name.startswith(FOLDER)
            }
    manifest = ENTRY.findall(read.pop(f"{FOLDER}/model.min.js"))
    shards = (SHARD.search(read[name]).group(1) for name in sorted(read))
    numbers = np.frombuffer(b"".join(base64.b64decode(shard) for shard in shards), np.uint8)
    weights, start = {}, 0
    for name, sides, low, step in manifest:
        shape = tuple(int(side) for side in sides.split(","))
        codes = numbers[start : start + np.prod(shape)]
        start += codes.size
        weights[name] = (codes * float(step) + float(low)).reshape(shape).astype(np.float32)
    if start != numbers.size:
        raise errors.InputError(f"{PACKAGE} holds {numbers.size} numbers, not {start}")
    return weights


def in_order(weights: dict[str, np.ndarray], brain) -> list[np.ndarray]:
    """The package's weights in the order of `brain.weights`.

    The package numbers convolutions and normalizations in the order in which Keras builds them.
    """
    number = {"conv2d": 0, "batch_normalization": 0}
    found = {}
    for layer in sorted(brain.get_layer("network").layers[-1].layers, key=_made):
        kind = layer.name.rstrip("_0123456789")
        if kind in number and layer.weights:
            number[kind] += 1
            for weight in layer.weights:
                found[weight.path] = weights[f"{kind}_{number[kind]}/{weight.name}"]
    return [found[weight.path] for weight in brain.weights]


def _made(layer) -> int:
    """The place of a layer among those of its class, from its name: the first has no number."""
    number = re.search(r"_(\d+)$", layer.name)
    return int(number.group(1)) if number else 0


if __name__ == "__main__":
    script.run(main)
