"""Parameters of the pipeline: `params.yaml`, decoded into frozen structs; `yield_model` builds the models.

`conf/` holds one file per choice; Hydra composes them into `params.yaml`, the only file read at run time.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import yaml
from msgspec import Meta

from batchyield.errors import ParamsError
from batchyield.parallel.params import EngineParams, LocalEngine
from batchyield.plant.contract_params import ContractParams
from batchyield.plant.table import FEATURES, GROUPS, ID_COLUMN, TARGET
from batchyield.serving.lockfile import raise_if_conflict

Fraction = Annotated[float, Meta(gt=0, lt=1)]
Count = Annotated[int, Meta(ge=1)]
Folds = Annotated[int, Meta(ge=2)]
Seed = Annotated[int, Meta(ge=0, lt=1 << 32)]
Positive = Annotated[float, Meta(gt=0)]
Weight = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, le=1)]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all groups of parameters: frozen, and unknown names are errors."""


class MeanParams(Struct, frozen=True, tag_field="kind", tag="mean"):
    """The mean yield: the baseline for every other model."""


class RidgeParams(Struct, frozen=True, tag_field="kind", tag="ridge"):
    """Ridge regression; `winsor` is the quantile at which every feature is clipped, at both ends."""

    alpha: Positive
    winsor: Annotated[float, Meta(ge=0, lt=0.5)]


class ElasticNetParams(Struct, frozen=True, tag_field="kind", tag="elastic_net"):
    """Elastic net; `winsor` is the quantile at which every feature is clipped, at both ends."""

    alpha: Positive
    l1_ratio: Share
    winsor: Annotated[float, Meta(ge=0, lt=0.5)]


class HistGradientBoostingParams(Struct, frozen=True, tag_field="kind", tag="hist_gradient_boosting"):
    """Boosted trees on binned features."""

    max_iter: Count
    learning_rate: Share
    max_leaf_nodes: Annotated[int, Meta(ge=2)]
    min_samples_leaf: Count
    l2_regularization: Weight
    seed: Seed


class GradientBoostingParams(Struct, frozen=True, tag_field="kind", tag="gradient_boosting"):
    """Boosted trees on samples of rows and features."""

    n_estimators: Count
    learning_rate: Share
    max_depth: Count
    min_samples_leaf: Count
    subsample: Share
    max_features: Share
    seed: Seed


class ExtraTreesParams(Struct, frozen=True, tag_field="kind", tag="extra_trees"):
    """Mean of trees with random thresholds."""

    n_estimators: Count
    min_samples_leaf: Count
    max_features: Share
    seed: Seed


class LineTreesParams(Struct, frozen=True, tag_field="kind", tag="line_trees"):
    """The mass line plus the mean of one or more kinds of trees fitted to its residuals."""

    extra_trees: ExtraTreesParams | None = None
    gradient_boosting: GradientBoostingParams | None = None
    hist_gradient_boosting: HistGradientBoostingParams | None = None

    def __post_init__(self) -> None:
        if not (self.extra_trees or self.gradient_boosting or self.hist_gradient_boosting):
            raise ValueError("expected at least one kind of trees, got none")


TreesParams = ExtraTreesParams | GradientBoostingParams | HistGradientBoostingParams
ModelParams = MeanParams | RidgeParams | ElasticNetParams | TreesParams | LineTreesParams


class RandomSplit(Struct, frozen=True, tag_field="kind", tag="random"):
    """Random test batches: interpolation within the time of the training."""

    test_fraction: Fraction
    seed: Seed


class ForwardSplit(Struct, frozen=True, tag_field="kind", tag="forward"):
    """The latest batches, by the number in the id: the situation of a deployed model."""

    test_fraction: Fraction


class FeaturesParams(Struct, frozen=True):
    """Groups of features that the model uses."""

    groups: Annotated[tuple[str, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if unknown := [group for group in self.groups if group not in GROUPS]:
            raise ValueError(f"{unknown[0]!r} is no group of features; known groups: {', '.join(GROUPS)}")
        order = next(row.group for row in FEATURES if row.kind == "id_number")
        if order in self.groups and not ID_COLUMN:
            raise ValueError(f"{order!r} is the number in a batch's name, which the plant's file does not have")


class TargetParams(Struct, frozen=True):
    """Prior knowledge of the target.

    Attributes:
        lowest: lower limit of a prediction.
        highest: upper limit of a prediction.
        knee: line feature (for example B14/A1) below which the mass line, the target on it, is flat. Training batches
            there are excluded: most such readings are typing errors. None, with `outlier`: no line is fitted.
        outlier: training batches further than this from the line are excluded.
    """

    lowest: float
    highest: float
    knee: Positive | None = None
    outlier: Positive | None = None

    def __post_init__(self) -> None:
        if (self.knee is None) is not (self.outlier is None):
            raise ValueError("knee and outlier need each other")
        if self.lowest >= self.highest:
            raise ValueError(f"lowest {self.lowest:g} is not below highest {self.highest:g}")
        least, most = TARGET.limits
        if not (least <= self.lowest and self.highest <= most):
            raise ValueError(
                f"{self.lowest:g} to {self.highest:g} is not within {least:g} to {most:g}, the limits of {TARGET.word}"
            )


class IntervalsParams(Struct, frozen=True):
    """Conformal prediction intervals from out-of-fold residuals.

    Attributes:
        level: promised coverage.
        cut: `random` folds, for batches from the time of the training; or `periods` in time, for later ones.
        seed: of the random folds.
        smallest_group: batches that a group needs for half widths of its own.
    """

    level: Fraction
    cut: Literal["random", "periods"]
    folds: Folds
    seed: Seed
    smallest_group: Annotated[int, Meta(ge=30)]


class EvaluationParams(Struct, frozen=True):
    """Settings of the evaluation.

    Attributes:
        repeats: number of cross-validations, each with other folds.
        bootstrap: resamples for each confidence interval.
        seed: of folds, resamples and permutations.
    """

    folds: Folds
    repeats: Count
    bootstrap: Count
    confidence: Fraction
    seed: Seed


class SampleParams(Struct, frozen=True):
    """Bounds of the effort for large data.

    Attributes:
        batches: most batches that one fit learns from, and most that a part of the evaluation takes that fits models
            or predicts again and again. Of more batches, a random sample; where time matters, the latest.
        seed: of the samples.
    """

    batches: Annotated[int, Meta(ge=100)] = 10_000
    seed: Seed = 1


DEFAULT_SAMPLE = SampleParams()


class NoBias(Struct, frozen=True, tag_field="kind", tag="none"):
    """Predictions are those of the model alone."""


class EwmaBias(Struct, frozen=True, tag_field="kind", tag="ewma"):
    """Bias update: the exponentially weighted mean residual of measured batches corrects later predictions.

    Ages and distances are in batches of the plant's order, residuals and limits are yields.

    Attributes:
        delay: usual delay of a measured yield, for which the intervals are calibrated.
        memory: distance at which the weight of a residual falls to 1/e.
        window: largest number of residuals in a mean.
        minimum: smallest number of earlier residuals for a correction.
        largest_age: distance to the latest residual beyond which there is no correction.
        shrinkage: weight of the value 0 in the mean; a residual of another recipe and line, at distance 0, has 1.
        same_recipe: factor of the weight for the same recipe.
        same_line: factor of the weight for the same line.
        cut: residuals beyond count as this.
        limit: largest correction.
        calibration: number of residuals from which the half widths of the intervals are scaled.
        narrowest: smallest factor of the half widths.
        widest: largest.
    """

    delay: Weight
    memory: Positive
    window: Count
    minimum: Count
    largest_age: Positive
    shrinkage: Positive
    same_recipe: Annotated[float, Meta(ge=1)]
    same_line: Annotated[float, Meta(ge=1)]
    cut: Positive
    limit: Positive
    calibration: Count
    narrowest: Positive
    widest: Positive

    def __post_init__(self) -> None:
        if self.narrowest > self.widest:
            raise ValueError(f"narrowest {self.narrowest:g} is above widest {self.widest:g}")


class Change(Struct, frozen=True):
    """How much worse than the base of a change a metric may be.

    Attributes:
        better: which direction is better; None: the direction of the table of metrics.
        tolerance: allowed loss, as a share of the base's value.
        beyond_noise: count only a loss that the paired bootstrap confirms; needs predictions row by row, which only the
            metrics of `test` have.
    """

    better: Literal["higher", "lower"] | None = None
    tolerance: Weight = 0.0
    beyond_noise: bool = False


class Bounds(Struct, frozen=True):
    """Limits of a metric for the gate; `change` is relative to the base of a change."""

    at_least: float | None = None
    at_most: float | None = None
    change: Change | None = None


Gate = dict[str, dict[str, Bounds]]
"""Name of a metrics file without suffix -> metric -> limits."""


class Params(Struct, frozen=True):
    """All of `params.yaml`; `engine` is where tasks run, which no output depends on, so no stage declares it."""

    validate: ContractParams
    split: RandomSplit | ForwardSplit
    features: FeaturesParams
    target: TargetParams
    model: ModelParams
    intervals: IntervalsParams
    evaluation: EvaluationParams
    gate: Gate
    bias: NoBias | EwmaBias = NoBias()
    engine: EngineParams = LocalEngine()
    sample: SampleParams = DEFAULT_SAMPLE


def read_params(path: str | Path = "params.yaml") -> Params:
    """Return the checked parameters of a file.

    Raises:
        ParamsError: the file is missing or not YAML, or a value is missing, unknown or out of range; the message has
            the file, the JSON path and the value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(str(path), f"cannot be read: {error}", "run `make params`") from error
    return parse_params(text, str(path))


def parse_params(text: str, source: str = "params.yaml") -> Params:
    """Return the checked parameters of a text; `source` names it in errors."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise_if_conflict(text, source)
        raise ParamsError(source, f"is not YAML: {error}") from error
    try:
        return msgspec.convert(raw, Params)
    except msgspec.ValidationError as error:
        raise ParamsError(source, _sentence(str(error), raw)) from error


def _sentence(message: str, raw: Any) -> str:
    """Convert "Expected `int`, got `str` - at `$.model.max_iter`" to `$.model.max_iter: expected int, got "many"`."""
    problem, _, where = message.partition(" - at ")
    where = where.strip("`") or "$"
    problem = problem.replace("`", "")
    if problem.startswith(("Expected", "Object", "Invalid")):
        problem = problem[0].lower() + problem[1:]
    if problem.startswith("expected") and "[...]" not in where and not problem.endswith(", got none"):
        for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", where):
            raw = raw[key] if key else raw[int(index)]
        problem = f"{problem.split(', got ')[0]}, got {json.dumps(raw, ensure_ascii=False, default=str)}"
    if union := re.fullmatch(r"\$\.(\w+)\.kind", where):
        kinds = next(field.type for field in msgspec.structs.fields(Params) if field.name == union[1])
        tags = [str(member.__struct_config__.tag) for member in get_args(kinds)]
        problem = f"{problem}; known kinds: {', '.join(tags)}"
    return f"{where}: {problem}"
