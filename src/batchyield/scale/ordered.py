"""Work that others do: its results in order, and only so much of it under way at a time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from distributed.utils import CancelledError

from batchyield.errors import SetupError
from batchyield.scale.cluster import ARRIVE_SECONDS, SAME, away, told, workerless

PER_THREAD = 3
"""Parts under way for each thread: one at work, one that waits for it, one that waits to be written."""
LOOK_SECONDS = 5.0
"""How often it is asked whether there are workers at all, while one result is waited for."""

Item = TypeVar("Item")


def in_order(client: Client, submit: Callable[[Item], Future], items: Iterable[Item]) -> Iterator[Any]:
    """The result of each item, in order. What is not waited for any more is let go of, and so is not worked on.

    Args:
        client: of the scheduler.
        submit: hands an item to it.
        items: read as workers become free for them, however many there are.

    Raises:
        SetupError: workers died over an item again and again, none is left, or the scheduler went away.
    """
    address, items, pending = client.scheduler.address, iter(items), deque[Future]()
    with told(address):
        while True:
            if client.status != "running":  # it would try to come back, but what it had asked for is lost
                raise away(address, "the connection is closed")
            room = PER_THREAD * max(1, sum(client.nthreads().values())) - len(pending)
            pending.extend(map(submit, islice(items, max(0, room))))
            if not pending:
                return
            yield _result(client, address, pending.popleft())


def _result(client: Client, address: str, future: Future) -> Any:
    seen = time.monotonic()
    while True:
        try:
            return future.result(timeout=LOOK_SECONDS)
        except TimeoutError:
            if client.nthreads():
                seen = time.monotonic()
            elif time.monotonic() - seen > ARRIVE_SECONDS:
                raise workerless(address) from None
        except (KilledWorker, CancelledError, OSError):
            raise
        except Exception as error:  # whatever a worker has that cannot even read what it is to do
            raise SetupError(f"a worker of {address} cannot do the work: {error}", SAME) from None
