"""What the report is made of, read from the journal once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchyield.journal.database import Database
from batchyield.journal.queries import JournalledPrediction
from batchyield.monitoring.drift_window import ReadingDrift
from batchyield.monitoring.findings import Findings, compute_findings
from batchyield.monitoring.recent_batches import count_by_model, read_recent_batches
from batchyield.plant.batch import READINGS, Reading
from batchyield.plant.features import FEATURES, INDEX, featurize
from batchyield.plant.features.catalogue import Feature
from batchyield.serving.artifact import Artifact
from batchyield.serving.reference_profile import Profile, Reference, read_reference

MAX_BATCHES = 20_000
"""Newest batches of a report: some eight years of the plant; what is older is left out, and that is said."""


class ReadingComparison(NamedTuple):
    """A reading of the window beside the training.

    Attributes:
        reading: name, unit and description.
        feature: what speaks for it, with its own unit.
        shift: what was found.
        profile: of the training.
        values: of the window [n], without those that are missing.
    """

    reading: Reading
    feature: Feature
    shift: ReadingDrift
    profile: Profile
    values: NDArray[np.float64]

    @property
    def before(self) -> float | None:
        """Median of the training."""
        quantiles = self.profile.quantiles
        return quantiles[len(quantiles) // 2] if quantiles else None

    @property
    def now(self) -> float | None:
        """Median of the window; None where no value came."""
        return float(np.median(self.values)) if len(self.values) else None


class ReportData(NamedTuple):
    """All that the page shows.

    Attributes:
        artifact: the model that the report is of.
        reference: its profile.
        findings: of all batches of the report.
        rows: those batches, each once, oldest first.
        readings: all 42 in the plant's order.
        others: version, md5 and predictions of each other model that answered in the time.
        cut: whether there were more than `MOST`.
    """

    artifact: Artifact
    reference: Reference
    findings: Findings
    rows: Sequence[JournalledPrediction]
    readings: tuple[ReadingComparison, ...]
    others: tuple[tuple[str, str, int], ...]
    cut: bool


def collect_report(store: Database, artifact: Artifact, since: int | None, until: int | None) -> ReportData:
    """Reads what the model answered.

    Args:
        store: the journal.
        artifact: the model.
        since: the first time that counts, in microseconds; None: all.
        until: the first that no longer does.
    """
    reference = read_reference(artifact.reference)
    rows = read_recent_batches(store, artifact.md5, MAX_BATCHES + 1, since, until, horizon=None)
    cut = len(rows) > MAX_BATCHES
    rows = rows[-MAX_BATCHES:]
    findings = compute_findings(reference, artifact.card, rows, [row for row in rows if row.measured is not None])
    values = featurize([row.batch for row in rows]).values
    readings = []
    for reading, shift in zip(READINGS, findings.window.readings, strict=True):
        column = values[:, INDEX[shift.feature]].astype(np.float64)
        feature = FEATURES[INDEX[shift.feature]]
        present = column[~np.isnan(column)]
        readings.append(ReadingComparison(reading, feature, shift, reference.features[shift.feature], present))
    others = [
        (version, md5, count) for version, _, md5, count in count_by_model(store, since, until) if md5 != artifact.md5
    ]
    return ReportData(artifact, reference, findings, rows, tuple(readings), tuple(others), cut)
