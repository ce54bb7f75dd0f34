"""The weight files of a network that compares faces, and of the brain that is cut from it."""

from pathlib import Path

import numpy as np

from faceverify.base import files


def write(application: str, cuts: dict[str, str], weights: list[np.ndarray], target: Path) -> None:
    """Write weights in float16 into the folder `target`, with their checksums.

    `cuts` has a file's name by the layer up to which it holds the network's `weights`.
    """
    # Not at the top: it starts TensorFlow, which the scripts do by themselves.
    import keras

    from faceverify.model.network import CANVAS_SIZE, build_brain
    from faceverify.model.weight_files import save_weights, write_checksum

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        with files.replacing_folder(target) as folder:
            for layer, name in cuts.items():
                network = build_brain(application, layer, CANVAS_SIZE, None, seed=0)
                network.set_weights([w.astype(np.float16) for w in weights[: len(network.weights)]])
                save_weights(network, folder / name)
                write_checksum(folder / name)
    finally:
        keras.config.set_dtype_policy(policy)
