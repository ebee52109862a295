"""Tasks: pure functions of shared data and an item, the engines that run them, and their errors in other processes."""

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from batchyield.errors import BatchyieldError, InputError, Violation

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

Task = Callable[[Shared, Item], Result]
"""A function of a module, without side effects: its result depends on its arguments alone, seeds included."""


class Engine(Protocol):
    """Runs a task for each item and yields the results in the order of the items.

    Raises:
        BatchyieldError: a task failed; the message is that of the task.
        ServiceError: the processes or the cluster were lost.
    """

    def __call__(self, task: Task[Shared, Item, Result], shared: Shared, items: Iterable[Item]) -> Iterator[Result]:
        """Yield `task(shared, item)` for each item."""


def in_process(task: Task[Shared, Item, Result], shared: Shared, items: Iterable[Item]) -> Iterator[Result]:
    """Yield the result for each item, computed in this process: the engine without any cost."""
    return (task(shared, item) for item in items)


@dataclass(frozen=True)
class WorkerFailure:
    """The error of a task, returned because raised ones are not always delivered: many cannot be unpickled."""

    message: str
    violations: tuple[Violation, ...] = ()

    def error(self) -> BatchyieldError:
        """Return the exception for the client to raise."""
        return InputError(*self.violations) if self.violations else BatchyieldError(self.message)


def run_task(task: Task[Shared, Item, Result], shared: Shared, item: Item, name: str = "") -> Result | WorkerFailure:
    """Return the result of a task in a worker, or its failure; `name` is the task's in the message of a defect."""
    try:
        return task(shared, item)
    except InputError as error:
        return WorkerFailure(str(error), error.violations)
    except BatchyieldError as error:
        return WorkerFailure(str(error))
    except Exception as error:
        traceback.print_exc()
        return WorkerFailure(
            f"{name or getattr(task, '__name__', task)} failed with {type(error).__name__}: {error}\n"
            "  this is a bug; the worker's log has the traceback"
        )


def raise_failures(results: Iterable[Any]) -> Iterator[Any]:
    """Yield the results, and raise the error of the first failure."""
    for result in results:
        if isinstance(result, WorkerFailure):
            raise result.error()
        yield result
