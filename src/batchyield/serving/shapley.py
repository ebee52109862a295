"""Shapley values of a prediction: the effect of each feature on its difference from the typical batch's prediction.

The Shapley values [1] are those of the served model between two rows: the batch, and the typical batch of the pinned
reference profile. They are estimated over random permutations of the features, each with its reverse [2], which is
exact where features act alone or in pairs.

[1] Štrumbelj, Kononenko, Explaining prediction models and individual predictions with feature contributions, 2014.
[2] Mitchell, Cooper, Frank, Holmes, Sampling permutations for Shapley value estimation, 2022.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from batchyield.errors import ArtifactError
from batchyield.plant.batch import Batch
from batchyield.plant.features import featurize
from batchyield.plant.features.catalogue import Feature
from batchyield.serving.prediction import PREDICTION_DECIMALS
from batchyield.serving.predictor import Predictor
from batchyield.serving.reference_profile import Profile, Reference
from batchyield.serving.responses import Contribution, Explanation

PERMUTATION_PAIRS = 64
"""Permutations, each used forwards and backwards; docs/explanations.md has error and cost of other numbers."""

TOP_CONTRIBUTIONS = 5
SEED = 1
MAX_MISSING_SHARE = 0.5
"""A feature that is missing in more of the training batches is missing in the typical batch."""


class Explainer:
    """Explains the predictions of one model; safe to share between threads.

    Args:
        predictor: the model.
        reference: its reference profile.
        source: what errors call the profile.

    Attributes:
        typical: features of the typical batch [k], those that the model takes.
        baseline: its predicted yield.

    Raises:
        ArtifactError: the profile lacks a feature, or the typical batch has no prediction.
    """

    def __init__(self, predictor: Predictor, reference: Reference, source: str = "reference.json") -> None:
        self._predictor, self._source = predictor, source
        self.typical = _typical_features(predictor.features, reference, source)
        self.baseline = float(self._predict(self.typical[None])[0])
        # Sampled once for all features and restricted to those that differ, so a row's result depends on that row only.
        self._sort_keys = np.random.default_rng(SEED).random((PERMUTATION_PAIRS, len(self.typical)))

    def explain(self, batches: Sequence[Batch], top: int = TOP_CONTRIBUTIONS) -> list[Explanation]:
        """Return one explanation for each batch, in order; the result does not depend on the other batches.

        Each has at most `top` contributions; features without effect are left out.
        """
        if not batches:
            return []
        values = self._predictor.select(featurize(batches).values)
        yields, _, _ = self._predictor.predict_matrix(values)
        return [self._explain_row(row, yield_, top) for row, yield_ in zip(values, yields, strict=True)]

    def shapley_values(self, row: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the Shapley values [k] of one batch's features [k], as yields, not rounded.

        They sum to the row's yield minus the baseline, and are exactly 0 where the row equals the typical batch and for
        features that the model does not use.
        """
        effects = np.zeros(len(row))
        differ = np.flatnonzero(~((row == self.typical) | (np.isnan(row) & np.isnan(self.typical))))
        if len(differ):
            ranks = self._sort_keys[:, differ].argsort(axis=1).argsort(axis=1)
            effects[differ] = self._mean_steps(row, differ, np.concatenate([ranks, len(differ) - 1 - ranks]))
        return effects

    def _mean_steps(
        self, row: npt.NDArray[np.float32], differ: npt.NDArray[np.intp], ranks: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """Return the yield change as each feature takes its value, averaged; `ranks` [permutations, len(differ)]."""
        permutations, count = ranks.shape
        steps = np.arange(count + 1)
        rows = np.tile(self.typical, (permutations, count + 1, 1))
        rows[:, :, differ] = np.where(ranks[:, None] < steps[:, None], row[differ], self.typical[differ])
        yields = self._predict(rows.reshape(-1, len(self.typical))).reshape(permutations, count + 1)
        mean: npt.NDArray[np.float64] = np.take_along_axis(np.diff(yields, axis=1), ranks, axis=1).mean(axis=0)
        return mean

    def _explain_row(self, row: npt.NDArray[np.float32], yield_: float, top: int) -> Explanation:
        effects = np.round(self.shapley_values(row), PREDICTION_DECIMALS)
        # A stable sort: equal effects keep the order of the features.
        largest = [i for i in np.argsort(-np.abs(effects), kind="stable")[:top].tolist() if effects[i]]
        baseline = round(self.baseline, PREDICTION_DECIMALS)
        features = self._predictor.features
        contributions = tuple(
            Contribution(features[i].name, _number(row[i]), _number(self.typical[i]), float(effects[i]))
            for i in largest
        )
        # Includes the rounding errors, so that the sum is the predicted yield; + 0.0 turns -0.0 into 0.0.
        rest = round(yield_ - baseline - sum(c.effect for c in contributions), PREDICTION_DECIMALS) + 0.0
        return Explanation(baseline, contributions, rest)

    def _predict(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        yields = self._predictor.predict_yields(rows)
        if not np.isfinite(yields).all():
            raise ArtifactError(
                self._source,
                "the prediction for a mixture of the typical batch and the requested one is not a number",
                "serve an earlier version and train again",
            )
        return yields


def _typical_features(features: Sequence[Feature], reference: Reference, source: str) -> npt.NDArray[np.float32]:
    """Return these features [k] of the typical batch: medians, or NaN if mostly missing in training."""
    try:
        return np.array([_median(reference.features[feature.name]) for feature in features], dtype=np.float32)
    except KeyError as error:
        problem = f"has no profile of the feature {error}"
        raise ArtifactError(source, problem, "use the code of the commit that trained it, or run `dvc repro`") from None


def _median(profile: Profile) -> float:
    quantiles = profile.quantiles
    return quantiles[len(quantiles) // 2] if quantiles and profile.missing <= MAX_MISSING_SHARE else np.nan


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else round(float(value), PREDICTION_DECIMALS)
