"""The search space of `batchyield tune`: a model, and the values that some of its parameters may take instead.

A space is a YAML file of its own, outside Hydra's composition: it says what to try and is no choice of anything.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import yaml
from msgspec import Meta

from batchyield.errors import ParamsError
from batchyield.families import Count, ModelParams, Seed, Struct

Number = int | float
Numbers = Annotated[tuple[Number, ...], Meta(min_length=1)]
REMEDY = "correct the search space"


class Space(Struct, frozen=True):
    """What is tried, and how much work may go into it.

    Attributes:
        model: the model as it stands; the first candidate, and what every other one differs from.
        values: places inside `model`, such as `extra_trees.max_features`, and the numbers each may be.
        candidates: models of the first round, the first included; no more than there are combinations.
        rounds: the last one judges on all training batches.
        factor: each round keeps one candidate of so many, and the next has so many times the batches.
        seed: of the draw of candidates, and of the batches that the rounds before the last see.
    """

    model: ModelParams
    values: Annotated[dict[str, Numbers], Meta(min_length=1)]
    candidates: Annotated[int, Meta(ge=2)]
    rounds: Count
    factor: Annotated[int, Meta(ge=2)]
    seed: Seed


def load_space(path: str | Path) -> Space:
    """Read and check a search space, every value at its place included.

    Raises:
        ParamsError: the file is missing or no YAML, a value is missing, unknown or out of its range, or a place is
            none of the model's; the message names the file, the place and what stands there.
    """
    source = str(path)
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        space = msgspec.convert(raw, Space)
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(
            source, f"cannot be read: {error}", "name a search space, such as search/line_trees.yaml"
        ) from error
    except yaml.YAMLError as error:
        raise ParamsError(source, f"is no YAML: {error}", REMEDY) from error
    except msgspec.ValidationError as error:
        problem, where = _told(error)
        if "[...]" in where:  # msgspec's word for a key that it does not name
            where = where.replace("[...]", f".{_undecodable(raw['values'])}", 1)
        raise ParamsError(source, f"{where}: {problem}", REMEDY) from error
    known = _places(msgspec.to_builtins(space.model))
    for place, numbers in space.values.items():
        where = f"$.values.{place}"
        if place not in known:
            raise ParamsError(source, f"{where}: the model has no such number; it has {', '.join(known)}", REMEDY)
        if len(set(numbers)) < len(numbers):
            raise ParamsError(source, f"{where}: a value stands there twice: {list(numbers)}", REMEDY)
        for i, number in enumerate(numbers):
            try:
                changed(space.model, {place: number})
            except msgspec.ValidationError as error:
                raise ParamsError(source, f"{where}[{i}]: {_told(error)[0]}: {number}", REMEDY) from error
    return space


def candidates(space: Space) -> list[tuple[tuple[tuple[str, Number], ...], ModelParams]]:
    """The candidates as (drawn values, model): the model as it stands, then others at random, no two alike."""
    places = sorted(space.values)
    size = math.prod(len(space.values[place]) for place in places)
    found: list[tuple[tuple[tuple[str, Number], ...], ModelParams]] = [((), space.model)]
    # One more than is needed: the model as it stands may be among those drawn.
    for index in np.random.default_rng(space.seed).choice(size, min(size, space.candidates), replace=False).tolist():
        drawn = []
        for place in places:
            index, digit = divmod(index, len(space.values[place]))
            drawn.append((place, space.values[place][digit]))
        model = changed(space.model, dict(drawn))
        if model != space.model:
            found.append((tuple(drawn), model))
    return found[: space.candidates]


def changed(model: ModelParams, values: Mapping[str, Number]) -> ModelParams:
    """The model with other numbers at some places.

    Raises:
        msgspec.ValidationError: a number is out of its parameter's type or range.
    """
    raw = msgspec.to_builtins(model)
    for place, number in values.items():
        *above, name = place.split(".")
        part = raw
        for key in above:
            part = part[key]
        part[name] = number
    return msgspec.convert(raw, ModelParams)  # type: ignore[no-any-return]


def _places(raw: Mapping[str, Any], above: str = "") -> list[str]:
    """The places of all numbers inside a model's parameters."""
    found = []
    for name, value in raw.items():
        if isinstance(value, Mapping):
            found += _places(value, f"{above}{name}.")
        elif isinstance(value, Number):
            found.append(f"{above}{name}")
    return found


def _undecodable(values: Mapping[str, Any]) -> str:
    """The first place whose values are no numbers."""
    for place, given in values.items():
        try:
            msgspec.convert(given, Numbers)
        except msgspec.ValidationError:
            return place
    return "*"


def _told(error: msgspec.ValidationError) -> tuple[str, str]:
    """What msgspec says, as (problem, place)."""
    problem, _, where = str(error).replace("`", "").partition(" - at ")
    return problem[0].lower() + problem[1:], where or "$"
