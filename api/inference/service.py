"""What the routes share: the opened model, and how its answers are made."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from api.inference.group_commit import Journal
from api.inference.served_model import PredictionResult, ServedModel, pin_of
from api.inference.shadow import Shadow
from api.problems import BUSY, NOT_READY, RequestError
from api.settings import Settings
from api.telemetry.metrics import Metrics
from batchyield.journal.records import split_request
from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.csv_reader import Sheet
from batchyield.plant.features import featurize
from batchyield.serving.artifact import FILES
from batchyield.serving.deployment.worker_registry import WorkerStatus
from batchyield.serving.responses import Model, Prediction, Refusal

BULK_THREADS = 2


class Service:
    """The model behind the routes.

    Attributes:
        journal: holds each answer before it leaves.
        refused: wanted models that are not used.
        others: the other workers, as they said last.
        shadow: a model that sees the same rows.
        bulk: threads for large bodies; few, so that many such bodies queue instead of slowing each other.
    """

    def __init__(self, settings: Settings, serving: ServedModel | None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.journal = Journal(settings, self.metrics)
        self.refused: tuple[Refusal, ...] = ()
        self.others: Callable[[], list[WorkerStatus]] = list
        self.shadow = Shadow(self.metrics)
        self.bulk = ThreadPoolExecutor(BULK_THREADS, thread_name_prefix="bulk")
        self._bulk_free = settings.bulk_slots
        self._serving: ServedModel | None = None
        if serving is not None:
            self.serve(serving)

    def serve(self, serving: ServedModel) -> None:
        """Answers with `serving` from now on; requests under way end with the model that they began with."""
        before, self._serving = self._serving, serving
        for one, value in ((before, 0), (serving, 1)):
            if one is not None:
                self.metrics.models.serves(
                    one.artifact.card.name, one.pin.version, one.pin.revision, one.pin.md5, value
                )

    @property
    def ready(self) -> bool:
        return self._serving is not None

    @property
    def serving(self) -> ServedModel:
        """The model in service.

        Raises:
            RequestError: it is not opened yet.
        """
        if self._serving is None:
            raise RequestError(NOT_READY, "the model is not loaded yet", headers={"retry-after": "1"})
        return self._serving

    @contextmanager
    def bulk_slot(self) -> Iterator[None]:
        """A place for one large body, from its first byte to its answer.

        Raises:
            RequestError: all places are taken.
        """
        if self._bulk_free == 0:
            raise RequestError(BUSY, "as many large bodies are here as the service takes", headers={"retry-after": "2"})
        self._bulk_free -= 1
        try:
            yield
        finally:
            self._bulk_free += 1

    def answer(self, batches: Sequence[Batch], body: bytes) -> PredictionResult:
        """Predicts what was decoded from a body of JSON."""
        serving, predictions = self.predict(batches, "json")
        return PredictionResult(serving, batches, predictions, "json", split_request(batches, predictions, body))

    def answer_sheet(self, sheet: Sheet) -> PredictionResult:
        """Predicts the batches of a sheet."""
        serving, predictions = self.predict(sheet.batches, "csv", sheet.warnings)
        return PredictionResult(serving, sheet.batches, predictions, "csv", split_request(sheet.batches, predictions))

    def predict(
        self, batches: Sequence[Batch], form: str, sheet_warnings: Sequence[tuple[CellWarning, ...]] | None = None
    ) -> tuple[ServedModel, list[Prediction]]:
        """Predicts and counts; `form` is what the answer's caller sent, `json` or `csv`."""
        serving = self.serving
        features = featurize(batches)
        predictions = serving.artifact.predictor.predict(batches, sheet_warnings, features)
        self.metrics.predicted(predictions, features.blanks, form)
        return serving, predictions

    def model(self) -> Model:
        """What is known of the model."""
        artifact, pin = self.serving.artifact, self.serving.pin
        pins = {name: artifact.pins[name] for name in FILES}
        shadow = self.shadow.candidate
        return Model(
            *(artifact.card.name, pin.version, pin.revision, pin.md5, pins, artifact.card),
            shadow=None if shadow is None else pin_of(shadow.deployment),
            refused=self.refused,
        )
