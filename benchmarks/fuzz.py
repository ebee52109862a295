"""Fuzzed requests against a real service process: none may end in a 5xx, a hang or a dead worker.

    python benchmarks/fuzz.py [--count 100000] [--seed 1] [--connections 16]

Exit code 0: all were answered or refused; 1: not, and the request that did it is in `.cache/fuzz/` for `nc` to repeat.
Request i is made from the seed and i alone.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from fuzz_requests import made  # noqa: E402
from support.service import Running, make_checkout  # noqa: E402

from batchyield.files import write_atomic  # noqa: E402

FOUND = ROOT / ".cache" / "fuzz"
PATIENCE = 30.0
"""Seconds for one answer."""


class Drained(Running):
    """A service whose log is read while it runs: a line for each request that is no HTTP would fill the pipe."""

    def __enter__(self) -> "Drained":
        self.log: list[str] = []
        self._stream, self.process.stderr = self.process.stderr, None
        self._reader = threading.Thread(target=lambda: self.log.extend(self._stream))
        self._reader.start()
        super().__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        super().__exit__(*about)
        self._reader.join()
        self._stream.close()


class Connection:
    """One connection to the service, opened again where the service closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> int:
        """The status of the answer.

        Raises:
            OSError, EOFError: the connection was cut before a whole answer had come.
        """
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            self._writer.write(request)
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            chunked = b"transfer-encoding: chunked" in head
            await (self._reader.readuntil(b"0\r\n\r\n") if chunked else self._reader.readexactly(int(length or 0)))
        except BaseException:
            self.close()
            raise
        if b"connection: close" in head or not length:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Closes it, if it is open."""
        if self._writer:
            self._writer.close()
        self._writer = None


async def fuzz(port: int, seed: int, count: int, connections: int, outcomes: Counter[tuple[str, int]]) -> str:
    """Sends requests 0 to count - 1; returns what went wrong, or nothing."""
    numbers = iter(range(count))
    found: list[str] = []

    async def work() -> None:
        connection = Connection(port)
        for number in numbers:
            how, request = made(seed, number)
            try:
                status = await asyncio.wait_for(_asked(connection, request), PATIENCE)
                problem = f"answered with {status}" if status >= 500 and status != 503 else ""
            except TimeoutError:
                status, problem = 0, f"not answered within {PATIENCE:g} s"
            except (OSError, EOFError) as error:
                status, problem = 0, f"cut off: {error!r}"
            outcomes[how, status] += 1
            if problem:
                write_atomic(FOUND / f"{seed}-{number}.http", request)
                found.append(f"request {number} ({how}): {problem}; see {FOUND.relative_to(ROOT)}/{seed}-{number}.http")
            if found:
                break
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return "\n".join(found)


async def _asked(connection: Connection, request: bytes) -> int:
    try:
        return await connection.ask(request)
    except (ConnectionError, asyncio.IncompleteReadError):
        # The service may close a connection after the last answer, just when the next request is on its way.
        return await connection.ask(request)


def run(count: int, seed: int = 1, connections: int = 16) -> tuple[str, str]:
    """Fuzzes a service of its own: (table of outcomes with the rate, what went wrong)."""
    outcomes: Counter[tuple[str, int]] = Counter()
    with tempfile.TemporaryDirectory() as folder, Drained(make_checkout(Path(folder))) as running:
        started = time.perf_counter()
        problem = asyncio.run(fuzz(running.port, seed, count, connections, outcomes))
        seconds = time.perf_counter() - started
        if running.process.poll() is not None:
            problem += "\nthe service died"
    log = "".join(running.log)
    if "Traceback" in log:
        problem += f"\nthe service's log has a traceback:\n{log[-3000:]}"
    statuses = sorted({status for _, status in outcomes})
    hows = sorted({how for how, _ in outcomes})
    rows = [["", *map(str, statuses)]] + [[how, *(str(outcomes[how, s]) for s in statuses)] for how in hows]
    rows.append(["all", *(str(sum(outcomes[how, s] for how in hows)) for s in statuses)])
    table = "\n".join("".join(cell.rjust(24 if i == 0 else 9) for i, cell in enumerate(row)) for row in rows)
    total = sum(outcomes.values())
    return f"{table}\n{total} requests in {seconds:.1f} s: {total / seconds:.0f} a second, seed {seed}", problem.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz a service process; exit code 1 if any request makes it fail.")
    parser.add_argument("--count", type=int, default=100_000, help="requests (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same requests (%(default)s)")
    parser.add_argument("--connections", type=int, default=16, help="at once (%(default)s)")
    options = parser.parse_args()
    table, problem = run(options.count, options.seed, options.connections)
    print(table)
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
