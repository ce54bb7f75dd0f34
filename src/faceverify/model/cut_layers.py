"""The layers at which a network of `keras.applications` can be cut to make a brain of it."""

from collections import Counter
from collections.abc import Iterator

import keras
from keras import layers

from faceverify.model import network, weight_files

# Features at the end of a good cut are at least so many on a side.
GOOD_SIDE = 6
# These find nothing themselves: they carry on pixels, or what another layer has found.
_CARRIERS = (
    layers.InputLayer
    | layers.Rescaling
    | layers.Normalization
    | layers.ZeroPadding2D
    | layers.Dropout
)


class CutLayers:
    """Where a network can be cut, when it sees photos of `size` x `size`.

    `shapes` has the features' (height, width, channels) by the name of each layer at which it can
    be, in the network's order; those too small for the head are left out. `passages` are the names
    of those that all paths from photo to classifier pass through, so that nothing is cut off.
    Raises InputError for an unknown network, or a size that it cannot take.
    """

    def __init__(self, application: str, size: int) -> None:
        network.renew_names()
        self._whole = network.whole_network(application, size, None)
        shapes = {
            layer.name: tuple(getattr(layer.output, "shape", ()))[1:]
            for layer in self._whole.layers
            if not isinstance(layer, _CARRIERS)
        }
        self.shapes: dict[str, tuple[int, int, int]] = {
            name: shape
            for name, shape in shapes.items()
            if len(shape) == 3 and min(shape[:2]) >= network.LEAST_SIDE
        }
        self.passages = [name for name in _passages(self._whole) if name in self.shapes]

    def weight_shapes(self, layer: str) -> Counter[tuple[int, ...]]:
        """How many weights of each shape the network has up to a layer."""
        output = self._whole.get_layer(layer).output
        return weight_files.shapes_of(keras.Model(self._whole.input, output))

    def suggested(self, weights: Counter[tuple[int, ...]] | None) -> str:
        """The last passage up to which the network has weights of these shapes, if there is one.

        Else the last one whose features are not too few, GOOD_SIDE on a side.
        """
        fitting = [
            name for name in self.passages if weights and self.weight_shapes(name) == weights
        ]
        good = [name for name in self.passages if min(self.shapes[name][:2]) >= GOOD_SIDE]
        return (fitting or good)[-1]

    def examples(self) -> list[str]:
        """The last passage of each size of the features, with that size, the largest first."""
        last = {self.shapes[name][:2]: name for name in self.passages}
        return [f"{name} ({height} x {width})" for (height, width), name in last.items()]


def _passages(whole: keras.Model) -> Iterator[str]:
    """The operations after which nothing that was computed before them is needed any more.

    They are the articulation points of the graph: each comes after all that it takes.
    """
    last_use = {
        parent.operation.name: place
        for place, operation in enumerate(whole.operations)
        for node in operation._inbound_nodes
        for parent in node.parent_nodes
    }
    needed_until = 0  # of what came before
    for place, operation in enumerate(whole.operations):
        if needed_until <= place:
            yield operation.name
        needed_until = max(needed_until, last_use.get(operation.name, place))
