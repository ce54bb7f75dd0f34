"""Settings of brains and towers that do not fit each other, told together with a way out."""

from collections.abc import Iterator
from typing import NamedTuple

import keras

from faceverify.base.errors import InputError
from faceverify.model import network, weight_files
from faceverify.runs.parameters import Parameters, Training

# Features at the end of a good cut are at least so many on a side.
GOOD_SIDE = 6


class Misfit(NamedTuple):
    """A parameter whose value does not fit the others: why, and the value that would."""

    key: str  # as `dvc exp run -S` names it
    why: str
    instead: str


def explained(settings: Parameters, error: InputError) -> InputError:
    """The error of a model that cannot be built, in full: all that does not fit, and what does.

    Gives the error itself where it is of another kind, such as an unknown brain.
    """
    try:
        found = {misfit.key: misfit for name in settings.members for misfit in of(settings, name)}
    except InputError as other:
        return other
    if not found:
        return error
    changed = {key: misfit.instead for key, misfit in found.items()}
    brains = {
        _key(settings, name, "brain"): settings.member(name).model.brain
        for name in settings.members
    }
    options = " ".join(f"-S {key}={value}" for key, value in (brains | changed).items())
    reasons = "; ".join(f"{misfit.key.lstrip('+')}: {misfit.why}" for misfit in found.values())
    return InputError(f"params.yaml: {reasons}; what fits: `dvc exp run {options}`")


def of(settings: Parameters, member: str) -> Iterator[Misfit]:
    """What does not fit in the settings of a member's model; InputError for an unknown brain."""
    model = settings.member(member).model
    keras.utils.clear_session(free_memory=False)  # else layers without a name count on
    cuts = network.cuts(model.brain, model.brain_view)
    layer = model.brain_layer
    if layer not in cuts:
        layer = _suggested(cuts)
        some = ", ".join(_last_of_each_size(cuts))
        why = f"{model.brain} cannot be cut at {model.brain_layer!r}; of {len(cuts)} layers: {some}"
        yield Misfit(_key(settings, member, "brain_layer"), why, layer)
    weights = model.brain_weights
    if weights not in (None, "imagenet"):
        brain = network.cut_network(model.brain, layer, model.brain_view, None)
        if not weight_files.has_the_shapes(brain, weights):
            why = f"{weights} is of another brain or cut"
            yield Misfit(_key(settings, member, "brain_weights"), why, "null")
    if model.tower_weights is not None:
        tower = network.build_tower(cuts[layer], _tower_of(settings.member(member)), seed=0)
        if not weight_files.has_the_shapes(tower, model.tower_weights):
            why = f"{model.tower_weights} is of other features or sizes"
            yield Misfit(_key(settings, member, "tower_weights"), why, "null")


def _tower_of(settings: Training) -> network.Tower:
    model = settings.model
    sizes = (model.head_filters, model.neck_units, model.tail_units)
    return network.Tower(*sizes, settings.dropout, settings.l2)


def _key(settings: Parameters, member: str, name: str) -> str:
    """The parameter to change for a member's model: the shared one, or one of its own.

    A member with a brain of its own has a cut and weights of its own; as `-S` wants it, a key that
    the parameter file does not have yet begins with a plus.
    """
    own = settings.members[member].model_fields_set
    if name in own:
        return f"members.{member}.{name}"
    return f"+members.{member}.{name}" if "brain" in own else f"model.{name}"


def _suggested(cuts: dict[str, tuple[int, int, int]]) -> str:
    """The last layer whose features are not yet too few, or the first one of all."""
    good = [name for name, (height, width, _) in cuts.items() if min(height, width) >= GOOD_SIDE]
    return good[-1] if good else next(iter(cuts))


def _last_of_each_size(cuts: dict[str, tuple[int, int, int]]) -> list[str]:
    return list({shape[:2]: name for name, shape in cuts.items()}.values())
