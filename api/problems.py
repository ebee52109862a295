"""RFC 9457 problem details: the kinds of problem, and the exception that carries one."""

import msgspec

from batchyield.errors import Violation
from batchyield.serving.responses import Problem

MEDIA_TYPE = "application/problem+json"
MAX_VIOLATIONS = 20
LONGEST = 600

encode = msgspec.json.Encoder().encode


class ProblemKind(msgspec.Struct, frozen=True):
    """A kind of problem.

    Attributes:
        name: last part of its `type`.
        status: HTTP status.
        title: the kind in words.
        meaning: when it happens.
        detail: an example of what the caller reads.
        headers: of the response, besides those of every response.
        violations: those of the example.
    """

    name: str
    status: int
    title: str
    meaning: str
    detail: str
    headers: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()

    @property
    def urn(self) -> str:
        return f"urn:batchyield:{self.name}"

    def example(self) -> Problem:
        """Return the problem as the OpenAPI document shows it."""
        return Problem(self.urn, self.title, self.status, self.detail, violations=self.violations)


_NO_NUMBER = Violation("$.inputs[0].A6 (line 1, column 18)", "NaN is no JSON; send null for a reading that is missing")
_NO_READING = Violation("$.inputs[3].A6", "Expected `float | null`, got `str`")
_RETRY = ("Retry-After",)

MALFORMED = ProblemKind(
    "malformed",
    400,
    "The body cannot be parsed",
    "the body is not JSON, or not the multipart form or compressed stream that it should be",
    f"the body is not JSON: {_NO_NUMBER}",
    violations=(_NO_NUMBER,),
)
UNAUTHORIZED = ProblemKind(
    "unauthorized", 401, "A key is needed",
    "keys are configured, and the request holds none of them",
    "send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`", ("WWW-Authenticate",),
)  # fmt: skip
FORBIDDEN = ProblemKind(
    "forbidden", 403, "The key may not do this",
    "the key is valid, but lacks the scope that the path needs",
    "the key line-3 lacks the scope predict; ask the operator for one that has it",
)  # fmt: skip
NOT_FOUND = ProblemKind(
    "not-found", 404, "Nothing is here",
    "there is nothing at this path",
    "nothing is here; GET /schema lists all there is",
)  # fmt: skip
METHOD_NOT_ALLOWED = ProblemKind(
    "method-not-allowed", 405, "The method is not possible here",
    "the path takes other methods; `Allow` names them",
    "DELETE is not possible here, only POST", ("Allow",),
)  # fmt: skip
TOO_SLOW = ProblemKind(
    "too-slow", 408, "The body came too slowly",
    "the body did not arrive in time",
    "the body did not arrive within 30 s", ("Connection",),
)  # fmt: skip
JOURNAL_OFF = ProblemKind(
    "journal-off", 409, "There is no journal",
    "the service keeps no journal, so nothing can be joined",
    "the service keeps no journal; its operator sets BATCHYIELD_JOURNAL",
)  # fmt: skip
TOO_LARGE = ProblemKind(
    "too-large", 413, "The body is too large",
    "the body is larger than the service takes",
    "the body is larger than 16777216 bytes; send fewer batches at a time", ("Connection",),
)  # fmt: skip
UNSUPPORTED = ProblemKind(
    "unsupported-media-type", 415, "The body is of another type",
    "the path does not take this type or this encoding",
    "the Content-Type is text/xml; send application/json", ("Accept", "Accept-Encoding"),
)  # fmt: skip
INVALID = ProblemKind(
    "invalid-input",
    422,
    "The input cannot be used",
    "the request can be parsed, but is wrong where `violations` says",
    str(_NO_READING),
    violations=(_NO_READING,),
)
RATE_LIMITED = ProblemKind(
    "rate-limited", 429, "The key asks too often",
    "the key has used up its rate; come back after `Retry-After` seconds",
    "the key has used up its rate; come back in 2 s", ("Retry-After", "RateLimit", "RateLimit-Policy"),
)  # fmt: skip
HEAD_TOO_LARGE = ProblemKind(
    "head-too-large", 431, "The head is too large",
    "the head of the request is larger than 64 KiB",
    "the head of the request is larger than 64 KiB", ("Connection",),
)  # fmt: skip
INTERNAL = ProblemKind(
    "internal", 500, "The service failed",
    "the service failed; its log says why under the request's id",
    "the service failed; the operator finds the cause in its log under 1f0c2b7a9d3e5f60",
)  # fmt: skip
NOT_READY = ProblemKind(
    "not-ready", 503, "The service is not ready",
    "the model is not loaded yet, or the service is stopping",
    "the model is not loaded yet", _RETRY,
)  # fmt: skip
BUSY = ProblemKind(
    "busy", 503, "The service is busy",
    "it has as many requests, large bodies, connections or answers that wait for the journal as it takes; come "
    "back after `Retry-After` seconds",
    "as many large bodies are here as the service takes", _RETRY,
)  # fmt: skip
NOT_JOURNALLED = ProblemKind(
    "not-journalled", 503, "The journal cannot be written",
    "the journal cannot be written (its disk is full, its database is away), and what is not journalled is not "
    "answered; come back after `Retry-After` seconds",
    "the journal cannot be written, and what is not journalled is not answered; send it again later", _RETRY,
)  # fmt: skip
JOURNAL_AWAY = ProblemKind(
    "journal-away", 503, "The journal cannot be read",
    "its database is away; come back after `Retry-After` seconds",
    "the journal cannot be read; ask again later", _RETRY,
)  # fmt: skip

KINDS = (
    MALFORMED, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_SLOW, JOURNAL_OFF, TOO_LARGE, UNSUPPORTED,
    INVALID, RATE_LIMITED, HEAD_TOO_LARGE, INTERNAL, NOT_READY, BUSY, NOT_JOURNALLED, JOURNAL_AWAY,
)  # fmt: skip


class RequestError(Exception):
    """A request that will not be answered as asked.

    Args:
        kind: which kind of problem.
        detail: what was wrong, and what to do.
        violations: each thing wrong with the input.
        headers: further headers of the answer.
    """

    def __init__(
        self, kind: ProblemKind, detail: str, *violations: Violation, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.violations, self.headers = kind, detail, violations, headers or {}

    def problem(self, path: str) -> Problem:
        """What the caller is told, with no more of what it sent than needed."""
        told = [Violation(_short(v.where), _short(v.problem)) for v in self.violations[:MAX_VIOLATIONS]]
        kind = self.kind
        return Problem(kind.urn, kind.title, kind.status, _short(self.detail), _short(path), tuple(told))


def summary(violations: tuple[Violation, ...]) -> str:
    """The first violation in words, and how many follow."""
    more = f"; and {len(violations) - 1} more" if len(violations) > 1 else ""
    return f"{violations[0]}{more}" if violations else "the input cannot be used"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
