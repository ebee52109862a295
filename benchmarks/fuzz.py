"""Fuzzed requests against a real service process: none may end in a 5xx, a hang or a dead worker.

    python benchmarks/fuzz.py [--count 100000] [--seed 1] [--connections 16]

Exit code 0: all were answered or refused; 1: not, and the request that did it is in `.cache/fuzz/` for `nc` to repeat.
Request i is made from the seed and i alone.
"""

import argparse
import asyncio
import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from api_fixtures import Running, make_checkout  # noqa: E402

from api.examples import BATCH, INPUTS, MISTYPED, sheet  # noqa: E402
from batchyield.files import write_atomic  # noqa: E402

PREDICTIONS, CSV = "/v1/predictions", "/v1/predictions/csv"
FOUND = ROOT / ".cache" / "fuzz"
PATIENCE = 30.0
"""Seconds for one answer."""

SHEET = sheet([BATCH, MISTYPED])
BODIES = {PREDICTIONS: [json.dumps(INPUTS).encode()], CSV: [SHEET.encode("GB18030"), SHEET.encode()]}
TYPES = {
    PREDICTIONS: [b"application/json"],
    CSV: [b"text/csv", b"application/csv", b"multipart/form-data; boundary=x", b"multipart/form-data"],
}
CELLS = [
    None, True, False, 0, -1, 1e308, -1e308, 10**400, 0.1, "", "24:00", "21:00-21:30", "1" * 70, "\x00", "\ud800", "；",
    "𝟙𝟚:𝟛𝟘", [], {}, [[]], {"A1": 1}, "NaN", "-0", "1e999", "id", "样本id", "9" * 400,
]  # fmt: skip
LITERALS = [
    b"NaN",
    b"Infinity",
    b"-",
    b"1e999999",
    b"1" * 5000,
    b'"\\ud800"',
    b'"\xff"',
    b"{",
    b"]",
    b",",
    b"\x00",
    b"//",
]
HEADS = [
    b"X-Request-ID: \xff\xfe", b"X-Request-ID: " + b"a" * 65, b"Accept: application/json", b"Accept: \xff",
    b"Accept-Encoding: gzip;q=x, *", b"Accept-Encoding: zstd", b"Authorization: Bearer", b"Authorization: \x80",
    b"Content-Type: application/json", b"Content-Type: ;;;", b"Content-Encoding: gzip", b"Content-Encoding: br",
    b"Content-Encoding: zstd", b"Expect: nothing", b"Cookie: " + b"a" * 4000, b"If-None-Match: *", b": nameless",
]  # fmt: skip


def _value(dice: random.Random) -> bytes:
    """JSON of the right form, with cells of any."""
    batches = [
        {
            dice.choice(["A1", "A5", "A20", "B9", "B14", "id", "C1", "", "A1 "])
            if dice.random() < 0.9
            else "k" * 300: dice.choice(CELLS) if dice.random() < 0.8 else dice.uniform(-1e7, 1e7)
            for _ in range(dice.randrange(6))
        }
        for _ in range(dice.randrange(4))
    ]
    whole = dice.choice([{"inputs": batches}, {"inputs": batches, "x": 1}, batches, {"inputs": batches[:1] * 40}])
    return json.dumps(whole, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")


def _mutated(body: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 4)):
        at, cut = dice.randrange(len(body) + 1), dice.choice([0, 0, 1, 4, 40])
        into = dice.choice([b"", dice.randbytes(dice.randrange(12)), dice.choice(LITERALS), body[at : at + 60]])
        body = body[:at] + into + body[at + cut :]
    return body


def _deep(dice: random.Random) -> bytes:
    opening, count = dice.choice([b"[", b'{"inputs":', b'{"inputs":[{"A1":', b'"', b"--x\r\n"]), dice.randrange(3000)
    return opening * count + dice.choice([b"", b"]" * count, b"}" * count])


def _form(body: bytes, dice: random.Random) -> bytes:
    name = dice.choice([b'name="file"; filename="a.csv"', b'name="file"', b"filename*=UTF-8''%ff", b""])
    part = b"--x\r\nContent-Disposition: form-data; " + name + b"\r\n\r\n" + body + b"\r\n"
    return part * dice.choice([1, 1, 2, 9]) + dice.choice([b"--x--\r\n", b"--x--", b"", b"--x\r\n"])


MAKERS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "any bytes": lambda _, dice: dice.randbytes(dice.choice([0, 1, 10, 300])),
    "any cells": lambda _, dice: _value(dice),
    "mutated": _mutated,
    "nested": lambda _, dice: _deep(dice),
    "form": lambda body, dice: _form(_mutated(body, dice), dice),
    "another encoding": lambda body, dice: body.decode("GB18030", "replace").encode(
        dice.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"])
    ),
}


def made(seed: int, number: int) -> tuple[str, bytes]:
    """A request by its number: how it was made, and its bytes."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable on purpose
    path = dice.choice([PREDICTIONS, CSV])
    how = dice.choice(list(MAKERS))
    body = MAKERS[how](dice.choice(BODIES[path]), dice)
    head = [b"Host: x"]
    kind = b"multipart/form-data; boundary=x" if how == "form" and path == CSV else dice.choice(TYPES[path])
    if dice.random() < 0.97:
        head.append(b"Content-Type: " + kind)
    if dice.random() < 0.15:
        coding = dice.choice(["gzip", "zstd"])
        body = gzip.compress(body, 1) if coding == "gzip" else zstandard.compress(body)
        body = _mutated(body, dice) if dice.random() < 0.7 else body
        head.append(b"Content-Encoding: " + coding.encode())
        how = f"{how}, {coding}"
    head += dice.sample(HEADS, dice.choice([0, 0, 0, 1, 3]))
    query = dice.choice(["", "", "", "?explain=true", "?explain=", "?%ff=%00&explain=maybe"])
    method = dice.choices(["POST", "GET", "PUT"], [97, 2, 1])[0]
    head.append(b"Content-Length: %d" % len(body))
    line = f"{method} {path}{query} HTTP/1.1\r\n".encode()
    return how, line + b"\r\n".join(head) + b"\r\n\r\n" + body


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
    with tempfile.TemporaryDirectory() as folder, Running(make_checkout(Path(folder))) as running:
        started = time.perf_counter()
        problem = asyncio.run(fuzz(running.port, seed, count, connections, outcomes))
        seconds = time.perf_counter() - started
        if running.process.poll() is not None:
            problem += "\nthe service died"
    if "Traceback" in running.errors:
        problem += f"\nthe service's log has a traceback:\n{running.errors[-3000:]}"
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
