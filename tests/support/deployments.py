"""Models that tell themselves apart by their answers, wishes for them, and callers that never pause."""

import hashlib
import threading
import time
from typing import NamedTuple

import httpx
from support.service import REFERENCE, START_SECONDS, batches, card, linear_onnx

from api.openapi.examples import BATCH
from batchyield.serving.artifact import FILES, golden_rows, write_artifact
from batchyield.serving.deployment.model_store import Deployment, DesiredState, ModelStore
from batchyield.serving.deployment.worker_registry import live_workers

A, B = 0.5, 0.5625
"""Constants of two models: their answers to `BATCH` are 0.9 and 0.9625."""


def model(folder, constant, golden=None, **changes):
    """Writes an artifact whose golden rows are its own, unless another model's constant is given for them."""
    onnx = linear_onnx(constant)
    rows = golden_rows(onnx if golden is None else linear_onnx(golden), batches(20))
    write_artifact(folder, onnx, card(**changes), rows, REFERENCE)


def pins_of(folder):
    return {name: hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() for name in FILES}


def stored(root, constant, name=None, **changes):
    """A model in the store of the service over `root`."""
    models = ModelStore(root / ".serving")
    name = name or f"model-{constant}"
    folder = models.path(Deployment(name, {}, "x", "x"))
    model(folder, constant, **changes)
    revision = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    return Deployment(name, pins_of(folder), revision, f"v{constant}")


def wish(root, **wanted):
    """Wants something else of the service over `root`, and returns the revision of the wish."""
    models = ModelStore(root / ".serving")
    revision = 1 + max([0, *(status.desired_revision for status in live_workers(models.workers))])
    models.set_desired(DesiredState(revision, **wanted))
    return revision


def acted(root, revision, workers=1):
    """Waits until as many workers have acted upon a wish; what they say."""
    return until(
        lambda: [s for s in live_workers(root / ".serving/workers") if s.desired_revision >= revision], workers
    )


def until(found, count=1, seconds=START_SECONDS):
    """Waits for that many."""
    deadline = time.monotonic() + seconds
    while len(result := found()) != count:
        assert time.monotonic() < deadline, result
        time.sleep(0.02)
    return result


class Reply(NamedTuple):
    """A request's way: when it began, and what came of it."""

    caller: int
    began: float
    status: int | str
    md5: str
    answer: float


class Load:
    """Callers that ask without a pause; half of them on one connection each, half with a new one for each request."""

    def __init__(self, url, callers=4):
        self.url, self.replies, self._stop = url, [], threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(callers)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def answered(self, count):
        """Waits until as many more replies have come."""
        goal = len(self.replies) + count
        until(lambda: [None] if len(self.replies) >= goal else [])

    def _call(self, caller):
        client = httpx.Client(timeout=START_SECONDS)
        while not self._stop.is_set():
            if caller % 2:
                client.close()
                client = httpx.Client(timeout=START_SECONDS)
            began = time.monotonic()
            try:
                reply = client.post(f"{self.url}/v1/predictions", json={"inputs": [BATCH]})
            except httpx.TransportError as error:
                self.replies.append(Reply(caller, began, repr(error), "", 0.0))
                continue
            said = reply.json() if reply.status_code == 200 else {"model": {"md5": ""}, "predictions": [{"yield": 0.0}]}
            answer = said["predictions"][0]["yield"]
            self.replies.append(Reply(caller, began, reply.status_code, said["model"]["md5"], answer))
        client.close()
