"""The parent of several workers."""

import os
import signal

from uvicorn.supervisors import Multiprocess

IMPATIENT = (signal.SIGTERM, signal.SIGINT)


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which can be hurried: its own is deaf while it waits for its workers to end."""

    def join_all(self) -> None:
        """Waits for the workers; a signal meanwhile has them stop at once."""
        self.signal_queue.clear()
        for process in self.processes:
            while process.process.is_alive():
                process.process.join(0.1)
                if any(number in IMPATIENT for number in self.signal_queue):
                    self.signal_queue.clear()
                    self._hurry()

    def _hurry(self) -> None:
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGINT)
