"""Whether the settings of all members' models fit together; if not, the command that mends them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from faceverify.base.errors import InputError
from faceverify.model import network, weight_files
from faceverify.model.cut_layers import CutLayers
from faceverify.runs.parameters import Parameters, Training

# The networks that members use, by their names and the sides of their views.
_Networks = dict[tuple[str, int], CutLayers]
PARTS = ("brain_layer", "brain_weights", "tower_weights")


class Misfit(NamedTuple):
    """Why a value does not fit the others of a model, and the one that would."""

    why: str
    instead: str | None


def check(settings: Parameters) -> None:
    """Raise InputError unless the model of each member can be built.

    Layers and weight files that do not fit are told all together, with a command that mends them.
    An unknown network, a view too small for it, a tower too large and a damaged file are told one
    at a time.
    """
    networks: _Networks = {}
    found = _misfits(settings, networks)
    if not any(found.values()):
        return
    mends = _mends(settings, found, networks)
    said = "; ".join(f"{key}: {misfit.why}" for key, misfit in mends.items())
    values = {key: misfit.instead for key, misfit in mends.items()}
    if not any(_misfits(_changed(settings, values), networks).values()):
        said = (
            f"{said}; what fits, with the other options of this run: "
            f"`{_command(settings, found, values)}`"
        )
    raise InputError(f"params.yaml: {said}")


def _misfits(settings: Parameters, networks: _Networks) -> dict[str, dict[str, Misfit]]:
    """What does not fit in each member's model, by the key of `model`; adds to `networks`."""
    found = {}
    for name in settings.members:
        training = settings.member(name)
        kind = training.model.brain, training.model.brain_view
        try:
            networks[kind] = networks.get(kind) or CutLayers(*kind)
            found[name] = dict(_misfits_of(training, networks[kind]))
        except InputError as error:
            raise InputError(f"params.yaml: the model of {name}: {error}") from None
    return found


def _misfits_of(training: Training, layers: CutLayers) -> Iterator[tuple[str, Misfit]]:
    model = training.model
    weights = None
    if model.brain_weights not in (None, "imagenet"):
        weights = weight_files.shapes_in(Path(model.brain_weights))
    layer = model.brain_layer
    if layer not in layers.shapes:
        layer = layers.suggested(weights)
        some = ", ".join(layers.examples())
        why = f"{model.brain} cannot be cut at {model.brain_layer!r}, but for example at {some}"
        yield "brain_layer", Misfit(why, layer)
    if weights and weights != layers.weight_shapes(layer):
        yield "brain_weights", Misfit(f"{model.brain_weights} is of another brain or cut", None)
    sizes = network.Tower(
        model.head_filters,
        model.neck_units,
        model.tail_units,
        training.dropout,
        training.l2,
        model.tail_reads,
    )
    network.check_size(layers.shapes[layer], sizes)
    if model.tower_weights is not None:
        tower = network.build_tower(layers.shapes[layer], sizes, seed=0)
        if weight_files.shapes_in(Path(model.tower_weights)) != weight_files.shapes_of(tower):
            why = f"{model.tower_weights} is of other features or sizes"
            yield "tower_weights", Misfit(why, None)


def _mends(
    settings: Parameters, found: Mapping[str, Mapping[str, Misfit]], networks: _Networks
) -> dict[str, Misfit]:
    """What to change, by its place in the parameter file, so that each member's model fits.

    A shared value is changed where it is wrong for the shared model itself, and no member that
    inherits it is content with it. All else changes for one member alone.
    """
    shared = _shared_misfits(settings, networks)
    mends = {}
    for part in PARTS:
        inherits = {n for n, own in settings.members.items() if part not in own.model_fields_set}
        common = shared.get(part) if all(part in found[name] for name in inherits) else None
        if common and inherits:
            mends[f"model.{part}"] = common
        for name, misfits in found.items():
            mended = common and name in inherits and misfits[part].instead == common.instead
            if part in misfits and not mended:
                mends[f"members.{name}.{part}"] = misfits[part]
    return mends


def _shared_misfits(settings: Parameters, networks: _Networks) -> dict[str, Misfit]:
    """What does not fit in the model of a member that changes nothing; nothing if none has it."""
    model = settings.model
    layers = networks.get((model.brain, model.brain_view))
    if layers is None:
        return {}
    training = Training.model_validate(settings.model_dump(include=set(Training.model_fields)))
    return dict(_misfits_of(training, layers))


def _changed(settings: Parameters, values: Mapping[str, str | None]) -> Parameters:
    """The parameters with other values at some places."""
    changed = settings.model_dump(exclude_unset=True)
    for key, value in values.items():
        *groups, last = key.split(".")
        place = changed
        for group in groups:
            place = place[group]
        place[last] = value
    return Parameters.model_validate(changed)


def _command(
    settings: Parameters,
    found: Mapping[str, Mapping[str, Misfit]],
    values: Mapping[str, str | None],
) -> str:
    """The command that sets these values, and the brains that they are for.

    It starts from the commit, as the refused run did, whose other options have to be given again.
    Two pluses set a member's key whether or not the file has it yet.
    """
    brains = {
        settings.key_of(name, "brain"): settings.member(name).model.brain
        for name, misfits in found.items()
        if {"brain_layer", "brain_weights"} & set(misfits)
    }
    options = " ".join(
        f"-S {'++' if key.startswith('members.') else ''}{key}={'null' if value is None else value}"
        for key, value in (brains | dict(values)).items()
    )
    return f"dvc exp run --temp {options}"
