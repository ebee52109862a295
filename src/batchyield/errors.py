"""The exceptions that batchyield raises on purpose; the command line prints them without a traceback.

BatchyieldError
├── InputError            a request or a file cannot be read as batches; carries place and reason
├── ParamsError           params.yaml or a choice in conf/ is wrong
├── ContractError         the raw data break the data contract
├── ChangedInputError     an input of a stage changed while the stage ran
├── ArtifactError         the model's bytes are not the pinned ones, or its golden rows are not answered as recorded
├── ConfigError           a setting, an option or a file of this installation is missing or wrong
├── MissingToolError      a program or a package is not installed
├── RevisionError         a git revision, tag, version or hash cannot be resolved here
├── StorageError          S3 or the DVC cache is out of reach, refuses, or holds other bytes than the pinned ones
├── WriteError            a file cannot be written
├── CommandError          git, dvc or another program failed
├── ConflictError         the command would overwrite or lose something, or another process holds it
├── ServiceError          a server or a cluster cannot be started or reached
└── JournalError          the journal has another schema or cannot be used
    └── DatabaseUnavailableError   its database does not answer now, and may later

The raiser passes facts and the next step; the class writes the message.
"""

from dataclasses import dataclass


class BatchyieldError(Exception):
    """Base of all errors that are answers rather than bugs; `exit_code` is what a command ends with."""

    exit_code = 2


@dataclass(frozen=True)
class Violation:
    """One thing wrong with an input.

    Attributes:
        where: JSON path (`$.inputs[3].A6`) or `line 12, column A6`.
        problem: what was expected and what was found.
    """

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class InputError(BatchyieldError):
    """A request or a file that cannot be read as batches."""

    def __init__(self, *violations: Violation) -> None:
        self.violations = violations
        super().__init__("; ".join(map(str, violations)))


class ParamsError(BatchyieldError):
    """A parameter outside its type or range."""

    def __init__(self, source: str, problem: str, remedy: str = "edit conf/ and run `make params`") -> None:
        super().__init__(f"{source}: {problem}\n  {remedy}")


class ContractError(BatchyieldError):
    """Raw data that breaks the contract, with the offending rows and columns."""

    def __init__(self, source: str, violations: list[Violation], report: str) -> None:
        self.violations = violations
        shown = "\n".join(f"  {v}" for v in violations[:20])
        more = f"\n  and {len(violations) - 20} more" if len(violations) > 20 else ""
        super().__init__(f"{source} breaks the data contract:\n{shown}{more}\n  the full list is in {report}")


class ChangedInputError(BatchyieldError):
    """A stage whose inputs are at its end not what they were when it began."""

    def __init__(self, stage: str, changes: list[Violation]) -> None:
        self.changes = changes
        shown = "\n".join(f"  {change}" for change in changes)
        super().__init__(
            f"{stage}: what it reads was changed while it ran, so what it wrote cannot be pinned:\n{shown}\n"
            "  its outputs are removed and dvc.lock is as it was; run `dvc repro` again"
        )


class ArtifactError(BatchyieldError):
    """A model that must not be served."""

    def __init__(
        self, path: str, problem: str, remedy: str = "run `dvc pull` or `dvc repro`, then start again"
    ) -> None:
        super().__init__(f"{path}: {problem}\n  {remedy}")


class _RemediableError(BatchyieldError):
    """Base of the errors that consist of a problem and the step that solves it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  {remedy}")


class ConfigError(_RemediableError):
    """A setting, an option or a file of this installation is missing or wrong."""


class MissingToolError(_RemediableError):
    """A program or a package that this command needs is not installed."""


class RevisionError(_RemediableError):
    """A git revision, tag, version or hash cannot be resolved in this clone."""


class StorageError(_RemediableError):
    """S3 or the DVC cache is out of reach, refuses the request, or holds other bytes than the pinned ones."""


class WriteError(_RemediableError):
    """A file cannot be written: the disk is full, or permissions forbid it."""


class CommandError(_RemediableError):
    """git, dvc or another program that was called ended with an error."""


class ConflictError(_RemediableError):
    """The command would overwrite or lose something, or another process holds it."""


class ServiceError(_RemediableError):
    """A server or a cluster cannot be started or reached."""


class JournalError(_RemediableError):
    """The journal has another schema than this code, or cannot be used."""


class DatabaseUnavailableError(JournalError):
    """The journal's database cannot be opened now, and may be later."""
