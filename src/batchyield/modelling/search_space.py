"""Search space of `batchyield model search`: a model, and the values that some of its parameters may take instead.

A space is a YAML file in `conf/search/`, which is not part of the composed `params.yaml`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from batchyield.errors import ParamsError
from batchyield.modelling.params import ModelParams, Seed, Struct

Number = int | float
Numbers = Annotated[tuple[Number, ...], Meta(min_length=1)]
REMEDY = "correct the search space"


class SearchSpace(Struct, frozen=True):
    """What the search may try, and how often.

    Attributes:
        model: the baseline; every trial replaces some of its parameters.
        values: dotted parameter of `model`, such as `extra_trees.max_features` -> values to choose from.
        trials: models to try beside the baseline, pruned ones included.
        seed: of the sampler.
    """

    model: ModelParams
    values: Annotated[dict[str, Numbers], Meta(min_length=1)]
    trials: Annotated[int, Meta(ge=1)]
    seed: Seed


def load_space(path: str | Path) -> SearchSpace:
    """Return the search space of a YAML file, with every value checked against its parameter.

    Raises:
        ParamsError: the file cannot be read, or a value is missing, unknown or out of range; the message names the
            file, the field and the value.
    """
    source = str(path)
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        space = msgspec.convert(raw, SearchSpace)
    except (OSError, UnicodeDecodeError) as error:
        remedy = "name a search space, such as conf/search/line_trees.yaml"
        raise ParamsError(source, f"cannot be read: {error}", remedy) from error
    except yaml.YAMLError as error:
        raise ParamsError(source, f"invalid YAML: {error}", REMEDY) from error
    except msgspec.ValidationError as error:
        raise ParamsError(source, _problem(error), REMEDY) from error
    known = _numbers(msgspec.to_builtins(space.model))
    for name, values in space.values.items():
        field = f"$.values.{name}"
        if name not in known:
            raise ParamsError(source, f"{field}: unknown parameter; the model has {', '.join(known)}", REMEDY)
        if len(set(values)) < len(values):
            raise ParamsError(source, f"{field}: duplicate value in {list(values)}", REMEDY)
        for i, value in enumerate(values):
            try:
                replace(space.model, {name: value})
            except msgspec.ValidationError as error:
                problem = _problem(error).partition(": ")[2]
                raise ParamsError(source, f"{field}[{i}]: {problem}: {value}", REMEDY) from error
    return space


def replace(model: ModelParams, values: Mapping[str, Number]) -> ModelParams:
    """Return the model with other values of some parameters.

    Args:
        model: the parameters to start from.
        values: dotted parameter -> value.

    Raises:
        msgspec.ValidationError: a value has the wrong type or is out of range.
    """
    raw = msgspec.to_builtins(model)
    for name, value in values.items():
        *above, last = name.split(".")
        part = raw
        for key in above:
            part = part[key]
        part[last] = value
    return msgspec.convert(raw, ModelParams)  # type: ignore[no-any-return]


def _numbers(raw: Mapping[str, Any], above: str = "") -> list[str]:
    """Return the dotted names of all numeric parameters."""
    found = []
    for name, value in raw.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{above}{name}.")
        elif isinstance(value, Number):
            found.append(f"{above}{name}")
    return found


def _problem(error: msgspec.ValidationError) -> str:
    """Return msgspec's message as `field: problem`."""
    problem, _, field = str(error).replace("`", "").partition(" - at ")
    return f"{field or '$'}: {problem[0].lower()}{problem[1:]}"
