"""The parameters of a training, decoded from `params.yaml` once and handed on as frozen structs.

`conf/` holds one file per choice; Hydra composes them into `params.yaml`, and nothing else is read at run time.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import yaml
from msgspec import Meta

from batchyield.errors import ParamsError
from batchyield.modelling.model_params import Count, Folds, Fraction, ModelParams, Positive, Seed, Struct, Weight
from batchyield.plant.contract_params import ContractParams

Group = Literal["readings", "ratios", "steps", "lengths", "temperatures", "missing", "clocks", "order"]


class RandomSplit(Struct, frozen=True, tag_field="kind", tag="random"):
    """Test batches drawn at random: how well the model fills gaps in known time."""

    test_fraction: Fraction
    seed: Seed


class ForwardSplit(Struct, frozen=True, tag_field="kind", tag="forward"):
    """The latest batches by the number in the id: what a deployed model meets."""

    test_fraction: Fraction


class FeaturesParams(Struct, frozen=True):
    """Which groups of features the model may see."""

    groups: Annotated[tuple[Group, ...], Meta(min_length=1)]


class TargetParams(Struct, frozen=True):
    """What is known of the yield before any model.

    Attributes:
        knee: B14/A1 below which the robust line of yield on B14/A1 is flat, and a batch teaches nothing else: most such
            readings are slips of the key.
        outlier: a training batch further from that line than this [yield] is left out.
        lowest: no answer is below [yield].
        highest: no answer is above [yield].
    """

    knee: Positive
    outlier: Positive
    lowest: Fraction
    highest: Annotated[float, Meta(gt=0, le=2)]

    def __post_init__(self) -> None:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest {self.lowest:g} is not below highest {self.highest:g}")


class IntervalsParams(Struct, frozen=True):
    """Conformal prediction intervals from out-of-fold residuals.

    Attributes:
        level: share of yields the interval is to hold.
        cut: `random` folds, for batches from the same time as the training; or `periods` in time, for later ones.
        folds: parts the training batches are cut into; each is predicted by a model that has not seen it.
        seed: of the random cut.
        smallest_group: batches a group needs for a width of its own; a number beyond all batches gives one width.
    """

    level: Fraction
    cut: Literal["random", "periods"]
    folds: Folds
    seed: Seed
    smallest_group: Annotated[int, Meta(ge=30)]


class EvaluationParams(Struct, frozen=True):
    """How the metrics are measured.

    Attributes:
        folds: of one cross-validation.
        repeats: cross-validations, each with a cut of its own.
        bootstrap: resamples behind each confidence interval.
        confidence: of those intervals.
        seed: of cuts, resamples and permutations.
    """

    folds: Folds
    repeats: Count
    bootstrap: Count
    confidence: Fraction
    seed: Seed


class Change(Struct, frozen=True):
    """How far a figure may fall behind that of the base of a change.

    Attributes:
        better: which way is better.
        tolerance: how much worse it may get, as a share of the base's figure.
        beyond_noise: only a loss that another draw of test batches would show too is one; needs the answers row by row,
            which only the figures of `test` have.
    """

    better: Literal["higher", "lower"]
    tolerance: Weight = 0.0
    beyond_noise: bool = False


class Bounds(Struct, frozen=True):
    """What a figure must reach and must not exceed before the model may be served.

    Attributes:
        at_least: no lower.
        at_most: no higher.
        change: against the base of a change, where one is given.
    """

    at_least: float | None = None
    at_most: float | None = None
    change: Change | None = None


Gate = dict[str, dict[str, Bounds]]
"""Metrics file, without folder and suffix -> figure -> bounds."""


class Params(Struct, frozen=True):
    """All of `params.yaml`."""

    validate: ContractParams
    split: RandomSplit | ForwardSplit
    features: FeaturesParams
    target: TargetParams
    model: ModelParams
    intervals: IntervalsParams
    evaluation: EvaluationParams
    gate: Gate


def read_params(path: str | Path = "params.yaml") -> Params:
    """Read and check the parameters.

    Raises:
        ParamsError: the file is missing or no YAML, or a value is missing, unknown or out of its range; the message
            names the file, the place and what stands there.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(str(path), f"cannot be read: {error}", "run `make params`") from error
    return parse_params(text, str(path))


def parse_params(text: str, source: str = "params.yaml") -> Params:
    """`load` for text that is already read; `source` is what errors call it."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParamsError(source, f"is no YAML: {error}") from error
    try:
        return msgspec.convert(raw, Params)
    except msgspec.ValidationError as error:
        raise ParamsError(source, _sentence(str(error), raw)) from error


def _sentence(message: str, raw: Any) -> str:
    """`Expected `int`, got `str` - at `$.model.max_iter`` -> `$.model.max_iter: expected int, got "many"`."""
    problem, _, where = message.partition(" - at ")
    where = where.strip("`") or "$"
    problem = problem.replace("`", "")
    if problem.startswith(("Expected", "Object", "Invalid")):
        problem = problem[0].lower() + problem[1:]
    if problem.startswith("expected") and "[...]" not in where and not problem.endswith(", got none"):
        problem = f"{problem.split(', got ')[0]}, got {json.dumps(_at(where, raw), ensure_ascii=False, default=str)}"
    if union := re.fullmatch(r"\$\.(\w+)\.kind", where):
        problem = f"{problem}; known kinds: {', '.join(_kinds(union[1]))}"
    return f"{where}: {problem}"


def _at(where: str, raw: Any) -> Any:
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", where):
        raw = raw[key] if key else raw[int(index)]
    return raw


def _kinds(group: str) -> list[str]:
    union = next(field.type for field in msgspec.structs.fields(Params) if field.name == group)
    return [str(member.__struct_config__.tag) for member in get_args(union)]
