"""Where the microseconds of a request with one batch go inside the application, as a Markdown table.

    python benchmarks/hot_path.py

The parts are timed one after another for 16 requests that share a run of the model, as they do in a turn of the event
loop, so that each part finds the caches as the one before left them. Without journal and log. Needs the model that
dvc.lock pins.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec
import uvloop

from api.app import create_app
from api.body import WHOLE
from api.payload import batches_of_json
from api.service import Predictions, Service, Serving
from api.settings import Settings, read_settings
from api.swap import open_pinned
from batchyield.errors import BatchyieldError
from batchyield.features import FEATURES, featurize
from benchmarks.bodies import write_bodies

PARTS = (
    "decode and check the JSON (msgspec)",
    f"42 readings to {len(FEATURES)} features, into a float32 matrix",
    "model (onnxruntime) and seven decimals",
    "count predictions and warnings (prometheus-client)",
    "encode the answer (msgspec)",
    "count and time the request (prometheus-client)",
)
REQUESTS = 4_800
TOGETHER = 16


def parts(serving: Serving, settings: Settings, bodies: Sequence[bytes]) -> list[float]:
    """Median µs of each of `PARTS`, for each request."""
    service, predictor, encode = Service(settings, serving), serving.artifact.predictor, msgspec.json.Encoder().encode
    rounds = []
    for start in range(0, len(bodies), TOGETHER):
        begun = perf_counter_ns()
        asked = [batches_of_json(body) for body in bodies[start : start + TOGETHER]]
        decoded = perf_counter_ns()
        batches = [batch for one in asked for batch in one]
        features = featurize(batches)
        featurized = perf_counter_ns()
        predictor.answer(features.values)
        answered = perf_counter_ns()
        predictions = predictor.predict(batches)  # not timed: the model has just seen these rows
        predicted = perf_counter_ns()
        service.metrics.predicted(batches, predictions, "json")
        counted = perf_counter_ns()
        for prediction in predictions:
            encode(Predictions(service.serving.pin, [prediction]))
        encoded = perf_counter_ns()
        for _ in asked:
            service.metrics.answered("POST", "/v1/predictions", 200, 0.001)
        ended = perf_counter_ns()
        taken = (
            decoded - begun,
            featurized - decoded,
            answered - featurized,
            counted - predicted,
            encoded - counted,
            ended - encoded,
        )
        rounds.append([one / len(asked) for one in taken])
    return [statistics.median(column) / 1e3 for column in zip(*rounds, strict=True)]


async def whole(serving: Serving, settings: Settings, bodies: Sequence[bytes]) -> float:
    """Median µs of a request through the whole application, with a server that costs nothing."""
    app: Any = create_app(settings, serving)

    async def ask(body: bytes) -> None:
        scope = {
            "type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "path": "/v1/predictions",
            "raw_path": b"/v1/predictions", "root_path": "", "query_string": b"", "state": {WHOLE: True},
            "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000), "asgi": {"version": "3.0"},
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(_: dict[str, Any]) -> None:
            pass

        await app(scope, receive, send)

    taken = []
    for start in range(0, len(bodies), TOGETHER):
        turn = bodies[start : start + TOGETHER]
        begun = perf_counter_ns()
        await asyncio.gather(*map(ask, turn))
        taken.append((perf_counter_ns() - begun) / len(turn))
    return statistics.median(taken) / 1e3


def main() -> int:
    """Prints the table; exit code 2 where there is no model."""
    settings = msgspec.structs.replace(read_settings(), journal="off")
    try:
        serving = open_pinned(settings)
    except BatchyieldError as error:
        print(f"hot_path: {error}", file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory() as folder:
        bodies = write_bodies(Path(folder)).single.read_bytes().splitlines()[:REQUESTS]
    found = parts(serving, settings, bodies)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        total = runner.run(whole(serving, settings, bodies))
    print("| part | µs |\n|---|---|")
    for name, microseconds in zip(PARTS, found, strict=True):
        print(f"| {name} | {microseconds:.1f} |")
    print(f"| sum | {sum(found):.1f} |")
    print(f"| whole application, {TOGETHER} requests in a turn, with a task for each | {total:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
