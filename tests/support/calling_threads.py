"""Threads that call a service while a test does something to it."""

import threading


class CallingThreads:
    """Threads that run `_call(n)` for n = 0 to `count - 1` during the block; `_stop` is set at its end."""

    def __init__(self, count):
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
