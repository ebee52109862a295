"""The state that routes share: settings, model, journal, shadow, metrics, and the threads for large bodies."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from api.inference.bias_updates import BiasUpdates
from api.inference.group_commit import GroupCommitJournal
from api.inference.memory_limit import MAX_BULK_SLOTS
from api.inference.served_model import PredictionResult, ServedModel, pin_of
from api.inference.shadow import ShadowRunner
from api.problems import BUSY, NOT_READY, RequestError
from api.settings import Settings
from api.telemetry.metrics import Metrics
from api.telemetry.running_requests import RunningRequests
from batchyield.journal.records import split_request
from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.csv_reader import Sheet
from batchyield.plant.features import featurize
from batchyield.serving.artifact import FILES
from batchyield.serving.deployment.worker_registry import WorkerStatus
from batchyield.serving.prediction import Prediction
from batchyield.serving.responses import Model, Refusal

BULK_THREADS = 2

Value = TypeVar("Value")


class Service:
    """The state of one worker. Attributes are written from the event loop or the hot-swap thread, by assignment only.

    Attributes:
        refused: desired models that are not used, and why.
        other_workers: returns the last status of each other worker.
        bulk: threads for large bodies; few, so that such bodies queue instead of slowing each other down.
    """

    def __init__(self, settings: Settings, model: ServedModel | None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.journal = GroupCommitJournal(settings, self.metrics)
        self.bias = BiasUpdates(settings, self.journal)
        self.refused: tuple[Refusal, ...] = ()
        self.other_workers: Callable[[], list[WorkerStatus]] = list
        self.shadow = ShadowRunner(self.metrics)
        self.bulk = ThreadPoolExecutor(BULK_THREADS, thread_name_prefix="bulk")
        self._free_bulk_slots = settings.bulk_slots or MAX_BULK_SLOTS
        self._running = RunningRequests()
        self._model: ServedModel | None = None
        if model is not None:
            self.set_model(model)

    def set_model(self, model: ServedModel) -> None:
        """Predict with `model` from now on; running requests end with the model that they began with."""
        self.bias.prepare(model)
        previous, self._model = self._model, model
        for changed, value in ((previous, 0), (model, 1)):
            if changed is not None:
                pin = changed.pin
                self.metrics.models.set_serving(changed.artifact.card.name, pin.version, pin.revision, pin.md5, value)

    @property
    def ready(self) -> bool:
        return self._model is not None

    @property
    def model(self) -> ServedModel:
        """The model in service.

        Raises:
            RequestError: the model is not loaded yet.
        """
        if self._model is None:
            raise RequestError(NOT_READY, "the model is not loaded yet", headers={"retry-after": "1"})
        return self._model

    @contextmanager
    def bulk_slot(self, request_id: str) -> Iterator[None]:
        """Hold one of the places for large bodies, from the first byte of the body to the last of the response.

        Raises:
            RequestError: all places are taken.
        """
        if self._free_bulk_slots == 0:
            raise RequestError(BUSY, BUSY.detail, headers={"retry-after": "2"})
        self._free_bulk_slots -= 1
        self._running.add(request_id)
        try:
            yield
        finally:
            self._running.remove(request_id)
            self._free_bulk_slots += 1

    async def run_in_bulk_thread(self, work: Callable[[], Value]) -> Value:
        """Return `work()`, run in a bulk thread within `work_seconds`.

        After the limit, work that has not begun is cancelled; work that has begun runs on for a second or two.

        Raises:
            RequestError: there was no result in time.
        """
        seconds = self.settings.work_seconds
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self.bulk, work)
        except TimeoutError:
            detail = f"the request was not processed within {seconds:g} s; send fewer batches at a time, or retry later"
            raise RequestError(BUSY, detail, headers={"retry-after": "5"}) from None

    def predict_json(
        self,
        batches: Sequence[Batch],
        body: bytes,
        warnings: Sequence[tuple[CellWarning, ...]] | None = None,
        bias: bool = True,
    ) -> PredictionResult:
        """Return the predictions of batches that were decoded from a JSON body, with the decoder's warnings."""
        model, predictions = self.predict(batches, "json", warnings, bias)
        return PredictionResult(model, batches, predictions, "json", split_request(batches, predictions, body))

    def predict_sheet(self, sheet: Sheet, bias: bool = True) -> PredictionResult:
        """Return the predictions of the batches of a CSV file."""
        model, predictions = self.predict(sheet.batches, "csv", sheet.row_warnings(), bias)
        return PredictionResult(model, sheet.batches, predictions, "csv", split_request(sheet.batches, predictions))

    def predict(
        self,
        batches: Sequence[Batch],
        form: str,
        warnings: Sequence[tuple[CellWarning, ...]] | None = None,
        bias: bool = True,
    ) -> tuple[ServedModel, list[Prediction]]:
        """Return the model in service and its predictions [n] of `batches` [n] in `json` or `csv`, and count them.

        With `bias`, measured yields of earlier batches correct them.

        Raises:
            ArtifactError: a prediction is not a finite number.
        """
        model = self.model
        features = featurize(batches)
        predictions = model.artifact.predictor.predict(batches, warnings, features)
        state = self.bias.state
        if state is not None and bias and state.model == model.pin.md5:
            predictions = state.correct_all(batches, predictions)
        self.metrics.batches_predicted(predictions, features.blanks, form)
        return model, predictions

    def describe_model(self) -> Model:
        """Return the response of `GET /v1/model`."""
        artifact, pin = self.model.artifact, self.model.pin
        pins = {name: artifact.pins[name] for name in FILES}
        shadow = self.shadow.candidate
        return Model(
            *(artifact.card.name, pin.version, pin.revision, pin.md5, pins, artifact.card),
            shadow=None if shadow is None else pin_of(shadow.deployment),
            refused=self.refused,
        )
