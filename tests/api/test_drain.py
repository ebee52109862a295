"""Draining: the service reports not ready, finishes its requests, and exits."""

import asyncio
import json
import os
import signal
import socket
import time

import httpx
import pytest
from support.service import NO_TLS, Running, workers_of

from api.openapi.examples import INPUTS

BODY = json.dumps(INPUTS).encode()


async def customer(url, statuses, closings, enough):
    """Send requests while the service reports ready, as a load balancer does."""
    async with httpx.AsyncClient(base_url=url, verify=NO_TLS) as client:
        while (await client.get("/health/ready")).status_code == 200:
            for _ in range(5):
                answer = await client.post("/v1/predictions", json=INPUTS)
                statuses.append(answer.status_code)
                closings.append(answer.headers.get("connection"))
            if len(statuses) > 200:
                enough.set()


async def under_load(running):
    statuses, closings, enough = [], [], asyncio.Event()
    customers = [asyncio.create_task(customer(running.url, statuses, closings, enough)) for _ in range(8)]
    await enough.wait()
    running.process.send_signal(signal.SIGTERM)
    running.stopping = True
    async with asyncio.timeout(60):
        await asyncio.gather(*customers)  # none of them has failed
    async with httpx.AsyncClient(base_url=running.url, verify=NO_TLS) as late:
        answer = await late.get("/health/ready")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:batchyield:not-ready")
        assert answer.headers["connection"] == "close"
        assert (await late.get("/health/live")).status_code == 200
        assert (await late.post("/v1/predictions", json=INPUTS)).status_code == 200
    return statuses, closings


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_drain_under_load(checkout, workers):
    """No request fails while a service under load drains."""
    with Running(checkout, "--workers", workers, BATCHYIELD_DRAIN_SECONDS="3") as running:
        statuses, closings = asyncio.run(under_load(running))
    assert {*statuses} == {200}
    assert closings[0] is None
    assert running.errors == ""
    lines = [json.loads(line) for line in running.output.splitlines()]  # whole lines from any worker
    requests = [line for line in lines if line.get("route") == "/v1/predictions"]
    assert len(requests) == len(statuses) + 1
    assert {line["client_gone"] for line in requests} == {False}


def begun(port):
    """A request whose body the service waits for."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = b"POST /v1/predictions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n"
    connection.sendall(head + b"content-length: %d\r\n\r\n" % len(BODY))
    assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
    connection.sendall(BODY[:20])
    return connection


PATIENT = """
import sys
from api import __main__
from api.http import uvicorn_protocol
uvicorn_protocol.FIRST_REQUEST_SECONDS = 60
sys.argv[1:] = ["--port", sys.argv[1]]
__main__.main()
"""


def test_new_connection(checkout):
    """A connection that was accepted right before a shutdown gets the response to its first request."""
    with Running(checkout, code=PATIENT) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
            assert running.get("/health/live").status_code == 200, "and so the earlier connection is accepted, too"
            running.process.terminate()
            running.stopping = True
            assert stops_listening(running.port)
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()


def stops_listening(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_unfinished_request(checkout, number):
    """A request that has begun is finished after SIGTERM, and after SIGHUP, which a closed terminal sends."""
    with Running(checkout) as running, begun(running.port) as connection:
        running.process.send_signal(number)
        assert stops_listening(running.port)
        connection.sendall(BODY[20:])
        answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert running.process.wait(60) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_second_signal(checkout, workers):
    """A second signal ends the drain at once."""
    with (
        Running(checkout, "--workers", workers, BATCHYIELD_DRAIN_SECONDS="600") as running,
        begun(running.port) as connection,
    ):
        running.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while running.get("/health/ready").status_code == 200:
            assert time.monotonic() < deadline
        if workers == "1":
            running.process.send_signal(signal.SIGTERM)
        else:  # the supervisor only waits for its workers now
            for worker in workers_of(running):
                os.kill(worker, signal.SIGINT)
        assert running.process.wait(60) == 0  # it would drain for ten minutes
        connection.close()
    assert "Traceback" not in running.output + running.errors


def test_interrupt(checkout):
    """SIGINT stops the service without a drain."""
    with Running(checkout, BATCHYIELD_DRAIN_SECONDS="600") as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 0
