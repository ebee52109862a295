"""Two models' answers to the same test batches: does one err more, or would another draw of batches say otherwise?

The batches are drawn once for both, so that what is hard for either model cancels and only their difference is left.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import msgspec
import pandas as pd

from batchyield.errors import ArtifactError
from batchyield.modelling.estimators import Array
from batchyield.modelling.metrics import (
    METRIC_DECIMALS,
    Estimate,
    compute_metrics,
    draw_resamples,
    percentile_intervals,
    resample_metrics,
)
from batchyield.modelling.train import Predictions

MIN_COMMON_BATCHES = 50
"""Common batches below which nothing is said."""

COLUMNS = ("id", "actual", "yields", "lower", "upper")


class PredictedBatches(NamedTuple):
    """Answers to test batches as `data/plots/predicted.csv` has them: ids, measured yields and answers [n]."""

    ids: list[str]
    measured: Array
    answers: Predictions

    def take(self, rows: Sequence[int]) -> "PredictedBatches":
        """Some of the rows, in the order given."""
        at = list(rows)
        return PredictedBatches(
            [self.ids[i] for i in at], self.measured[at], Predictions(*(side[at] for side in self.answers))
        )


class PairedMetrics(msgspec.Struct, frozen=True):
    """MetricValues of two models on their common test batches.

    Attributes:
        rows: common batches.
        base, head: figures by name.
        change: head less base, with its confidence interval.
    """

    rows: int
    base: dict[str, float]
    head: dict[str, float]
    change: dict[str, Estimate]


def parse_predictions(data: bytes, source: str) -> PredictedBatches:
    """Reads the points of the plot of predicted against actual.

    Raises:
        ArtifactError: they are not those.
    """
    try:
        frame = pd.read_csv(BytesIO(data), dtype={"id": str})
        columns = [frame[name].to_numpy(dtype=float) for name in COLUMNS[1:]]
    except (ValueError, KeyError) as error:
        raise ArtifactError(source, f"has not the columns {', '.join(COLUMNS)}: {error}", "run `dvc repro`") from error
    return PredictedBatches(frame["id"].tolist(), columns[0], Predictions(*columns[1:]))


def join_by_id(base: PredictedBatches, head: PredictedBatches) -> tuple[PredictedBatches, PredictedBatches]:
    """The batches that both sides were tested on, in the head's order, measured as the head has it."""
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
    """Compares two models row by row.

    Args:
        base: rows of one model.
        head: rows of the other.
        resamples: draws with replacement from the common batches, the same for both.
        confidence: of the percentile intervals.
        seed: of the draws.
        enough: common batches below which nothing is said.

    Returns:
        None where there are fewer.
    """
    there, here = join_by_id(base, head)
    n = len(here.ids)
    if n < enough:
        return None
    drawn = draw_resamples(n, resamples, seed)
    was, now = (resample_metrics(side.measured, side.answers, drawn) for side in (there, here))
    before, after = (compute_metrics(side.measured, side.answers) for side in (there, here))
    values = {name: round(after[name] - before[name], METRIC_DECIMALS) for name in after}
    change = percentile_intervals(values, {name: now[name] - was[name] for name in values}, confidence)
    return PairedMetrics(n, before, after, change)
