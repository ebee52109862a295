"""The log: one line per request, documented fields, no secrets."""

import json
import os
import re
import socket
import threading
from datetime import datetime

import msgspec
import pytest
from litestar.testing import TestClient
from support.service import REVISION, ROOT, START_SECONDS, Running

from api.app import create_app
from api.openapi.examples import INPUTS, sheet
from api.settings import Settings
from api.telemetry import access_log
from api.telemetry.access_log import LineWriter, RequestLine, ServiceLog

SECRET = "s3cr3t-that-must-not-be-logged"
KEY = "right-key-that-must-not-be-logged-either"


@pytest.fixture
def logged(checkout, tmp_path):
    """A client, and a function that closes the log and returns its lines."""
    handle = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    settings = Settings(lock=str(checkout / "dvc.lock"), revision=REVISION)
    log = ServiceLog(LineWriter(handle), "json", access=True)
    with TestClient(create_app(settings, log=log), raise_server_exceptions=False) as client:

        def lines():
            log.close()
            return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

        yield client, lines
    os.close(handle)


def test_request_line(logged):
    """A request is logged as one line with the documented fields."""
    client, lines = logged
    answer = client.post("/v1/predictions", json=INPUTS, headers={"x-request-id": "find-me"})
    (line,) = lines()
    assert msgspec.convert(line, RequestLine) == msgspec.json.decode(json.dumps(line), type=RequestLine)
    assert datetime.fromisoformat(line["time"]).utcoffset().total_seconds() == 0
    assert line["seconds"] > 0
    assert line | {"time": 0, "pid": 0, "seconds": 0} == {
        "time": 0,
        "level": "info",
        "event": "request",
        "pid": 0,
        "request_id": "find-me",
        "caller": "",
        "method": "POST",
        "route": "/v1/predictions",
        "status": 200,
        "seconds": 0,
        "bytes_in": int(answer.request.headers["content-length"]),
        "bytes_out": len(answer.content),
        "rows": 2,
        "model": answer.json()["model"]["md5"],
        "refusal": "",
        "client_gone": False,
    }


def test_refusal_lines(logged):
    """A refused request is logged with its problem type."""
    client, lines = logged
    client.post("/v1/predictions", json={"inputs": []})
    client.get("/nowhere")
    client.request("BREW", "/v1/model")
    requests = [(line["method"], line["route"], line["status"], line["refusal"]) for line in lines()]
    assert requests == [
        ("POST", "/v1/predictions", 422, "invalid-input"),
        ("GET", "unmatched", 404, "not-found"),
        ("other", "/v1/model", 405, "method-not-allowed"),
    ]


def test_error_line(checkout):
    """An error is logged as one line with its traceback and without cell values."""
    code = (
        "import sys; from batchyield.serving.predictor import Predictor\n"
        "def fail(self, batches, *_): raise ValueError(f'cannot use {batches[0].id}')\n"
        "import api.server, api.inference.hot_swap\n"
        "opened = api.inference.hot_swap.open_desired\n"
        "def spoilt(settings):\n"
        "    serving = opened(settings); Predictor.predict = fail; return serving\n"
        "api.inference.hot_swap.open_desired = spoilt\n"
        "from api.__main__ import main\n"
        "sys.exit(main(['--port', sys.argv[1]]))\n"
    )
    with Running(checkout, code=code) as running:
        body = {"inputs": [{"id": SECRET}]}
        answer = running.post("/v1/predictions", json=body, headers={"x-request-id": "find-me"})
        assert answer.status_code == 500
    (error,) = [line for text in running.output.splitlines() if (line := json.loads(text))["level"] == "error"]
    assert (error["event"], error["error"], error["request_id"], error["route"]) == (
        "error",
        "ValueError",
        "find-me",
        "/v1/predictions",
    )
    assert "in predict" in error["trace"] or "in fail" in error["trace"]
    assert SECRET not in running.output + running.errors


def raw(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        return connection.makefile("rb").read()


def test_secrets(checkout):
    """No key, header, query or body content gets into the log."""
    with Running(
        checkout, BATCHYIELD_API_KEY=KEY, BATCHYIELD_MAX_BODY_BYTES="2048", BATCHYIELD_RATE_LIMIT="1"
    ) as running:
        secret = {"cookie": SECRET, "user-agent": SECRET, "referer": f"http://a/?{SECRET}"}
        right = secret | {"authorization": f"Bearer {KEY}"}
        with running.client() as client:
            statuses = {
                client.post(path, params={"explain": SECRET, "key": SECRET}, content=body, headers=headers).status_code
                for path in ("/v1/predictions", "/v1/predictions/csv", f"/{SECRET}")
                for headers in (
                    secret | {"authorization": f"Bearer {SECRET}"},
                    secret | {"x-api-key": SECRET},
                    right | {"content-type": "application/json"},
                    right | {"content-type": "text/csv", "x-request-id": f"{SECRET} not sane"},
                    right | {"content-type": SECRET},
                    right | {"content-type": f"multipart/form-data; boundary={SECRET}"},
                )
                for body in (
                    json.dumps({"inputs": [{"id": SECRET, "A5": SECRET}]}).encode(),
                    json.dumps({"inputs": [{SECRET: 1}], SECRET: 2}).encode(),
                    f'{{"inputs": [{{"A6": "{SECRET}"}}]}}'.encode(),
                    f'{{"{SECRET}'.encode(),
                    sheet([{"id": SECRET, "A5": SECRET}]).encode(),
                    SECRET.encode() * 200,
                )
            }
            statuses.add(client.request(SECRET, "/v1/model", headers=right).status_code)
            statuses |= {client.get(f"/v1/model/{SECRET}", headers=right).status_code for _ in range(2)}
        assert raw(running.port, f"{SECRET} {SECRET}\r\n\r\n".encode()).startswith(b"HTTP/1.1 400")
        raw(running.port, f"GET /{SECRET} HTTP/1.1\r\nhost: {SECRET} {SECRET}\r\nconnection: close\r\n\r\n".encode())
    assert {401, 429} <= statuses
    output = running.output + running.errors
    assert output.count('"event":"request"') > 100
    for value in (SECRET, KEY, SECRET.upper()):
        assert value not in output
    assert "Traceback" not in output
    assert '"caller":"environment"' in output


def test_secrets_in_refusals(logged):
    """Refusals log no content of the request."""
    client, lines = logged
    for content_type in ("application/json", "text/csv", SECRET):
        for body in (f'{{"inputs": [{{"A6": "{SECRET}"}}]}}', SECRET, f'{{"{SECRET}', sheet([{"A5": SECRET}])):
            client.post(
                "/v1/predictions/csv" if content_type == "text/csv" else "/v1/predictions",
                params={"explain": SECRET},
                content=body.encode(),
                headers={"content-type": content_type},
            )
    logged = lines()
    assert {line["status"] for line in logged} >= {415, 422}
    assert SECRET not in json.dumps(logged)


def counting(writer):
    """Return the dropped lines that a writer reports: a list with one item for each, and a list of totals."""
    dropped, resumed = [], []
    writer.on_drop, writer.on_resume = lambda: dropped.append(1), resumed.append
    return dropped, resumed


def test_stalled_reader():
    """A stalled reader blocks no writer and gets the number of dropped lines when it resumes."""
    reading, writing = os.pipe()
    writer = LineWriter(writing, max_lines=1000)
    dropped, resumed = counting(writer)
    for number in range(20_000):  # far more than the pipe and the queue hold
        writer.put(b'{"number":%d,"filling":"%s"}\n' % (number, b"x" * 80))
    got = []
    with os.fdopen(reading, "rb") as pipe:
        reader = threading.Thread(target=lambda: got.append(pipe.read()))
        reader.start()
        writer.close(30)
        os.close(writing)
        reader.join(30)
    numbers = [json.loads(line)["number"] for line in got[0].splitlines()]
    assert numbers == sorted(numbers)
    assert len(numbers) + len(dropped) == 20_000
    assert sum(resumed) == len(dropped)
    assert len(numbers) >= 1000


def test_close_with_stalled_reader():
    """Closing the writer does not wait for a stalled reader."""
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    for _ in range(100):
        writer.put(b"x" * 4096)
    writer.close(0)
    os.close(reading)  # which ends the write that is under way
    writer.close()


def test_service_with_unread_log(checkout):
    """A service whose log is not read keeps serving and loses no line."""
    with Running(checkout) as running, running.client() as client:
        for _ in range(600):  # the pipe holds 64 KiB, some 200 lines
            assert client.get("/health/live").status_code == 200
    lines = [json.loads(line) for line in running.output.splitlines()]  # all that is left comes at the end
    assert sum(line.get("route") == "/health/live" for line in lines) == 600
    assert [line["event"] for line in lines[:2]] == ["opened", "serving"]


def test_closed_reader(monkeypatch):
    """After its reader has closed the pipe, the writer drops and counts lines; it tries again after a pause only."""
    attempts = []
    write = os.write
    monkeypatch.setattr("os.write", lambda *given: attempts.append(1) or write(*given))
    monkeypatch.setattr(access_log, "RETRY_SECONDS", 600)
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing)
    dropped, resumed = counting(writer)
    for _ in range(1000):
        writer.put(b"a\n")
    writer.close()
    os.close(writing)
    assert (len(dropped), resumed, len(attempts)) == (1000, [], 1)


def test_reader_comes_back(monkeypatch):
    """When the log can be written again, the number of dropped lines is reported once."""
    monkeypatch.setattr(access_log, "RETRY_SECONDS", 0)
    reading, writing = os.pipe()
    os.close(reading)
    writer, is_dropped, is_resumed = LineWriter(writing), threading.Event(), threading.Event()
    dropped, resumed = counting(writer)
    writer.on_drop = lambda: dropped.append(1) or is_dropped.set()
    writer.on_resume = lambda count: resumed.append(count) or is_resumed.set()
    writer.put(b"a\n")
    assert is_dropped.wait(START_SECONDS)
    reading, other = os.pipe()
    os.dup2(other, writing)
    os.close(other)
    writer.put(b"b\n")
    assert is_resumed.wait(START_SECONDS)
    writer.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"b\n"
    assert (len(dropped), resumed) == (1, [1])


def test_service_with_closed_log(checkout):
    """A service whose log reader is gone counts the dropped lines."""
    with Running(checkout) as running, running.client() as client:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, running.process.stdout.fileno())  # closes the only reader of the pipe
        os.close(null)
        lost = 0.0
        while lost < 20:
            text = client.get("/metrics").text
            lost = float(re.search(r"^batchyield_log_lines_dropped_total (\S+)$", text, re.MULTILINE)[1])


def test_console_format(checkout):
    """The access log can be turned off, and the console format is readable text."""
    more = {"BATCHYIELD_ACCESS_LOG": "0", "BATCHYIELD_LOG_FORMAT": "console"}
    with Running(checkout, **more) as running:
        running.get("/v1/model")
    first, second = running.output.splitlines()
    assert re.match(
        r"\d\d:\d\d:\d\d \[info +\] model line: md5 [0-9a-f]{32}, version unreleased, revision 1{40}; 20", first
    )
    assert second.endswith(f"serving on {running.url}")


def test_documented_fields():
    """docs/logs.md lists every field with its type."""
    kinds = {int: "integer", float: "number", str: "string", bool: "boolean", datetime: "date-time"}
    rows = re.findall(r"^\| `(\w+)` \| ([\w-]+) \|", (ROOT / "docs/logs.md").read_text(), re.MULTILINE)
    documented = dict(rows)
    for field in msgspec.structs.fields(RequestLine):
        assert documented.pop(field.name) == kinds[field.type], field.name
    assert set(documented) == {"message", "logger", "error", "trace"}
