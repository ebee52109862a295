"""Ids of the large requests that a worker processes, in a file that outlives it, so that its end can be explained."""

import os
from pathlib import Path

from api.telemetry.metrics import MULTIPROC_DIR


class RunningRequests:
    """The ids that a worker holds; a single worker has no supervisor that reads the file, so none is written."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        directory = os.environ.get(MULTIPROC_DIR)
        self._file = _file(Path(directory), os.getpid()) if directory else None

    def add(self, request_id: str) -> None:
        """Add the id of a request that begins."""
        self._ids.append(request_id)
        self._write()

    def remove(self, request_id: str) -> None:
        """Remove the id of a request that has ended."""
        self._ids.remove(request_id)
        self._write()

    def _write(self) -> None:
        if self._file is not None:
            self._file.write_text(" ".join(self._ids))


def take_running(directory: Path, pid: int) -> list[str]:
    """Return the ids that a dead worker held, and delete its file."""
    file = _file(directory, pid)
    try:
        ids = file.read_text().split()
        file.unlink()
    except OSError:
        return []
    return ids


def _file(directory: Path, pid: int) -> Path:
    return directory / f"{pid}.requests"
