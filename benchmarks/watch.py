"""Cost of the drift watcher: latency of single batches with a check every few seconds, and without.

    python benchmarks/watch.py [--every 2] [--rows 20000] [--seconds 5]

Two services on one core begin with the same journal, a full window with measured yields; wrk on the other core asks
them in turns, while the other one stands still. p50 and p99 are those of each round. The CPU time of a look is that of
an idle service which looks, less that of one which does not.
"""

import argparse
import re
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from batchyield.errors import BatchyieldError
from batchyield.versioning.storage.embedded_s3 import HOST
from benchmarks.bodies import CSV_ROWS, Bodies, write_bodies
from benchmarks.contenders import JSON, Contender, Running, running, service
from benchmarks.load import CONNECTIONS, Round, check_wrk, load
from benchmarks.serving import SHEET

MEASURED = 500
IDLE_LOOKS = 5


def main() -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks (%(default)g)")
    parser.add_argument("--rows", type=int, default=2 * CSV_ROWS, help="in the journal before (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round (%(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="of each, in turns (%(default)s)")
    options = parser.parse_args()
    try:
        check_wrk()
        with tempfile.TemporaryDirectory() as name:
            _measure(Path(name), options)
    except BatchyieldError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _measure(folder: Path, options: argparse.Namespace) -> None:
    bodies = write_bodies(folder)
    first = bodies.single.read_bytes().split(b"\n", 1)[0]
    full = _full(folder, bodies, first, options.rows)
    looking = _watching("looking", folder, full, options.every)
    off = _watching("off", folder, full, 0.0)
    with running(looking, off, body=first) as servers:
        spent = [_idle(server, IDLE_LOOKS * options.every) for server in servers]
        print(
            f"{options.rows:,} rows before, a look each {options.every:g} s: it takes "
            f"{_told(servers[0]) * 1e3:.0f} ms, {(spent[0] - spent[1]) / IDLE_LOOKS * 1e3:.0f} ms of CPU\n"
        )
        print("| connections | watch | requests/s | p50 ms | p99 ms | CPU µs |\n|---|---|---|---|---|---|", flush=True)
        for connections in (1, CONNECTIONS):
            found: list[list[Round]] = [[] for _ in servers]
            for _ in range(options.rounds):
                for server, seen in zip(servers, found, strict=True):
                    with _alone(server, servers):
                        seen.append(load(server, bodies.single, options.seconds, connections))
            for server, seen in zip(servers, found, strict=True):
                rate = statistics.median(one.rate for one in seen)
                cpu = statistics.median(one.cpu for one in seen)
                p50, p99 = (
                    ", ".join(f"{one * 1e3:.2f}" for one in sorted(times))
                    for times in zip(*((one.p50, one.p99) for one in seen), strict=True)
                )
                print(f"| {connections} | {server.name} | {rate:,.0f} | {p50} | {p99} | {cpu:,.0f} |", flush=True)


@contextmanager
def _alone(server: Running, servers: Sequence[Running]) -> Iterator[None]:
    """The others stand still, so that their looks take nothing of the core that they share."""
    others = [worker for other in servers if other is not server for worker in other.workers()]
    for worker in others:
        worker.suspend()
    try:
        yield
    finally:
        for worker in others:
            worker.resume()


def _full(folder: Path, bodies: Bodies, first: bytes, rows: int) -> Path:
    """A journal with so many answers, the newest of them with measured yields."""
    filling = _watching("filling", folder, None, 0.0)
    with running(filling, body=first) as (server,):
        sheet = bodies.large_sheet.read_bytes()
        for _ in range(max(1, rows // CSV_ROWS)):
            server.post("/v1/predictions/csv", sheet, SHEET)
        asked = [msgspec.json.decode(line)["inputs"][0]["id"] for line in bodies.single.read_bytes().splitlines()]
        outcomes = [{"id": name, "yield": 0.92} for name in asked[:MEASURED]]
        server.post("/v1/outcomes", msgspec.json.encode({"outcomes": outcomes}), JSON)
    return folder / "filling.sqlite"


def _watching(name: str, folder: Path, journal: Path | None, seconds: float) -> Contender:
    made = service(name, folder)
    if journal is not None:
        shutil.copyfile(journal, made.environment["BATCHYIELD_JOURNAL"])
    return made._replace(environment=made.environment | {"BATCHYIELD_WATCH_SECONDS": str(seconds)})


def _idle(server: Running, seconds: float) -> float:
    """CPU seconds that nobody's requests caused."""
    before = server.cpu_seconds()
    time.sleep(seconds)
    return server.cpu_seconds() - before


def _told(server: Running) -> float:
    """Seconds that the last look took, as the service says."""
    with urllib.request.urlopen(f"http://{HOST}:{server.port}/metrics") as answer:
        found = re.search(r"^batchyield_watch_seconds (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


if __name__ == "__main__":
    sys.exit(main())
