"""Surroundings of Prometheus: callers of the service, a fake cAdvisor, and a receiver of alerts."""

import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import msgspec
from support.service import NO_TLS, ROOT


class Station:
    """A web server that stores Alertmanager's posts by path, and serves container metrics as cAdvisor does."""

    CADVISOR = ROOT / "tests" / "cadvisor.prom"

    def __enter__(self):
        station, self.posted, self._lock = self, [], threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with station._lock:
                    station.posted.append((self.path.strip("/"), msgspec.json.decode(body)))
                self._answer(b"ok")

            def do_GET(self):
                self._answer(station.CADVISOR.read_text().replace("NOW", str(time.time())).encode())

            def _answer(self, body):
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # the client is being stopped
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def messages(self, receiver, *words):
        """Return the messages to a receiver that contain all the words."""
        with self._lock:
            texts = [str(message) for to, message in self.posted if to == receiver]
        return [text for text in texts if all(word in text for word in words)]


class Callers:
    """Callers that send batches, and one that repeats the newest, so that there is always traffic."""

    KEY = "that-of-prometheus-too"

    def __init__(self, url):
        self.client = httpx.Client(base_url=url, headers={"x-api-key": self.KEY}, timeout=30, verify=NO_TLS)
        self._newest, self._ended = [], threading.Event()
        self._thread = threading.Thread(target=self._again)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self.client.close()

    def send(self, rows):
        """Predict batches in one request, so that no drift check sees a part of them; return the predictions."""
        answer = self.client.post("/v1/predictions", json={"inputs": msgspec.to_builtins(rows)})
        assert answer.status_code == 200, answer.text
        self._newest = msgspec.to_builtins(rows[-1:])
        return answer.json()["predictions"]

    def measure(self, predictions, error):
        """Send measured yields that are off by `error`, half of them to either side."""
        outcomes = [
            {"id": one["id"], "yield": round(one["yield"] + error * (-1) ** n, 6)} for n, one in enumerate(predictions)
        ]
        assert self.client.post("/v1/outcomes", json={"outcomes": outcomes}).status_code == 200

    def _again(self):
        while not self._ended.wait(0.05):
            if self._newest:
                try:
                    self.client.post("/v1/predictions", json={"inputs": self._newest})
                except httpx.TransportError:
                    continue
