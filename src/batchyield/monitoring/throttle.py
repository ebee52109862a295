"""Throttles a background thread, so that request threads are not delayed by it."""

import time
from collections.abc import Callable

Pause = Callable[[], None]
"""Called between small steps of work; may sleep."""

STEP_SECONDS, CPU_SHARE = 0.0005, 0.2
"""CPU time after which a thread sleeps, and the share of time that it may work."""


def no_throttle() -> None:
    """Return at once."""


class Throttle:
    """Limits a thread to 20 % of a CPU by sleeping after every 0.5 ms of work; belongs to one thread.

    Work is measured as CPU time of the thread, which excludes waiting for the GIL.
    """

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep
        self._last_sleep = time.thread_time()

    def __call__(self) -> None:
        """Sleep if the thread has worked for a step since it last slept."""
        worked = time.thread_time() - self._last_sleep
        if worked >= STEP_SECONDS:
            self._sleep(worked * (1 - CPU_SHARE) / CPU_SHARE)
            self._last_sleep = time.thread_time()
