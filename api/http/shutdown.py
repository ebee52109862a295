"""Graceful shutdown: on SIGTERM the service reports not ready, still serves for a while (draining), then stops."""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from api.problems import NOT_READY, RequestError

CLOSE = (b"connection", b"close")


class Drain:
    """Whether the service is draining, for some seconds after SIGTERM; `on_drain` is called when that begins.

    Meanwhile it is not ready; requests are still processed, and their connections closed.
    """

    def __init__(self, seconds: float, on_drain: Callable[[], None] = lambda: None) -> None:
        self._seconds, self._on_drain = seconds, on_drain
        self.draining = False

    def check(self) -> None:
        """Raise a RequestError if the service is draining."""
        if self.draining:
            raise RequestError(NOT_READY, "the service is stopping", headers={"retry-after": "5"})

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle SIGTERM, SIGHUP and SIGINT before uvicorn's own handlers while the block runs.

        SIGTERM drains, then stops in order; a second one stops at once. SIGINT (Ctrl-C) stops in order without
        draining, a second one at once. A worker ignores a second SIGTERM, since its supervisor and an init system may
        each send one. SIGHUP, which a closed terminal sends, is as SIGTERM, unless it is ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # embedded in a program that handles its own signals
            return
        loop = asyncio.get_running_loop()
        worker = multiprocessing.parent_process() is not None
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            numbers.append(signal.SIGHUP)
        server_handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

        def pass_on(number: int) -> None:
            if callable(server_handlers[number]):
                server_handlers[number](number, None)

        def on_signal(number: int, _frame: FrameType | None) -> None:
            number = signal.SIGTERM if number == signal.SIGHUP else number
            if not self.draining:
                self.draining = True
                loop.call_soon_threadsafe(self._on_drain)
                if number == signal.SIGTERM and self._seconds:
                    loop.call_soon_threadsafe(loop.call_later, self._seconds, pass_on, number)
                else:
                    pass_on(number)
            elif number == signal.SIGINT or not worker:
                for _ in range(2):  # on the second SIGINT uvicorn does not wait for open requests
                    pass_on(signal.SIGINT)

        for number in server_handlers:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number, handler in server_handlers.items():
                signal.signal(number, handler)
