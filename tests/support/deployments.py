"""Models that predict different constants, desired states that select them, and callers that never pause."""

import hashlib
import time
from typing import NamedTuple

import httpx
from support.calling_threads import CallingThreads
from support.service import NO_TLS, REFERENCE, START_SECONDS, batches, card, linear_onnx

from api.openapi.examples import BATCH
from batchyield.serving.artifact import FILES, golden_rows, write_artifact
from batchyield.serving.deployment.model_store import Deployment, DesiredState, ModelStore
from batchyield.serving.deployment.worker_registry import live_workers

A, B = 0.5, 0.5625
"""Constants of two models: their answers to `BATCH` are 0.9 and 0.9625."""


def model(folder, constant, golden=None, **changes):
    """Write an artifact whose golden rows are its own, unless another model's constant is given for them."""
    onnx = linear_onnx(constant)
    rows = golden_rows(onnx if golden is None else linear_onnx(golden), batches(20))
    write_artifact(folder, onnx, card(**changes), rows, REFERENCE)


def pins_of(folder):
    return {name: hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() for name in FILES}


def store_model(root, constant, name=None, **changes):
    """Write a model into the store of the service in `root` and return its deployment."""
    models = ModelStore(root / ".serving")
    name = name or f"model-{constant}"
    folder = models.path(Deployment(name, {}, "x", "x"))
    model(folder, constant, **changes)
    revision = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    return Deployment(name, pins_of(folder), revision, f"v{constant}")


def set_desired_model(root, **changes):
    """Write a desired state for the service in `root` and return its revision."""
    models = ModelStore(root / ".serving")
    revision = 1 + max([0, *(status.desired_revision for status in live_workers(models.workers))])
    models.set_desired(DesiredState(revision, **changes))
    return revision


def wait_applied(root, revision, workers=1):
    """Wait until that many workers have applied a desired state and return their statuses."""
    return until(
        lambda: [s for s in live_workers(root / ".serving/workers") if s.desired_revision >= revision], workers
    )


def until(found, count=1, seconds=START_SECONDS):
    """Poll `found` until it returns `count` items, and return them."""
    deadline = time.monotonic() + seconds
    while len(result := found()) != count:
        assert time.monotonic() < deadline, result
        time.sleep(0.02)
    return result


class Reply(NamedTuple):
    """The outcome of a request, and when it began."""

    caller: int
    began: float
    status: int | str
    md5: str
    answer: float


class Load(CallingThreads):
    """Callers that send requests without a pause; half keep one connection, half open a new one for each request."""

    def __init__(self, url, callers=4):
        super().__init__(callers)
        self.url, self.replies = url, []

    def answered(self, count):
        """Wait until `count` more replies have arrived."""
        goal = len(self.replies) + count
        until(lambda: [None] if len(self.replies) >= goal else [])

    def _call(self, caller):
        client = httpx.Client(timeout=START_SECONDS, verify=NO_TLS)
        while not self._stop.is_set():
            if caller % 2:
                client.close()
                client = httpx.Client(timeout=START_SECONDS, verify=NO_TLS)
            began = time.monotonic()
            try:
                reply = client.post(f"{self.url}/v1/predictions", json={"inputs": [BATCH]})
            except httpx.TransportError as error:
                self.replies.append(Reply(caller, began, repr(error), "", 0.0))
                continue
            body = reply.json() if reply.status_code == 200 else {"model": {"md5": ""}, "predictions": [{"yield": 0.0}]}
            answer = body["predictions"][0]["yield"]
            self.replies.append(Reply(caller, began, reply.status_code, body["model"]["md5"], answer))
        client.close()
