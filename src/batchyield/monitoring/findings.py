"""What the journal tells of a model in service: one function for the service, its metrics, and the report."""

from collections.abc import Sequence

import msgspec
import numpy as np

from batchyield.journal.database import Database
from batchyield.journal.queries import JournalledPrediction
from batchyield.monitoring.arrival_rate import ArrivalRate, compute_arrival_rate
from batchyield.monitoring.control_chart import ControlChart, compute_control_chart
from batchyield.monitoring.drift_window import WindowDrift, compute_window_drift
from batchyield.monitoring.live_error import LiveError, compute_live_error
from batchyield.monitoring.recent_batches import read_recent_batches
from batchyield.monitoring.throttle import Pause, no_throttle
from batchyield.plant.features import FEATURES, featurize
from batchyield.serving.reference_profile import Reference
from batchyield.serving.responses import Card

DEFAULT_WINDOW_BATCHES = 500
"""Newest batches in a window, and newest with a measured yield, where nobody says otherwise."""


STEP_BATCHES = 16
"""Batches whose features are computed between two rests: half a millisecond."""


class Findings(msgspec.Struct, frozen=True):
    """One look at a model's newest answers."""

    window: WindowDrift
    chart: ControlChart | None
    live_error: LiveError
    arrival_rate: ArrivalRate | None


def read_findings(
    store: Database,
    md5: str,
    reference: Reference,
    card: Card,
    batches: int = DEFAULT_WINDOW_BATCHES,
    rest: Pause = no_throttle,
) -> Findings:
    """Reads the newest answers of a model and judges them.

    Args:
        store: the journal.
        md5: of the model.
        reference, card: the model's own.
        batches: in the window, and in that of measured yields, at the most.
        rest: called between small steps of the work.

    Raises:
        DatabaseUnavailableError: it cannot be opened.
    """
    window = read_recent_batches(store, md5, batches, rest=rest)
    told = read_recent_batches(store, md5, batches, measured=True, rest=rest, known=window)
    return compute_findings(reference, card, window, told, rest)


def compute_findings(
    reference: Reference,
    card: Card,
    window: Sequence[JournalledPrediction],
    told: Sequence[JournalledPrediction],
    rest: Pause = no_throttle,
) -> Findings:
    """Judges answers of one model, each batch once, oldest first.

    Args:
        reference, card: the model's own.
        window: the answers that are laid beside the training.
        told: those whose measured yield is known.
        rest: called between small steps of the work.
    """
    rows = [row.batch for row in window]
    yields = np.array([row.prediction.yield_ for row in window], dtype=np.float64)
    values = np.empty((len(rows), len(FEATURES)), dtype=np.float32)
    for first in range(0, len(rows), STEP_BATCHES):
        part = slice(first, first + STEP_BATCHES)
        values[part] = featurize(rows[part]).values
        rest()
    shift = compute_window_drift(reference, rows, values, yields, rest=rest)
    chart = compute_control_chart(reference.subgroups, yields) if reference.subgroups else None
    answers = np.array(
        [(row.measured, row.prediction.yield_, row.prediction.lower, row.prediction.upper) for row in told],
        dtype=np.float64,
    ).reshape(-1, 4)
    measured, predicted, lower, upper = answers.T
    live = compute_live_error(measured, predicted, lower, upper, card.metrics, card.level)
    return Findings(shift, chart, live, compute_arrival_rate(np.array([row.at for row in window], dtype=np.int64)))
