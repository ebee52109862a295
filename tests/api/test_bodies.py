"""Bodies that a test client cannot send: huge, slow, endless, and many at once."""

import concurrent.futures
import contextlib
import json
import socket
import time

import pytest
from support.service import Running

from api.openapi.examples import BATCH
from benchmarks.bombs import BOMBS, headers_of, path_of

HUGE = 50 * 2**20

HEAD = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def chunks(size, part=b" " * 65536):
    for _ in range(size // len(part)):
        yield part


def connected(running):
    return socket.create_connection(("127.0.0.1", running.port), timeout=60)


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/predictions/csv"])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_body_above_limit(service, path, declared):
    """A body of 50 MB is refused with a problem document."""
    headers = {"content-type": "text/csv" if path.endswith("csv") else "application/json"}
    if declared:
        headers["content-length"] = str(HUGE)
    answer = service.post(path, content=chunks(HUGE), headers=headers)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answer.json()["type"] == "urn:batchyield:too-large"
    assert service.get("/health/live").status_code == 200


def test_expect_continue(service):
    """A client that sends Expect: 100-continue is refused before it sends the body."""
    with connected(service) as connection:
        connection.sendall(HEAD + b"Content-Length: 52428800\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_endless_body(checkout):
    """A body without end is cut off."""
    with Running(checkout, BATCHYIELD_LINGER_BYTES="1048576") as running, connected(running) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 2**30:
                sent += connection.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert sent < 200 * 2**20


def test_slow_body(checkout):
    """A body that arrives too slowly gets 408."""
    with Running(checkout, BATCHYIELD_BODY_SECONDS="0.3") as running:
        for part in (b"", b"{"):
            with connected(running) as connection:
                connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n" + part)
                assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_client_disconnect(checkout):
    """A client that disconnects is counted as 499 and logs no error."""
    with Running(checkout) as running:
        with connected(running) as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")  # the request has begun
        deadline = time.monotonic() + 60
        while 'status="499"' not in running.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert running.errors == ""


def test_bulk_slots(checkout):
    """Large bodies need a slot and get 503 without one; small bodies need none."""
    headers = {"content-type": "application/json"}
    large = json.dumps({"inputs": [BATCH] * 300})
    with Running(checkout, BATCHYIELD_BULK_SLOTS="1") as running:
        with connected(running) as slow:
            slow.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n{")
            deadline = time.monotonic() + 60
            while (full := running.post("/v1/predictions", content=large, headers=headers)).status_code == 200:
                assert time.monotonic() < deadline
            assert full.status_code == 503
            assert full.headers["retry-after"] == "2"
            assert full.json()["type"] == "urn:batchyield:busy"
            assert running.post("/v1/predictions", json={"inputs": [BATCH]}).status_code == 200
        deadline = time.monotonic() + 60
        while running.post("/v1/predictions", content=large, headers=headers).status_code == 503:
            assert time.monotonic() < deadline


def test_health_during_large_bodies(service):
    """Health checks answer while large bodies are processed."""
    large = json.dumps({"inputs": [BATCH] * 9_000})
    headers = {"content-type": "application/json"}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(service.post, "/v1/predictions", content=large, headers=headers) for _ in range(6)]
        while not all(one.done() for one in pending):
            assert service.get("/health/live").status_code == 200
        assert all(one.result().status_code == 200 for one in pending)


def test_concurrent_requests(service):
    """Concurrent requests get their own predictions."""

    def ask(n):
        inputs = [{"id": f"{n}-{i}", "B14": 400 + n} for i in range(1 + n % 7)]
        answer = service.post("/v1/predictions", json={"inputs": inputs}).json()
        assert [p["id"] for p in answer["predictions"]] == [item["id"] for item in inputs]
        assert [p["yield"] for p in answer["predictions"]] == pytest.approx([(900 + n) / 1000] * len(inputs), abs=1e-6)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(100)))


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_bombs(service, bomb):
    """Bodies that would need much memory are refused."""
    answer = service.post(path_of(bomb), content=BOMBS[bomb][1], headers=headers_of(bomb))
    assert answer.status_code in (400, 422)
    assert len(answer.content) < 20_000
