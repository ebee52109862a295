"""Limits: rates, concurrent requests, connections, slow and large request heads."""

import asyncio
import contextlib
import json
import re
import resource
import socket
import threading
import time

import httpx
import pytest
from support.service import Running, client_of, refusal

from api.openapi.examples import INPUTS
from batchyield.serving.predictor import Predictor

BODY = json.dumps(INPUTS).encode()
POST = (
    b"POST /v1/predictions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    % len(BODY)
)


LIVE = b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def test_rate_limit(checkout):
    """The rate limit answers 429 with RateLimit headers and Retry-After."""
    with client_of(checkout, rate_limit=0.01, rate_burst_seconds=200) as client:
        answers = [client.post("/v1/predictions", json=INPUTS) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"requests";q=2;w=200'
        assert answers[0].headers["ratelimit"] == '"requests";r=1;t=100'
        refusal(answers[2], 429, "rate-limited")
        assert int(answers[2].headers["retry-after"]) == 100
        assert answers[2].headers["ratelimit"] == '"requests";r=0;t=100'
        for path in ("/health/live", "/health/ready", "/metrics", "/"):
            assert client.get(path).status_code == 200
    with client_of(checkout, rate_limit_rows=0.01, rate_burst_seconds=100) as client:
        assert [client.post("/v1/predictions", json=INPUTS).status_code for _ in range(2)] == [200, 429]


def test_work_timeout(checkout, monkeypatch):
    """A large body whose prediction takes too long gets 503 with Retry-After."""
    release = threading.Event()
    before = Predictor.predict

    def waits(self, *arguments):
        release.wait(30)
        return before(self, *arguments)

    with client_of(checkout, work_seconds=0.1, inline_body_bytes=0) as client:
        monkeypatch.setattr(Predictor, "predict", waits)
        answer = client.post("/v1/predictions", json=INPUTS)
        refusal(answer, 503, "busy")
        assert answer.headers["retry-after"] == "5"
        release.set()
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def exchange(port, data):
    """Send `data`, read until the server closes, and return (status line, problem)."""
    with connect(port) as connection:
        connection.sendall(data)
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], json.loads(body)


@pytest.fixture(scope="module")
def strict(checkout):
    more = {"BATCHYIELD_HEAD_SECONDS": "0.7", "BATCHYIELD_MAX_CONNECTIONS": "30", "BATCHYIELD_MAX_IN_FLIGHT": "2"}
    with Running(checkout, **more) as running:
        yield running


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (b"no http at all\r\n\r\n", 400, "malformed"),
        (b"GET /v1/model HTTP/1.1\r\nhost: a\r\nx-one:", 408, "too-slow"),
        (b"G", 408, "too-slow"),
        (b"GET /v1/model HTTP/1.1\r\nhost: a\r\nx-one: " + b"x" * 70_000, 431, "head-too-large"),
        (LIVE, 200, None),
    ],
)
def test_request_head(strict, data, status, kind):
    """A request head that is late, too large or malformed is refused."""
    line, answer = exchange(strict.port, data)
    assert line.startswith(b"HTTP/1.1 %d " % status)
    if kind:
        assert (answer["type"], answer["status"]) == (f"urn:batchyield:{kind}", status)


def test_idle_connection(strict):
    """Single line breaks do not keep an idle connection open."""
    with connect(strict.port) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        ended = time.monotonic() + 60
        with contextlib.suppress(OSError):  # closed, in whichever way the system says it
            while time.monotonic() < ended:
                connection.sendall(b"\r\n")
                time.sleep(0.1)
        assert time.monotonic() < ended


def test_connection_limit(strict):
    """A connection above the limit gets 503."""
    held, line, deadline = [], b"", time.monotonic() + 60
    try:
        while not line.startswith(b"HTTP/1.1 503 "):  # idle ones are closed after a while, so more come
            assert time.monotonic() < deadline
            held += [connect(strict.port) for _ in range(30)]
            line, answer = exchange(strict.port, LIVE)
        assert answer["type"] == "urn:batchyield:busy"
    finally:
        for connection in held:
            connection.close()
    while not line.startswith(b"HTTP/1.1 200 "):
        assert time.monotonic() < deadline
        line, _ = exchange(strict.port, LIVE)
    output = strict.get("/metrics").text
    assert re.search(r'^batchyield_connections_refused_total\{reason="too-many"\} [1-9]', output, re.MULTILINE)


def test_request_limit(strict):
    """A request above the limit gets 503; health and metrics still answer."""
    held = [connect(strict.port) for _ in range(2)]
    for connection in held:
        connection.sendall(POST + BODY[:10])
    deadline = time.monotonic() + 60
    while (answer := strict.get("/v1/model")).status_code == 200:  # until both have begun
        assert time.monotonic() < deadline
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:batchyield:busy"
    for path in ("/health/ready", "/metrics"):
        assert strict.get(path).status_code == 200
    for connection in held:
        connection.sendall(BODY[10:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.close()
    assert strict.get("/v1/model").status_code == 200


def test_slow_clients(checkout):
    """A thousand idle and many slow connections do not block other clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))

    async def slow(port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/predictions HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"x-drop: by drop\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.transport.abort()

    async def scene(running):
        idle = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(1000)]
        slows = [asyncio.create_task(slow(running.port)) for _ in range(50)]
        async with httpx.AsyncClient(base_url=running.url) as client:
            for _ in range(100):
                assert (await client.post("/v1/predictions", json=INPUTS)).status_code == 200
        async with asyncio.timeout(30):
            assert {await reader.read() for reader, _ in idle} == {b""}  # all are closed, with no answer
            await asyncio.gather(*slows)
        for _, writer in idle:
            writer.transport.abort()

    try:
        with Running(checkout, BATCHYIELD_HEAD_SECONDS="1") as running:
            asyncio.run(scene(running))
            output = running.get("/metrics").text
            assert 'batchyield_connections_refused_total{reason="head-too-slow"} 50.0' in output
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
