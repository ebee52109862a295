"""Parameters of each kind of model and the ranges of all numbers; `yield_model` builds the models."""

from typing import Annotated

import msgspec
from msgspec import Meta

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
