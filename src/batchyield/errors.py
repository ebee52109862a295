"""Everything batchyield refuses, drawn once.

BatchyieldError
├── InputError            what a caller sent cannot be used; carries where and why
├── ParamsError           params.yaml or a conf choice is wrong
├── ContractError         the raw data breaks the data contract
├── ChangedInputError     what a stage reads was changed while it ran
├── ArtifactError         the model's bytes are not the pinned ones, or do not answer as they did
└── SetupError            something this machine needs is missing or in the way
    └── DatabaseUnavailableError   a database that does not answer now, and may later

Raisers pass facts; the class writes the sentence. Every message ends with what to do where that is known.
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


class SetupError(BatchyieldError):
    """The machine lacks something, or something is in the way."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  {remedy}")


class DatabaseUnavailableError(SetupError):
    """The database cannot be opened now, and may be later."""
