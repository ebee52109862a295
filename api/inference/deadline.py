"""Work in a thread within a time limit."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from api.problems import BUSY, RequestError

Given = TypeVar("Given")
Made = TypeVar("Made")


async def in_time(threads: Executor, work: Callable[[Given], Made], given: Given, seconds: float) -> Made:
    """Return `work(given)`, run in one of `threads`.

    After the limit, work that has not begun is cancelled; work that has begun runs on for a second or two at most.

    Raises:
        RequestError: there was no result within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().run_in_executor(threads, work, given)
    except TimeoutError:
        detail = f"the service did not get to it within {seconds:g} s; send fewer batches at a time, or come back"
        raise RequestError(BUSY, detail, headers={"retry-after": "5"}) from None
