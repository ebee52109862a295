"""Monitoring findings about a model in service, computed from the journal for the service and for the report."""

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from batchyield.journal.bias_states import read_newest_state
from batchyield.journal.database import Database
from batchyield.journal.queries import JournalledPrediction
from batchyield.monitoring.arrival_rate import ArrivalRate, compute_arrival_rate
from batchyield.monitoring.bias_findings import BiasFindings, compute_bias_findings
from batchyield.monitoring.control_chart import ControlChart, compute_control_chart
from batchyield.monitoring.drift_window import WindowDrift, compute_window_drift
from batchyield.monitoring.live_error import LiveError, compute_live_error
from batchyield.monitoring.recent_batches import read_recent_batches
from batchyield.monitoring.throttle import Pause, no_throttle
from batchyield.plant.features import FEATURES, featurize
from batchyield.serving.bias import BiasState
from batchyield.serving.prediction import Card
from batchyield.serving.reference_profile import Reference

DEFAULT_WINDOW_BATCHES = 500
"""Newest batches in a window, and newest batches with a measured yield."""

STEP_BATCHES = 16
"""Batches featurized between two pauses: about half a millisecond."""


class Findings(msgspec.Struct, frozen=True):
    """Drift, control chart, live error, arrival rate and bias update of a model's newest batches."""

    window: WindowDrift
    chart: ControlChart | None
    live_error: LiveError
    arrival_rate: ArrivalRate | None
    bias: BiasFindings | None


def read_findings(
    database: Database,
    md5: str,
    reference: Reference,
    card: Card,
    batches: int = DEFAULT_WINDOW_BATCHES,
    pause: Pause = no_throttle,
) -> Findings:
    """Read the newest predictions of a model from the journal and compute the findings.

    `batches` is the maximum size of the window, and of the measured batches; `pause` is called between small steps.
    """
    window = read_recent_batches(database, md5, batches, pause=pause)
    measured = read_recent_batches(database, md5, batches, measured=True, pause=pause, known=window)
    return compute_findings(reference, card, window, measured, read_bias_state(database, md5), pause)


def read_bias_state(database: Database, md5: str) -> BiasState | None:
    """Return the newest state of the bias update, or None if it is of another model than `md5`, or there is none."""
    with database.read_transaction() as connection:
        content = read_newest_state(connection)
    state = None if content is None else BiasState.decode(content)
    return state if state and state.model == md5 else None


def compute_findings(
    reference: Reference,
    card: Card,
    window: Sequence[JournalledPrediction],
    measured: Sequence[JournalledPrediction],
    bias: BiasState | None = None,
    pause: Pause = no_throttle,
) -> Findings:
    """Compute the findings from predictions of one model, each batch once, oldest first.

    `window` is compared with the training, `measured` with measured yields; `bias` is the newest state of the bias
    update; `pause` is called between small steps.
    """
    batches = [row.batch for row in window]
    yields = _alone(window)
    values = np.empty((len(batches), len(FEATURES)), dtype=np.float32)
    for first in range(0, len(batches), STEP_BATCHES):
        step = slice(first, first + STEP_BATCHES)
        values[step] = featurize(batches[step]).values
        pause()
    figures = [(row.measured, row.prediction.yield_, row.prediction.lower, row.prediction.upper) for row in measured]
    actual, predicted, lower, upper = np.array(figures, dtype=np.float64).reshape(-1, 4).T
    alone = _alone(measured) if any(row.prediction.bias is not UNSET for row in measured) else None
    return Findings(
        compute_window_drift(reference, batches, values, yields, pause=pause),
        compute_control_chart(reference.subgroups, yields) if reference.subgroups else None,
        compute_live_error(actual, predicted, lower, upper, card.metrics, card.level, alone),
        compute_arrival_rate(np.array([row.at for row in window], dtype=np.int64)),
        compute_bias_findings(bias, window),
    )


def _alone(rows: Sequence[JournalledPrediction]) -> NDArray[np.float64]:
    """Return the yields [n] that the model alone predicted."""
    return np.array([row.prediction.alone().yield_ for row in rows], dtype=np.float64)
