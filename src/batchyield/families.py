"""The families of models that may be chosen, each with the parameters of its training; `model.py` builds them."""

from typing import Annotated

from msgspec import Meta

from batchyield.ranges import Count, Positive, Seed, Share, Struct, Weight


class MeanParams(Struct, frozen=True, tag_field="kind", tag="mean"):
    """The mean yield: what every other model has to beat."""


class RidgeParams(Struct, frozen=True, tag_field="kind", tag="ridge"):
    """Ridge regression; `winsor` is the quantile cut off at either end of every feature."""

    alpha: Positive
    winsor: Annotated[float, Meta(ge=0, lt=0.5)]


class ElasticNetParams(Struct, frozen=True, tag_field="kind", tag="elastic_net"):
    """Elastic net; `winsor` is the quantile cut off at either end of every feature."""

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
    """A mean of trees with random thresholds."""

    n_estimators: Count
    min_samples_leaf: Count
    max_features: Share
    seed: Seed


class LineTreesParams(Struct, frozen=True, tag_field="kind", tag="line_trees"):
    """The line first, then the mean of what each given kind of trees makes of the rest."""

    extra_trees: ExtraTreesParams | None = None
    gradient_boosting: GradientBoostingParams | None = None
    hist_gradient_boosting: HistGradientBoostingParams | None = None

    def __post_init__(self) -> None:
        if not (self.extra_trees or self.gradient_boosting or self.hist_gradient_boosting):
            raise ValueError("expected at least one kind of trees, got none")


TreesParams = ExtraTreesParams | GradientBoostingParams | HistGradientBoostingParams
ModelParams = MeanParams | RidgeParams | ElasticNetParams | TreesParams | LineTreesParams
