"""Cost of keys, rate limits and the log per request: the middleware around an application that does nothing.

python -m benchmarks.envelope
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from api.http.shutdown import Drain
from api.middleware.authorization import AccessControl, Keyring
from api.middleware.rate_limit import RateLimiter
from api.middleware.request_context import RequestContextMiddleware
from api.settings import Settings
from api.telemetry.access_log import LineWriter, ServiceLog
from api.telemetry.metrics import Metrics
from batchyield.serving.auth import api_keys

ROUNDS, REQUESTS, KEYS = 7, 20_000, 1000
BODY = {"type": "http.request", "body": b"x" * 900, "more_body": False}
RESULT = SimpleNamespace(rows=1, model=SimpleNamespace(pin=SimpleNamespace(md5="0" * 32)))


async def nothing(scope, receive, send):
    await receive()
    scope["state"]["result"] = RESULT
    scope["path_template"] = "/v1/predictions"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"y" * 300, "more_body": False})


async def receive():
    return BODY


async def send(_):
    pass


async def measure(application, headers):
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(REQUESTS):
            scope = {"type": "http", "method": "POST", "path": "/v1/predictions", "headers": headers, "state": {}}
            await application(scope, receive, send)
        best = min(best, time.perf_counter() - started)
    return best / REQUESTS * 1e6


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys"
        tokens = [api_keys.new_token() for _ in range(KEYS)]
        path.write_bytes(
            api_keys.encode_keys([api_keys.new_key(f"k{n}", ["predict"], token) for n, token in enumerate(tokens)])
        )
        open_settings, guarded = Settings(revision="1"), Settings(revision="1", api_keys_file=str(path))
        plain = [(b"host", b"a"), (b"content-type", b"application/json"), (b"content-length", b"900")]
        keyed = [*plain, (b"authorization", b"Bearer " + tokens[-1].encode())]
        log = ServiceLog(LineWriter(os.open(os.devnull, os.O_WRONLY)), "json", access=True)
        for what, settings, headers, rates, to in (
            ("bare", open_settings, plain, RateLimiter(0, 0, 5), None),
            (f"one of {KEYS} keys", guarded, keyed, RateLimiter(0, 0, 5), None),
            ("and rates", guarded, keyed, RateLimiter(1e9, 1e9, 5), None),
            ("and the log", guarded, keyed, RateLimiter(1e9, 1e9, 5), log),
            ("the log alone", open_settings, plain, RateLimiter(0, 0, 5), log),
        ):
            admission = AccessControl(Keyring(settings), rates, 1000)
            application = RequestContextMiddleware(nothing, settings, admission, Metrics(), Drain(0), to)
            print(f"{what:20} {asyncio.run(measure(application, headers)):6.2f} µs a request")


if __name__ == "__main__":
    main()
