"""Why a prediction is not that of the typical batch: what each feature contributes to the difference.

The contributions are Shapley values [1] of the served model between two rows: the batch, and the typical batch that
the pinned reference profile describes. They are estimated over random orders of the features, each order beside its
reverse [2], which leaves no error where features act alone or in pairs.

[1] Štrumbelj, Kononenko, Explaining prediction models and individual predictions with feature contributions, 2014.
[2] Mitchell, Cooper, Frank, Holmes, Sampling permutations for Shapley value estimation, 2022.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from batchyield.errors import ArtifactError
from batchyield.plant.batch import Batch
from batchyield.plant.features import FEATURES, featurize
from batchyield.serving.predictor import Predictor
from batchyield.serving.reference_profile import Profile, Reference
from batchyield.serving.responses import PREDICTION_DECIMALS, Contribution, Explanation

PERMUTATION_PAIRS = 64
"""Orders, each used forwards and backwards; docs/explanations.md has the error and the cost of other numbers."""

TOP_CONTRIBUTIONS = 5
SEED = 1
MISSING = 0.5
"""Share of blanks in training above which the typical batch has a blank too."""


class Explainer:
    """Explains the predictions of one model; safe to share between threads.

    Args:
        predictor: the model.
        reference: its reference profile.
        source: what errors call the profile.

    Raises:
        ArtifactError: the profile lacks a feature, or the typical batch gets no yield.
    """

    def __init__(self, predictor: Predictor, reference: Reference, source: str = "reference.json") -> None:
        self._predictor, self._source = predictor, source
        self.typical = _typical(reference, source)
        self.baseline = float(self._yields(self.typical[None])[0])
        # Drawn once for all features and then restricted to those that differ: a row's answer depends on it alone.
        self._keys = np.random.default_rng(SEED).random((PERMUTATION_PAIRS, len(FEATURES)))

    def explain(self, batches: Sequence[Batch], top: int = TOP_CONTRIBUTIONS) -> list[Explanation]:
        """One explanation for each batch, in order; a batch is explained alike whatever stands beside it.

        Args:
            batches: any number of batches.
            top: how many contributions to tell at most; those without effect are never told.

        Raises:
            ArtifactError: the model answered with something that is not a number.
        """
        if not batches:
            return []
        values = featurize(batches).values
        yields, _, _ = self._predictor.predict_matrix(values)
        return [self._explain_row(row, yield_, top) for row, yield_ in zip(values, yields, strict=True)]

    def shapley_values(self, row: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The contribution of every feature, in yield, not rounded.

        Args:
            row: features of one batch, float32 [len(FEATURES)].

        Returns:
            [len(FEATURES)]; they sum to the row's yield less the baseline. Exactly 0 where the row is as the typical
            batch and where the model does not look.

        Raises:
            ArtifactError: the model answered with something that is not a number.
        """
        effects = np.zeros(len(FEATURES))
        differ = np.flatnonzero(~((row == self.typical) | (np.isnan(row) & np.isnan(self.typical))))
        if len(differ):
            forwards = self._keys[:, differ].argsort(axis=1).argsort(axis=1)
            effects[differ] = self._along(row, differ, np.concatenate([forwards, len(differ) - 1 - forwards]))
        return effects

    def _along(
        self, row: npt.NDArray[np.float32], differ: npt.NDArray[np.intp], places: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """Mean step of the yield as each feature takes its value, over orders; `places` [orders, len(differ)]."""
        orders, count = places.shape
        steps = np.arange(count + 1)
        rows = np.tile(self.typical, (orders, count + 1, 1))
        rows[:, :, differ] = np.where(places[:, None] < steps[:, None], row[differ], self.typical[differ])
        yields = self._yields(rows.reshape(-1, len(FEATURES))).reshape(orders, count + 1)
        mean: npt.NDArray[np.float64] = np.take_along_axis(np.diff(yields, axis=1), places, axis=1).mean(axis=0)
        return mean

    def _explain_row(self, row: npt.NDArray[np.float32], yield_: float, top: int) -> Explanation:
        effects = np.round(self.shapley_values(row), PREDICTION_DECIMALS)
        # A stable sort: among equals, the order of the features.
        largest = [i for i in np.argsort(-np.abs(effects), kind="stable")[:top].tolist() if effects[i]]
        baseline = round(self.baseline, PREDICTION_DECIMALS)
        told = tuple(
            Contribution(FEATURES[i].name, _number(row[i]), _number(self.typical[i]), float(effects[i]))
            for i in largest
        )
        # What rounding leaves over goes in here too, so that the sum is the yield that was answered; never -0.0.
        rest = round(yield_ - baseline - sum(one.effect for one in told), PREDICTION_DECIMALS) + 0.0
        return Explanation(baseline, told, rest)

    def _yields(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        yields = self._predictor.predict_yields(rows)
        if not np.isfinite(yields).all():
            raise ArtifactError(
                self._source,
                "describes a typical batch; the model answers a mixture of it and another with what is no number",
                "serve an earlier version and train again",
            )
        return yields


def _typical(reference: Reference, source: str) -> npt.NDArray[np.float32]:
    """Features of the typical batch, float32 [len(FEATURES)]: medians, and NaN where most training batches are NaN."""
    try:
        return np.array([_median(reference.features[feature.name]) for feature in FEATURES], dtype=np.float32)
    except KeyError as error:
        problem = f"has no profile of the feature {error}"
        raise ArtifactError(source, problem, "use the code of the commit that trained it, or run `dvc repro`") from None


def _median(profile: Profile) -> float:
    quantiles = profile.quantiles
    return quantiles[len(quantiles) // 2] if quantiles and profile.missing <= MISSING else np.nan


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else round(float(value), PREDICTION_DECIMALS)
