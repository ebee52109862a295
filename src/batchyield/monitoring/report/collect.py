"""Collects the data of the drift report from the journal."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchyield.journal.database import Database
from batchyield.journal.queries import JournalledPrediction, ModelCount, count_by_model
from batchyield.monitoring.drift_window import ReadingDrift
from batchyield.monitoring.findings import Findings, compute_findings, read_bias_state
from batchyield.monitoring.recent_batches import read_recent_batches
from batchyield.plant.batch import READING_NAMES, READINGS, Reading
from batchyield.plant.features import FEATURES, INDEX, featurize
from batchyield.plant.features.catalogue import Feature
from batchyield.serving.artifact import Artifact
from batchyield.serving.reference_profile import Profile, read_reference

MAX_BATCHES = 20_000
"""Newest batches of a report, about eight years of the plant; the page notes that older ones are left out."""


class ReadingComparison(NamedTuple):
    """A reading of the window, by the feature tested for it, and of the training.

    Attributes:
        profile: distribution in the training.
        values: values of the window that are present [n].
    """

    reading: Reading
    feature: Feature
    drift: ReadingDrift
    profile: Profile
    values: NDArray[np.float64]

    @property
    def median_trained(self) -> float | None:
        """Median of the training; None without values."""
        quantiles = self.profile.quantiles
        return quantiles[len(quantiles) // 2] if quantiles else None

    @property
    def median(self) -> float | None:
        """Median of the window; None without values."""
        return float(np.median(self.values)) if len(self.values) else None


class ReportData(NamedTuple):
    """Data of the page.

    Attributes:
        rows: the batches of the report, each once, oldest first.
        readings: those that the model was trained with, in the plant's order.
        others: predictions of other models in the same time.
        truncated: whether there were more than `MAX_BATCHES`.
    """

    artifact: Artifact
    findings: Findings
    rows: Sequence[JournalledPrediction]
    readings: tuple[ReadingComparison, ...]
    others: tuple[ModelCount, ...]
    truncated: bool


def collect_report(database: Database, artifact: Artifact, since: int | None, until: int | None) -> ReportData:
    """Read a model's predictions from the journal, from `since` to before `until`, and compare with its training."""
    reference = read_reference(artifact.reference)
    rows = read_recent_batches(database, artifact.md5, MAX_BATCHES + 1, since, until, horizon=None)
    truncated = len(rows) > MAX_BATCHES
    rows = rows[-MAX_BATCHES:]
    measured = [row for row in rows if row.measured is not None]
    findings = compute_findings(reference, artifact.card, rows, measured, read_bias_state(database, artifact.md5))
    values = featurize([row.batch for row in rows]).values
    readings = []
    for drift in findings.window.readings:
        column = values[:, INDEX[drift.feature]].astype(np.float64)
        present, feature = column[~np.isnan(column)], FEATURES[INDEX[drift.feature]]
        reading = READINGS[READING_NAMES.index(drift.reading)]
        readings.append(ReadingComparison(reading, feature, drift, reference.features[drift.feature], present))
    with database.read_transaction() as connection:
        others = [model for model in count_by_model(connection, since, until) if model.md5 != artifact.md5]
    return ReportData(artifact, findings, rows, tuple(readings), tuple(others), truncated)
