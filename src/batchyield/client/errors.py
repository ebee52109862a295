"""Exceptions of the client.

ClientError
├── UnreachableError      no response after all attempts
├── UnavailableError      the service is not available now, or failed
├── RefusedError          the request is invalid; carries place and reason
│   └── UnauthorizedError the API key is missing or not valid
├── MixedModelsError      the model changed during a long request
└── ReplyError            a response that is not the service's
"""

from batchyield.errors import BatchyieldError, Violation
from batchyield.serving.responses import ModelPin, Problem


class ClientError(BatchyieldError):
    """Base of all that a call may raise."""


class UnreachableError(ClientError):
    """No response after all attempts."""

    def __init__(self, url: str, attempts: int, problem: str) -> None:
        tried = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(f"{url} does not answer ({problem}; tried {tried})\n  is the service up, and is this its URL?")


class _ProblemError(ClientError):
    """A problem document that the service returned.

    Attributes:
        problem: all of it.
        request_id: under which the service's log knows the request.
    """

    def __init__(self, problem: Problem, request_id: str, remedy: str) -> None:
        self.problem, self.request_id = problem, request_id
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}\n  {remedy}")

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def kind(self) -> str:
        """The last part of the problem's type, for example `invalid-input`."""
        return self.problem.type.rpartition(":")[2]


class UnavailableError(_ProblemError):
    """The service cannot answer now, or it failed."""

    def __init__(self, problem: Problem, request_id: str) -> None:
        super().__init__(problem, request_id, f"try again later; the service's log has request {request_id}")


class RefusedError(_ProblemError):
    """The request will never be answered as it is."""

    def __init__(
        self, problem: Problem, request_id: str, remedy: str = "correct what it names, and send it again"
    ) -> None:
        super().__init__(problem, request_id, remedy)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Each thing wrong with the input, placed in what was given to the call."""
        return self.problem.violations


class UnauthorizedError(RefusedError):
    """A key is needed, or another one."""

    def __init__(self, problem: Problem, request_id: str) -> None:
        super().__init__(problem, request_id, "give the client a key, or set BATCHYIELD_API_KEY")


class MixedModelsError(ClientError):
    """The model was changed while a long request was answered, so that its parts are of two models."""

    def __init__(self, first: ModelPin, then: ModelPin) -> None:
        self.first, self.then = first, then
        super().__init__(f"the first batches were answered by model {first.md5}, later ones by {then.md5}\n  ask again")


class ReplyError(ClientError):
    """An answer that is not the service's."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url} answered with {problem}\n  is this the URL of a batchyield service?")
