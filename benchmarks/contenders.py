"""Servers to compare, each a real process on one core, with the load generator on another."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import psutil

from batchyield.errors import ConfigError, ServiceError
from batchyield.serving.artifact import FILES
from batchyield.versioning.storage.embedded_s3 import HOST, free_port

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "bench"
LOCK = ROOT / "requirements" / "bench.txt"
PATH, OUTCOMES_PATH, JSON = "/v1/predictions", "/v1/outcomes", {"Content-Type": "application/json"}
STARTUP_SECONDS = 30


class Contender(NamedTuple):
    """How a server is started: `{port}` in `command` is replaced.

    Attributes:
        name: as the table calls it.
        environment: beside this process's own.
        folder: where it runs.
        cores: where it may run.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    cores: tuple[int, ...]


def cores() -> tuple[int, int]:
    """One for the server and one for the load.

    Raises:
        ConfigError: there is only one.
    """
    free = sorted(os.sched_getaffinity(0))
    if len(free) < 2:
        raise ConfigError("this machine has one core", "use one with two: server and load generator need one each")
    return free[0], free[-1]


def service(name: str, folder: Path, off: tuple[str, ...] = (), workers: int = 1) -> Contender:
    """Our service over the pinned model, with the allocator settings of the image.

    `off` names what is left out: `journal` or `log`.

    Raises:
        ConfigError: there is no model.
    """
    if missing := [one for one in FILES if not (ROOT / "data" / "model" / one).is_file()]:
        raise ConfigError(
            f"data/model holds no {missing[0]}", "run `make repro`, or `dvc pull` where it has been pushed"
        )
    journal = "off" if "journal" in off else str(folder / f"{name.replace(' ', '_')}.sqlite")
    environment = {"BATCHYIELD_JOURNAL": journal, "MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"}
    if "log" in off:
        environment["BATCHYIELD_ACCESS_LOG"] = "false"
    command = (sys.executable, "-m", "api", "--port", "{port}", "--workers", str(workers))
    return Contender(name, command, environment, ROOT, cores()[:1] if workers == 1 else cores())


def echo() -> Contender:
    """The typed Litestar endpoint that predicts nothing."""
    return Contender("echo", (sys.executable, "-m", "benchmarks.servers.echo", "{port}"), {}, ROOT, cores()[:1])


def usual(sheet: Path) -> Contender:
    """FastAPI, pandas and scikit-learn, in an environment of its own that is made where it is missing."""
    command = (str(_environment() / "bin" / "uvicorn"), "usual:app", "--port", "{port}", "--no-access-log")
    folder = ROOT / "benchmarks" / "servers"
    return Contender("usual", command, {"BENCH_SHEET": str(sheet)}, folder, cores()[:1])


def _environment() -> Path:
    venv, made = CACHE / "venv", CACHE / "made-from"
    if made.is_file() and made.read_bytes() == LOCK.read_bytes():
        return venv
    print(f"making {venv.relative_to(ROOT)} from {LOCK.relative_to(ROOT)}", file=sys.stderr, flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    install = ("install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(LOCK))
    subprocess.run([str(venv / "bin" / "python"), "-m", "pip", *install], check=True)
    shutil.copyfile(LOCK, made)
    return venv


class Running:
    """A contender that answers.

    Attributes:
        port: on loopback.
        first_answer: seconds from the start of the process to its first prediction.
    """

    def __init__(self, contender: Contender, body: bytes) -> None:
        self.name, self.port = contender.name, free_port()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        begun = time.perf_counter()
        self._process = psutil.Popen(
            ["taskset", "-c", ",".join(map(str, contender.cores)), *self._command(contender)],
            cwd=contender.folder,
            env=os.environ | contender.environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        while not self._answers(body):
            if self._process.poll() is not None or time.perf_counter() - begun > STARTUP_SECONDS:
                raise ServiceError(f"the server '{self.name}' did not start", f"its output: {self.stop()}")
            time.sleep(0.002)
        self.first_answer = time.perf_counter() - begun

    def _command(self, contender: Contender) -> list[str]:
        return [part.format(port=self.port) for part in contender.command]

    def _answers(self, body: bytes) -> bool:
        try:
            return self.post(PATH, body, JSON) > 0
        except OSError:
            return False

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> float:
        """Seconds until the whole answer to one request is there.

        Raises:
            ServiceError: it is not 200.
        """
        return self._post(path, body, headers)[0]

    def learn(self, measured: tuple[bytes, bytes], body: bytes) -> None:
        """Send batches and their yields, and wait until the answer to `body` has a correction from them.

        Raises:
            ServiceError: it does not get one.
        """
        self.post(PATH, measured[0], JSON)
        self.post(OUTCOMES_PATH, measured[1], JSON)
        deadline = time.monotonic() + STARTUP_SECONDS
        while b'"bias"' not in self._post(PATH, body, JSON)[1]:
            if time.monotonic() > deadline:
                raise ServiceError(f"the server '{self.name}' does not learn from measured yields", "see its log")
            time.sleep(0.05)

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[float, bytes]:
        connection = HTTPConnection(HOST, self.port, timeout=STARTUP_SECONDS)
        begun = time.perf_counter()
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ServiceError(f"the server '{self.name}' answered {answer.status}: {content[:300]!r}", "see its log")
        return time.perf_counter() - begun, content

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        spawned = [one for one in self._process.children() if "spawn_main" in " ".join(one.cmdline())]
        return spawned or [self._process]

    def cpu_seconds(self) -> float:
        """CPU time of all workers so far, in user and kernel mode."""
        return sum(sum(one.cpu_times()[:2]) for one in self.workers())

    def resident(self) -> float:
        """Of the largest worker, MiB."""
        return max(one.memory_info().rss for one in self.workers()) / 2**20

    def stop(self) -> str:
        """Ends the process; returns the end of what it printed."""
        self._process.terminate()
        self._process.wait(STARTUP_SECONDS)
        self._output.seek(0)
        with self._output:
            return self._output.read()[-2000:].decode(errors="replace")


@contextmanager
def running(*contenders: Contender, body: bytes) -> Iterator[list[Running]]:
    """All of them at once; an idle server takes no time from the others."""
    started: list[Running] = []
    try:
        for contender in contenders:
            started.append(Running(contender, body))  # noqa: PERF401 - those before one that fails are stopped too
        yield started
    finally:
        for one in started:
            one.stop()
