"""Lines on their way out of the process, written so that a reader who stalls stops no answer."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable

FLUSH_SECONDS = 0.25
MOST_LINES = 20_000
"""Held while nobody reads, some 8 MB; further ones are dropped and counted."""

WHOLE = 4096
"""Bytes that a pipe takes as one piece (PIPE_BUF), so that lines of several workers do not mix."""


class Sink:
    """A queue in front of a file descriptor, emptied by a thread.

    Attributes:
        dropped: told how many lines were lost, once there is room again.
    """

    def __init__(self, descriptor: int, most_lines: int = MOST_LINES) -> None:
        self._descriptor, self._most = descriptor, most_lines
        self._lines: deque[bytes] = deque()
        self._lost = 0
        self._wake, self._closing = threading.Event(), False
        self.dropped: Callable[[int], None] = lambda _: None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Takes a line, which is written within a quarter of a second."""
        if len(self._lines) < self._most:
            self._lines.append(line)
        else:
            self._lost += 1

    def hurry(self) -> None:
        """Has what was taken written now."""
        self._wake.set()

    def close(self, seconds: float = 2.0) -> None:
        """Writes what is left, for as long as a reader that stalls may take."""
        self._closing = True
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._empty()
        self._empty()

    def _empty(self) -> None:
        lines = self._lines
        while lines:
            piece = [lines.popleft()]
            size = len(piece[0])
            while lines and size + len(lines[0]) <= WHOLE:
                piece.append(lines.popleft())
                size += len(piece[-1])
            if not self._write(b"".join(piece)):
                self._lost += len(piece)
        if self._lost:
            lost, self._lost = self._lost, 0
            self.dropped(lost)

    def _write(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [], FLUSH_SECONDS)
            except OSError:
                return False  # the reader is gone
        return True
