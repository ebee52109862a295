"""Bias update in the service: the state is derived from the journal in a thread, off the request path.

Every worker derives it from the same rows, so all workers and hosts come to the same state, which answers name by its
digest. It is written to the journal before the first answer that uses it.
"""

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from api.inference.group_commit import GroupCommitJournal
from api.inference.served_model import ServedModel
from api.settings import Settings
from batchyield.errors import BatchyieldError
from batchyield.journal.bias_states import OutcomesVersion, read_measured_batches, read_outcomes_version, save_state
from batchyield.journal.database import Database
from batchyield.journal.migrate import newest_revision, read_revision
from batchyield.plant.features import featurize
from batchyield.plant.place import find_place
from batchyield.serving.bias import BiasParams, BiasState, Residual, read_params

logger = logging.getLogger("batchyield.bias")

REFRESH_SECONDS = 1.0
"""How often a worker looks for outcomes that other workers recorded."""

PAUSE_SECONDS = 0.2
"""Shortest time between two states, however many outcomes arrive."""

SAVE_SECONDS = 3600.0
"""How often a state that stays in use is marked so in the journal, against retention."""

READ_ERRORS = (BatchyieldError, SQLAlchemyError, OSError)


class BiasUpdates:
    """Keeps the state of the model in service up to date.

    Attributes:
        state: of the model whose md5 it names; None while there are too few measured batches.
    """

    def __init__(self, settings: Settings, journal: GroupCommitJournal) -> None:
        """Read the parameters from dvc.lock; raise ArtifactError if it cannot be read."""
        self._journal = journal
        on = settings.bias == "on" and journal.enabled and settings.lock_path.exists()
        self.params: BiasParams | None = read_params(settings.lock_path) if on else None
        self.state: BiasState | None = None
        self._model: ServedModel | None = None
        self._version: tuple[str, OutcomesVersion] | None = None
        self._saved_at = 0.0
        self._failing = False
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def prepare(self, model: ServedModel) -> None:
        """Derive the state of a model before it serves, from its own residuals."""
        self._model = model
        self.refresh()

    def notify(self) -> None:
        """Look for changed outcomes soon; called after some were recorded."""
        self._wake.set()

    def start(self) -> None:
        """Start the thread, if there is a journal and the update is on."""
        if self.params is not None:
            self._thread = threading.Thread(target=self._run, name="bias", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """Derive the state from the journal if outcomes or the model changed; keep the last one on failure."""
        with self._lock:
            try:
                self._refresh()
            except READ_ERRORS as error:
                if not self._failing:
                    logger.warning("the journal cannot be read for the bias update: %s", getattr(error, "orig", error))
                self._failing = True
                return
            self._failing = False

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(REFRESH_SECONDS)
            self._wake.clear()
            self.refresh()
            self._stopping.wait(PAUSE_SECONDS)

    def _refresh(self) -> None:
        model = self._model
        if self.params is None or model is None:
            return
        database = self._journal.database
        if database.file is not None and not database.file.exists():
            return
        if self._version is None and read_revision(database) != newest_revision():
            return  # the writer upgrades it
        with database.read_transaction() as connection:
            version = model.pin.md5, read_outcomes_version(connection)
        if version != self._version:
            state = _derive(database, model, self.params)
            self._save(database, state)
            self.state, self._version = state, version
        elif self.state is not None and time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save(database, self.state)

    def _save(self, database: Database, state: BiasState | None) -> None:
        if state is not None:
            save_state(database, state.digest, state.encode(), time.time_ns() // 1000)
            self._saved_at = time.monotonic()


def _derive(database: Database, model: ServedModel, params: BiasParams) -> BiasState | None:
    """Return the state of a model: its residuals for the latest measured batches; None if they are too few."""
    with database.read_transaction() as connection:
        rows = read_measured_batches(connection)
    placed = [(row, place) for row in rows if (place := find_place(row.batch)) is not None]
    if len(placed) < params.minimum:
        return None
    predicted = model.artifact.predictor.predict_matrix(featurize([row.batch for row, _ in placed]).values)
    residuals = [
        Residual.at_place(str(row.batch.id), place, row.measured or 0.0, *numbers)
        for (row, place), *numbers in zip(placed, *predicted, strict=True)
    ]
    return BiasState(model.pin.md5, model.artifact.card.level, params, residuals)
