"""The blocking client."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from batchyield.batch import Batch
from batchyield.client.calls import COMPRESSED_FROM, Calls, Inputs, Outcomes, Source, http_options
from batchyield.client.retry import Retry, Steps
from batchyield.outcomes import OutcomesKept
from batchyield.replies import ExplainedPredictions, Health, Model, Prediction, Predictions

Made = TypeVar("Made")


class Client:
    """A client that waits for its answers; safe to share between threads.

    Args:
        url: of the service; None: `BATCHYIELD_URL`, else http://127.0.0.1:8000.
        key: None: `BATCHYIELD_API_KEY`, if it is set.
        timeout: seconds for each step of an exchange: to connect, to send, to receive.
        retry: how often a request is sent that is not answered, or is told to come back.
        again: where the model is changed while a long request is answered, begin again instead of raising.
        compressed_from: size in bytes from which bodies are compressed; None: never.
        transport: how requests travel, for example `httpx.WSGITransport(app=...)`.

    Each call raises:
        UnreachableError: no answer.
        UnavailableError: the service cannot answer now, or it failed.
        RefusedError: the request is wrong; `violations` says where. UnauthorizedError: its key is.
        MixedModelsError: several models answered parts of it, unless `again` helps.
        ReplyError: what answered is not the service.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        again: bool = False,
        compressed_from: int | None = COMPRESSED_FROM,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(transport=transport, **http_options(url, key, timeout))
        self._calls = Calls(self._http.build_request, retry, again, compressed_from)

    def predict(self, inputs: Inputs) -> Predictions:
        """One prediction for each batch, in order; any number of batches, in requests of 10,000 at most."""
        return self._done(self._calls.predict(inputs))

    def predict_one(self, batch: Batch | Mapping[str, Any]) -> Prediction:
        """The prediction of one batch."""
        return (self.predict([batch])).predictions[0]

    def explain(self, inputs: Inputs) -> ExplainedPredictions:
        """Predictions, each with what made it differ from the typical batch's; about 4 ms a batch."""
        return self._done(self._calls.explain(inputs))

    def predict_csv(self, source: Source) -> Predictions:
        """Predictions of the plant's file (a path, its bytes, or an open binary file), warnings included."""
        return self._done(self._calls.predict_csv(source))

    def score_csv(self, source: Source) -> Iterator[bytes]:
        """Parts of `id,yield,lower,upper`, a line for each batch of the file; a file of any size is never held whole.

        What was yielded before an error stands; `again` does not apply.
        """
        for steps in self._calls.score_csv(source):
            yield self._done(steps)

    def outcomes(self, told: Outcomes) -> OutcomesKept:
        """Tells measured yields, and what became of each: recorded or corrected, and by how many predictions matched.

        Any number of them, in requests of 10,000 at most; each is kept whole or not at all. Telling the same again
        changes nothing, so that after an error all of them can be told again.
        """
        return self._done(self._calls.outcomes(told))

    def model(self) -> Model:
        """The model that answers: its card, and the pin of each of its files."""
        return self._done(self._calls.get("/v1/model", Model))

    def ready(self) -> Health:
        """That the pinned model is loaded; raises while it is not."""
        return self._done(self._calls.get("/health/ready", Health))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _done(self, steps: Steps[Made]) -> Made:
        outcome: httpx.Response | httpx.TransportError | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                made: Made = end.value
                return made
            if isinstance(step, httpx.Request):
                try:
                    outcome = self._http.send(step)
                except httpx.TransportError as error:
                    outcome = error
            else:
                time.sleep(step)
                outcome = None
