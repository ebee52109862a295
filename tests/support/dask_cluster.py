"""A real Dask scheduler and real workers, each a process of its own on loopback."""

import contextlib
import os
import socket
import subprocess
import sys
import time

from distributed import Client
from support.commands import end
from support.service import ROOT

from batchyield.versioning.storage.embedded_s3 import free_port

PRELOADED = """
import os, signal, sys
from pathlib import Path

doomed, be = Path(os.environ["DOOMED"]), os.environ["BE"]


def mortal(run):
    def run_or_die(*arguments, **options):
        if getattr(arguments[1], "file", "").endswith("defect.csv"):
            raise ZeroDivisionError("a defect")
        try:
            doomed.unlink()  # one worker alone can do that
        except FileNotFoundError:
            return run(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return run_or_die


def changed(scoring, fitting):
    scoring.score_chunk, fitting.run_task = mortal(scoring.score_chunk), mortal(fitting.run_task)
    if be == "another":
        version = scoring.version
        scoring.version = fitting.version = lambda name: "1.0.0" if name == "numpy" else version(name)


def dask_setup(worker):
    if be == "without":
        for name in ("scoring.dask", "scoring.dask.worker", "parallel.dask_engine"):
            sys.modules[f"batchyield.{name}"] = None
    else:
        from batchyield.parallel import dask_engine
        from batchyield.scoring.dask import worker

        changed(worker, dask_engine)
"""
"""What makes a worker be another version, lack what it needs, fail over a file of that name, or die over a task."""


class Members:
    """A scheduler and its workers.

    Attributes:
        address: of the scheduler.
        doomed: while this file exists, the worker that gets the next task removes it and is killed over the task.
    """

    def __init__(self, folder, *tls, protocol="tcp", **more):
        self._folder, self._tls, self.doomed = folder, tls, folder / "doomed"
        self._preload = folder / "preloaded.py"
        self._preload.write_text(PRELOADED)
        self.processes = []
        self._protocol, self._more = protocol, more
        self.start_scheduler(free_port())

    def start_scheduler(self, port):
        self.address = f"{self._protocol}://127.0.0.1:{port}"
        self.scheduler = self._start(
            "scheduler",
            "--host",
            f"{self._protocol}://127.0.0.1",
            "--port",
            str(port),
            "--dashboard-address",
            "127.0.0.1:0",
        )
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                return
            assert self.scheduler.poll() is None, self._log_of(self.scheduler)
            time.sleep(0.05)

    def _log_of(self, process):
        [log] = self._folder.glob(f"*-{self.processes.index(process)}.log")
        return log.read_text()

    def _start(self, what, *options, be="well"):
        command = [sys.executable, "-m", "dask", what, *options, "--no-dashboard", *self._tls]
        environment = (
            os.environ
            | {
                "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
                "DOOMED": str(self.doomed),
                "BE": be,
                "DASK_TEMPORARY_DIRECTORY": str(self._folder),
                "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",  # how long the killed are looked for
            }
            | self._more
        )
        with (self._folder / f"{what}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=self._folder, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def worker(self, be="well", client=None):
        """One more worker while the block runs, known to the scheduler when it begins if there is a client to ask."""
        name = f"worker-{len(self.processes)}"
        options = ["--name", name, "--nthreads", "1", "--no-nanny", "--preload", str(self._preload)]
        process = self._start("worker", self.address, "--host", "127.0.0.1", *options, be=be)
        try:
            while client and name not in {worker["name"] for worker in client.scheduler_info()["workers"].values()}:
                assert process.poll() is None, (self._folder / f"{name}.log").read_text()
                time.sleep(0.05)
            yield process
        finally:
            end(process)

    def close(self):
        for process in reversed(self.processes):  # a worker that has lost its scheduler waits for it
            end(process)


@contextlib.contextmanager
def members(folder, count, *tls, **more):
    """A scheduler with so many workers."""
    members = Members(folder, *tls, **more)
    with contextlib.ExitStack() as stack:
        stack.callback(members.close)
        for _ in range(count):
            stack.enter_context(members.worker())
        yield members


@contextlib.contextmanager
def client_of(members, workers):
    """A client, once so many workers are there."""
    with Client(members.address, timeout=30, set_as_default=False) as client:
        if workers:
            client.wait_for_workers(workers, timeout=60)
        yield client
