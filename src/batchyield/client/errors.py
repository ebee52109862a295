"""The exceptions of the client.

ClientError
├── UnreachableError      no response after all attempts
├── UnavailableError      the service failed (500), is overloaded or not ready (429, 503), or a proxy failed
├── RefusedError          the request is invalid (4xx); carries positions and reasons
│   └── UnauthorizedError the API key is missing, unknown or lacks the scope (401, 403)
├── MixedModelsError      the model changed during a request in several chunks
└── ReplyError            the response is not from a batchyield service
"""

from batchyield.errors import BatchyieldError, Violation
from batchyield.serving.responses import ModelPin, Problem


class ClientError(BatchyieldError):
    """Base class of the errors of a call."""


class UnreachableError(ClientError):
    """No response after all attempts."""

    def __init__(self, url: str, attempts: int, problem: str) -> None:
        tried = "once" if attempts == 1 else f"{attempts} times"
        remedy = "check that the service runs and that this is its URL"
        super().__init__(f"{url} does not answer ({problem}; tried {tried})\n  {remedy}")


class _ProblemError(ClientError):
    """An error response: the problem details (RFC 9457) and the id of the request in the service's log."""

    remedy = ""

    def __init__(self, problem: Problem, request_id: str) -> None:
        self.problem, self.request_id = problem, request_id
        remedy = self.remedy.format(request_id=request_id)
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}\n  {remedy}")

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return self.problem.status

    @property
    def kind(self) -> str:
        """Return the last part of the problem's type, for example `invalid-input`."""
        return self.problem.type.rpartition(":")[2]


class UnavailableError(_ProblemError):
    """The service failed, or cannot answer now."""

    remedy = "try again later; the service's log has request {request_id}"


class RefusedError(_ProblemError):
    """The request is invalid; sending it again gives the same error."""

    remedy = "correct the request and send it again"

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Return the errors of the input; positions refer to the argument of the call, not to a chunk."""
        return self.problem.violations


class UnauthorizedError(RefusedError):
    """The API key is missing, unknown or lacks the scope."""

    remedy = "pass a key to the client, or set BATCHYIELD_API_KEY"


class MixedModelsError(ClientError):
    """The model changed during a request in several chunks, so the predictions are of two models."""

    def __init__(self, first: ModelPin, then: ModelPin) -> None:
        self.first, self.then = first, then
        problem = f"the first batches were predicted by model {first.md5}, later ones by {then.md5}"
        super().__init__(f"{problem}\n  call again")


class ReplyError(ClientError):
    """The response is not from a batchyield service."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url} returned {problem}\n  check that this is the URL of a batchyield service")
