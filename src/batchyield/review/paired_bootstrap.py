"""Paired bootstrap of two models on their common test batches, with percentile intervals.

Both models are scored on the same resamples, so batches that are hard for both cancel out of the difference.
"""

from io import BytesIO
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd

from batchyield.errors import ArtifactError
from batchyield.modelling.card_metrics import METRIC_DECIMALS
from batchyield.modelling.estimators import Array
from batchyield.modelling.metrics import (
    Estimate,
    compute_metrics,
    estimates_in_file_units,
    in_file_units,
    percentile_intervals,
    resample_metrics,
)
from batchyield.modelling.train import Predictions

MIN_COMMON_BATCHES = 50
"""With fewer common batches there is no comparison."""

COLUMNS = ("id", "actual", "yields", "lower", "upper")


class PredictedBatches(NamedTuple):
    """Test batches of `data/plots/predicted.csv`: ids, measured yields and predictions [n]."""

    ids: list[str]
    measured: Array
    answers: Predictions

    def take(self, rows: list[int]) -> "PredictedBatches":
        """Return some of the batches, in the order of `rows`."""
        ids, answers = [self.ids[i] for i in rows], Predictions(*(side[rows] for side in self.answers))
        return PredictedBatches(ids, self.measured[rows], answers)


class PairedMetrics(msgspec.Struct, frozen=True):
    """Metrics of two models on their `rows` common test batches, in the units of `data/metrics/`.

    `change` is head minus base with its interval.
    """

    rows: int
    base: dict[str, float]
    head: dict[str, float]
    change: dict[str, Estimate]


def parse_predictions(data: bytes, source: str) -> PredictedBatches:
    """Return the batches of a `predicted.csv`; `source` names it in errors.

    Raises:
        ArtifactError: a column is missing or not numeric, or a value is not finite.
    """
    try:
        frame = pd.read_csv(BytesIO(data), dtype={"id": str})
        columns = [frame[name].to_numpy(dtype=float) for name in COLUMNS[1:]]
    except (ValueError, KeyError) as error:
        raise ArtifactError(source, f"has not the columns {', '.join(COLUMNS)}: {error}", "run `dvc repro`") from error
    if broken := [name for name, column in zip(COLUMNS[1:], columns, strict=True) if not np.isfinite(column).all()]:
        raise ArtifactError(source, f"has values that are not finite numbers in {', '.join(broken)}", "run `dvc repro`")
    return PredictedBatches(frame["id"].tolist(), columns[0], Predictions(*columns[1:]))


def join_by_id(base: PredictedBatches, head: PredictedBatches) -> tuple[PredictedBatches, PredictedBatches]:
    """Return the batches that both sides have, in the head's order and with the head's measured yields."""
    at = {name: i for i, name in enumerate(base.ids)}
    kept = [i for i, name in enumerate(head.ids) if name in at]
    there, here = base.take([at[head.ids[i]] for i in kept]), head.take(kept)
    return there._replace(measured=here.measured), here


def paired_bootstrap(
    base: PredictedBatches,
    head: PredictedBatches,
    resamples: int,
    confidence: float,
    seed: int,
    enough: int = MIN_COMMON_BATCHES,
) -> PairedMetrics | None:
    """Return the metrics of two models on their common batches, with intervals of the change.

    Args:
        resamples: number of bootstrap resamples, the same for both models.
        confidence: of the percentile intervals.
        enough: least number of common batches; with fewer, the result is None.
    """
    there, here = join_by_id(base, head)
    n = len(here.ids)
    if n < enough:
        return None
    was, now = resample_metrics(here.measured, [there.answers, here.answers], resamples, seed)
    before, after = (compute_metrics(side.measured, side.answers) for side in (there, here))
    values = {name: round(after[name] - before[name], METRIC_DECIMALS) for name in after}
    change = percentile_intervals(values, {name: now[name] - was[name] for name in values}, confidence)
    return PairedMetrics(n, in_file_units(before), in_file_units(after), estimates_in_file_units(change))
