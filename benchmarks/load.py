"""Load from wrk: many connections with one request in flight each."""

import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import msgspec

from batchyield.errors import MissingToolError, ServiceError
from batchyield.versioning.storage.embedded_s3 import HOST
from benchmarks.contenders import PATH, Running, cores

CONNECTIONS = 16
SCRIPT = Path(__file__).with_name("rotate.lua")
REST, LONGEST_REST = 0.1, 10.0
"""Seconds: between two looks at whether a server is idle, and at the most."""

_campaigns = count(1, 3)
"""A round begins at the next one: ids count up within it, and by a million into the one after."""


class Round(msgspec.Struct, frozen=True):
    """What wrk saw, times in seconds, and the CPU time that a request took of the server, in µs.

    CPU time is what other work on the machine disturbs least.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def check_wrk() -> None:
    """Raise MissingToolError if wrk is not installed: no client in Python is fast enough for this service."""
    if not shutil.which("wrk"):
        raise MissingToolError("wrk is not installed", "`apt-get install wrk`, or https://github.com/wg/wrk")


def load(server: Running, bodies: Path, seconds: float, connections: int = CONNECTIONS) -> Round:
    """One round.

    Raises:
        ServiceError: a request failed, which makes the figures invalid.
    """
    pinned = ("taskset", "-c", str(cores()[1]))
    wrk = ("wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(SCRIPT))
    before = server.cpu_seconds()
    output = subprocess.run(
        [*pinned, *wrk, f"http://{HOST}:{server.port}{PATH}", "--", str(bodies), str(next(_campaigns))],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    cpu = server.cpu_seconds() - before
    _wait_until_idle(server)
    found = msgspec.json.decode(output.splitlines()[-1], type=Round)
    if found.errors or not found.requests:
        raise ServiceError(f"'{server.name}' failed {found.errors} of {found.requests} requests", "see its log")
    return msgspec.structs.replace(found, cpu=cpu / found.requests * 1e6)


def _wait_until_idle(server: Running) -> None:
    """Lets a server end what it was asked last, which would take the core from the next one."""
    deadline = time.monotonic() + LONGEST_REST
    before = server.cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(REST)
        now = server.cpu_seconds()
        if now - before <= REST / 5:
            return
        before = now


def interleaved(
    servers: Sequence[Running], bodies: Path, rounds: int, seconds: float, connections: int = CONNECTIONS
) -> dict[str, Round]:
    """The median of each figure over rounds that take turns, so that noise meets all servers alike."""
    for server in servers:
        load(server, bodies, min(seconds, 1.0), connections)
    seen: dict[str, list[Round]] = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            seen[server.name].append(load(server, bodies, seconds, connections))
    return {name: _median(found) for name, found in seen.items()}


def _median(rounds: Sequence[Round]) -> Round:
    # The round of median rate gives requests and seconds, so that `rate` is that median.
    middle = sorted(rounds, key=lambda one: one.rate)[len(rounds) // 2]
    return Round(
        middle.requests,
        middle.seconds,
        statistics.median(one.p50 for one in rounds),
        statistics.median(one.p99 for one in rounds),
        0,
        statistics.median(one.cpu for one in rounds),
    )
