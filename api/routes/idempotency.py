"""`Idempotency-Key`: a repeated request gets the answer of the first one and is journalled once.

Follows draft-ietf-httpapi-idempotency-key-header. A key counts for one API key, path and query. A request is predicted
first; the journal then refuses a second answer. So a first request costs no look-up, and of two concurrent ones, even
of two workers, one is written.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import msgspec
from litestar.types import HTTPScope

from api.inference.served_model import PredictionResult
from api.problems import INVALID, RequestError
from batchyield.errors import Violation
from batchyield.journal.queries import RecordedPart
from batchyield.serving.prediction import Prediction
from batchyield.serving.responses import ModelPin

HEADER = b"idempotency-key"
PATTERN = r'("[ !#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})'
"""A structured field's string without escapes, or the same without quotes and blanks."""

_VALID = re.compile(PATTERN.encode())
_predictions = msgspec.json.Decoder(list[Prediction])


def read_key(scope: HTTPScope) -> str | None:
    """Return the digest of a request's caller, target and `Idempotency-Key`; None without one.

    Raises:
        RequestError: the header is malformed.
    """
    state = scope["state"]
    value = state["headers"].get(HEADER)
    if value is None:
        return None
    if not _VALID.fullmatch(value):
        raise _refusal("expected 1 to 255 visible ASCII characters, for example a UUID")
    target = state["caller"].encode(), scope["path"].encode(), scope["query_string"], value.strip(b'"')
    return hashlib.sha256(b"\n".join(target)).hexdigest()


def repeat_result(result: PredictionResult, recorded: Sequence[RecordedPart]) -> PredictionResult:
    """Return the result that was recorded first, given the one of a repeated request.

    Raises:
        RequestError: the requests have other inputs.
    """
    if [part.inputs for part in recorded] != [part.inputs for part in result.parts]:
        raise _refusal("was sent before with other batches; choose a new key for each request")
    parts = [part._replace(predictions=first.predictions) for part, first in zip(result.parts, recorded, strict=True)]
    predictions = [prediction for part in parts for prediction in _predictions.decode(part.predictions)]
    model = replace(result.model, pin=ModelPin(*recorded[0].pin))
    return result._replace(model=model, predictions=predictions, parts=parts)


def _refusal(problem: str) -> RequestError:
    violation = Violation("header Idempotency-Key", problem)
    return RequestError(INVALID, str(violation), violation)
