"""End the processes that a pytest run leaves behind, also when it was killed: `watchdog.py NAME=VALUE`.

conftest.py starts this program beside each pytest process, with a pipe as its standard input that closes when pytest
ends, however it ends. It then ends every process whose environment holds NAME=VALUE. pytest sets that variable for
itself alone, so all that its tests start inherit it, in whatever session and however deep below pytest they run.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

POLITE_SECONDS = 2.0
"""Time between SIGTERM and SIGKILL."""


def marked(mark):
    """Return the ids of all processes of this user that were started with the mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or belongs to another user
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def end(mark):
    """Terminate all marked processes, then kill those that are left, until there is none."""
    number, give_up = signal.SIGTERM, time.monotonic() + 10 * POLITE_SECONDS
    polite = time.monotonic() + POLITE_SECONDS
    while (left := marked(mark)) and time.monotonic() < give_up:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(0.1)
        number = signal.SIGKILL if time.monotonic() > polite else 0


if __name__ == "__main__":
    sys.stdin.read()
    end(sys.argv[1].encode())
