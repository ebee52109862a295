"""What the journal tells of a model in service: one function for the service, its metrics, and the report."""

from collections.abc import Sequence

import msgspec
import numpy as np

from batchyield.journal.database import Store
from batchyield.journal.queries import Journalled
from batchyield.monitoring.arrival_rate import Frequency, frequency
from batchyield.monitoring.control_chart import Chart, control_chart
from batchyield.monitoring.drift_window import Shift, compare
from batchyield.monitoring.live_error import Live, live_error
from batchyield.monitoring.recent_batches import recent
from batchyield.monitoring.throttle import Rest, on
from batchyield.plant.features import FEATURES, featurize
from batchyield.serving.reference_profile import Reference
from batchyield.serving.responses import Card

BATCHES = 500
"""Newest batches in a window, and newest with a measured yield, where nobody says otherwise."""


AT_ONCE = 16
"""Batches whose features are computed between two rests: half a millisecond."""


class Findings(msgspec.Struct, frozen=True):
    """One look at a model's newest answers."""

    window: Shift
    chart: Chart | None
    live: Live
    frequency: Frequency | None


def look(store: Store, md5: str, reference: Reference, card: Card, batches: int = BATCHES, rest: Rest = on) -> Findings:
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
    window = recent(store, md5, batches, rest=rest)
    told = recent(store, md5, batches, measured=True, rest=rest, known=window)
    return judge(reference, card, window, told, rest)


def judge(
    reference: Reference,
    card: Card,
    window: Sequence[Journalled],
    told: Sequence[Journalled],
    rest: Rest = on,
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
    for first in range(0, len(rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        values[part] = featurize(rows[part]).values
        rest()
    shift = compare(reference, rows, values, yields, rest=rest)
    chart = control_chart(reference.subgroups, yields) if reference.subgroups else None
    answers = np.array(
        [(row.measured, row.prediction.yield_, row.prediction.lower, row.prediction.upper) for row in told],
        dtype=np.float64,
    ).reshape(-1, 4)
    measured, predicted, lower, upper = answers.T
    live = live_error(measured, predicted, lower, upper, card.metrics, card.level)
    return Findings(shift, chart, live, frequency(np.array([row.at for row in window], dtype=np.int64)))
