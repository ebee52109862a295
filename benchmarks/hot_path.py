"""Time of each part of a request inside the application, for one batch and for a hundred, as Markdown tables.

    python benchmarks/hot_path.py

The parts are timed in sequence for the requests of a group, as in an iteration of the event loop, so that each part
finds the caches as the previous one left them. Needs the model that dvc.lock pins.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec
import uvloop

from api.app import create_app
from api.http.body import BODY_COMPLETE
from api.http.decoding import decode_batches
from api.inference.hot_swap import open_pinned
from api.inference.served_model import PredictionResult, ServedModel
from api.inference.service import Service
from api.settings import Settings, read_settings
from batchyield.errors import BatchyieldError
from batchyield.journal.database import Database, locate_journal
from batchyield.journal.insert import open_appender
from batchyield.journal.migrate import upgrade_schema
from batchyield.journal.records import JournalEntry, split_request
from batchyield.plant.features import FEATURES, featurize
from batchyield.plant.table import READINGS
from benchmarks.bodies import write_bodies

PARTS = (
    "decode and check the JSON (msgspec)",
    f"{len(READINGS)} readings to {len(FEATURES)} features, into a float32 matrix",
    "model (onnxruntime), seven decimals, answers",
    "count predictions, cells and warnings (prometheus-client)",
    "encode what is answered and kept (msgspec)",
    "count and time the request (prometheus-client)",
    "write to the journal (SQLite), in its thread",
)
REQUESTS = {1: (4_800, 16), 100: (800, 8)}
"""Requests by their batches, and how many of them come together."""


def timed(
    serving: ServedModel, settings: Settings, store: Database, bodies: Sequence[bytes], together: int
) -> list[float]:
    """Mean µs of each of `PARTS` for each request, without the slowest tenth of the groups."""
    service, predictor, writer = Service(settings, serving), serving.artifact.predictor, open_appender(store)
    rounds = []
    for start in range(0, len(bodies), together):
        sent = bodies[start : start + together]
        names = [[f"{start + n:06d}-{row}" for row in range(body.count(b'"id"'))] for n, body in enumerate(sent)]
        marks = [perf_counter_ns()]

        def mark(marks: list[int] = marks) -> None:
            marks.append(perf_counter_ns())

        asked = [decode_batches(body)[0] for body in sent]
        mark()
        batches = [batch for one in asked for batch in one]
        features = featurize(batches)
        mark()
        predictions = predictor.predict(batches, None, features)
        mark()
        service.metrics.batches_predicted(predictions, features.blanks, "json")
        mark()
        first, entries = 0, []
        for number, (body, one) in enumerate(zip(sent, asked, strict=True)):
            replies = predictions[first : first + len(one)]
            first += len(one)
            kept = split_request(one, replies, body)
            PredictionResult(serving, one, replies, "json", kept).to_json()
            part = kept[0]._replace(ids=names[number])  # which count up, as a plant's do: all bodies have the same id
            entries.append(JournalEntry(start, f"{start + number:016x}", "", "json", serving.journal_pin, part))
        mark()
        for _ in asked:
            service.metrics.request_finished("POST", "/v1/predictions", 200, 0.001)
        mark()
        writer.append(entries)
        mark()
        rounds.append([(after - before) / len(sent) / 1e3 for before, after in pairwise(marks)])
    writer.close()
    usual = sorted(rounds, key=sum)[: len(rounds) * 9 // 10]
    return [statistics.fmean(column) for column in zip(*usual, strict=True)]


async def whole(serving: ServedModel, settings: Settings, bodies: Sequence[bytes], together: int) -> float:
    """Median µs of a request through the whole application without journal, with a server that costs nothing."""
    app: Any = create_app(settings, serving)

    async def ask(body: bytes) -> None:
        scope = {
            "type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "path": "/v1/predictions",
            "raw_path": b"/v1/predictions", "root_path": "", "query_string": b"", "state": {BODY_COMPLETE: True},
            "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000), "asgi": {"version": "3.0"},
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(_: dict[str, Any]) -> None:
            pass

        await app(scope, receive, send)

    taken = []
    for start in range(0, len(bodies), together):
        turn = bodies[start : start + together]
        begun = perf_counter_ns()
        await asyncio.gather(*map(ask, turn))
        taken.append((perf_counter_ns() - begun) / len(turn))
    return statistics.median(taken) / 1e3


def main() -> int:
    """Prints the tables; exit code 2 where there is no model."""
    settings = msgspec.structs.replace(read_settings(), journal="off")
    try:
        serving = open_pinned(settings)
    except BatchyieldError as error:
        print(f"hot_path: {error}", file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write_bodies(folder)
        for batches, file in ((1, written.single), (100, written.hundred)):
            count, together = REQUESTS[batches]
            bodies = file.read_bytes().splitlines()
            bodies = (bodies * (count // len(bodies) + 1))[:count]
            store = Database(locate_journal(str(folder / f"{batches}.sqlite"), "", folder))
            upgrade_schema(store)
            found = timed(serving, settings, store, bodies, together)
            store.close()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                total = runner.run(whole(serving, settings, bodies, together))
            print(f"| {batches} batches a request, {together} requests together | µs a request |\n|---|---|")
            for what, microseconds in zip(PARTS, found, strict=True):
                print(f"| {what} | {microseconds:,.1f} |")
            print(f"| sum of the event loop's | {sum(found[:-1]):,.1f} |")
            print(f"| whole application without journal, with a task for each | {total:,.1f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
