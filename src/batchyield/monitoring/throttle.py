"""Work in small steps, so that threads which share an interpreter and a core need not wait for all of it."""

import time
from collections.abc import Callable

Pause = Callable[[], None]
"""Called between two steps."""

STEP_SECONDS, CPU_SHARE = 0.0005, 0.2
"""A step is some half a millisecond of work, after which so much of the time has been worked."""


def no_throttle() -> None:
    """Goes on without a rest."""


class Throttle:
    """Rests after each step; belongs to one thread.

    Work is measured as the thread's own time, of which waiting for the interpreter is no part.

    Args:
        sleep: rests so many seconds.
    """

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep
        self._rested = time.thread_time()

    def __call__(self) -> None:
        """Rests, where there was a step's work since the last rest."""
        worked = time.thread_time() - self._rested
        if worked >= STEP_SECONDS:
            self._sleep(worked * (1 - CPU_SHARE) / CPU_SHARE)
            self._rested = time.thread_time()
