"""A small pinned model for the tests of what opens and serves models: no training, known answers."""

import hashlib
import os
import signal
import ssl
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime
import yaml
from litestar.testing import TestClient
from onnx import TensorProto, helper, numpy_helper

from api.app import create_app
from api.settings import Settings
from batchyield.files import md5_of, write_atomic
from batchyield.plant.batch import Batch
from batchyield.plant.features import FEATURES, featurize
from batchyield.serving.artifact import FILES, MODEL, canonical_json, golden_rows, write_artifact
from batchyield.serving.prediction import Card
from batchyield.serving.reference_profile import build_reference
from batchyield.versioning.storage.embedded_s3 import free_port

ROOT = Path(__file__).parents[2]
NAMES = [feature.name for feature in FEATURES]
WIDTH = len(NAMES)
REVISION = "1" * 40
HALF_WIDTH = 0.03125  # exact in float32
BIAS = {"kind": "ewma", **yaml.safe_load((ROOT / "conf/bias/ewma.yaml").read_text())}
"""Parameters of the bias update."""
START_SECONDS = 120  # on a machine that is busy with other tests
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For a client of http alone: by default httpx reads all certificate authorities for each client, in 24 ms."""


def linear_onnx(constant=0.5, per_kilogram=0.001, by="B14", names=NAMES):
    """A model that answers `constant + per_kilogram * by`, where a missing reading counts as 0."""
    weights = np.zeros((len(names), 1), dtype=np.float32)
    weights[names.index(by), 0] = per_kilogram
    constants = {
        "weights": weights,
        "constant": np.float32([constant]),
        "half": np.float32([HALF_WIDTH]),
        "nought": np.float32([0]),
        "flat": np.int64([-1]),
    }
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "nought", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["product"]),
        helper.make_node("Add", ["product", "constant"], ["column"]),
        helper.make_node("Reshape", ["column", "flat"], ["yield"]),
        helper.make_node("Sub", ["yield", "half"], ["lower"]),
        helper.make_node("Add", ["yield", "half"], ["upper"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(names)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("yield", "lower", "upper")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def batches(count):
    """Batches whose answers differ."""
    return [Batch(id=f"batch {n}", A1=300.0, A5="6:00:00", B9="17:00-18:30", B14=400.0 + n) for n in range(count)]


def card(**changes):
    facts = {
        "name": "line",
        "features": tuple(NAMES),
        "params": {"seed": 1},
        "data_md5": "0" * 32,
        "versions": {"onnxruntime": onnxruntime.__version__},
        "metrics": {"mse": 0.001},
        "rows": 20,
        "level": 0.9,
    }
    return Card(**(facts | changes))


REFERENCE = canonical_json(
    build_reference(
        NAMES, featurize(batches(20)).values, np.array([0.9 + n / 1000 for n in range(20)]), {}, np.arange(20)
    )
)
"""The profile of what is answered by default: its median of B14 is 409."""


def pin(root):
    """Writes a dvc.lock that pins what is in data/model now."""
    lines = ["schema: '2.0'", "stages:", "  train:", "    cmd: python -m batchyield.pipeline.train", "    outs:"]
    for name in FILES:
        data = (root / "data" / "model" / name).read_bytes()
        lines += [
            f"    - path: data/model/{name}",
            "      hash: md5",
            f"      md5: {hashlib.md5(data, usedforsecurity=False).hexdigest()}",
        ]
        lines += [f"      size: {len(data)}"]
    (root / "dvc.lock").write_text("\n".join(lines) + "\n")


def make_checkout(root, model=None, **changes):
    """A folder with a pinned model, as `dvc repro` leaves one."""
    model = linear_onnx() if model is None else model
    write_artifact(root / "data" / "model", model, card(**changes), golden_rows(linear_onnx(), batches(20)), REFERENCE)
    pin(root)
    return root


def add_bias(root):
    """Add the params of the bias update to the dvc.lock of a checkout, as the stage `evaluate` has them."""
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    lock["stages"]["evaluate"] = {"cmd": "evaluate", "params": {"params.yaml": {"bias": BIAS}}}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))


EVALUATION = {
    "data/metrics/confidence.json": b"""{"rmse": {"value": 0.019, "low": 0.013, "high": 0.0245},
"score": {"value": 1.8, "low": 0.85, "high": 3.0}, "coverage": {"value": 0.94, "low": 0.91, "high": 0.96}}""",
    "data/plots/predicted.csv": b"id,actual,yields,lower,upper\nbatch 1,0.93,0.92,0.89,0.95\nb,0.9,0.91,0.88,0.94\n",
    "data/plots/residuals.csv": b"batch,residual\n1.0,0.01\n2.0,-0.01\n",
    "data/plots/learning.csv": b"batches,score\n10,2.5\n20,1.8\n",
}
"""Files of the stage `evaluate` that the service reads."""


def add_evaluation(root, files=EVALUATION):
    """Write the files of the stage `evaluate` into a checkout and pin them for its model in dvc.lock."""
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    model = next(out for out in lock["stages"]["train"]["outs"] if out["path"].endswith(MODEL))
    for path, data in files.items():
        write_atomic(root / path, data)
    outs = [{"path": path, "md5": md5_of(data)} for path, data in files.items()]
    params = {"params.yaml": {"evaluation": {"confidence": 0.9}}}
    lock["stages"]["evaluate"] = {"cmd": "evaluate", "deps": [model], "params": params, "outs": outs}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    return root


def python_of(part):
    """The Python that runs the `service`, the `client` or the `package`; noxfile.py sets one for each."""
    return os.environ.get(f"{part.upper()}_PYTHON", sys.executable)


def environment(root, **more):
    """The environment of a service for the model in `root`."""
    ours = {"BATCHYIELD_LOCK": str(root / "dvc.lock"), "BATCHYIELD_REVISION": REVISION}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BATCHYIELD_")}
    return inherited | ours | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"} | more


class Running:
    """`python -m api` as a process that runs during the block."""

    def __init__(self, root, *options, code=None, at=None, prefix=(), **more):
        """`code` is run instead of the module, and gets the port as its argument.

        `at` is an address with a port instead of a free port of 127.0.0.1, and `prefix` a command that runs the rest.
        """
        host, port = at.split(":") if at else ("127.0.0.1", free_port())
        self.port = int(port)
        self.stopping = False  # set by the caller that stops it
        self.url = f"http://{host}:{port}"
        what = ["-c", code, str(self.port)] if code else ["-m", "api", "--port", str(self.port), *options]
        command = [*prefix, python_of("service"), "-W", "error", *what]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment(root, **more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self):
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if self.get("/health/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        self.process.terminate()  # workers, too, which would outlive a supervisor that is killed
        errors = self._finish()[1]
        raise AssertionError(f"the service did not come up in {START_SECONDS} s: {errors}")

    def get(self, path, **more):
        """The response to a request on a connection of its own, however busy the machine is."""
        return httpx.get(self.url + path, timeout=START_SECONDS, verify=NO_TLS, **more)

    def post(self, path, **more):
        """The same for POST."""
        return httpx.post(self.url + path, timeout=START_SECONDS, verify=NO_TLS, **more)

    def client(self):
        """A client that keeps its connections."""
        return httpx.Client(base_url=self.url, timeout=START_SECONDS, verify=NO_TLS)

    def __exit__(self, *_):
        if not self.stopping:
            self.process.terminate()
        self.output, self.errors = self._finish()
        assert self.process.returncode == 0, self.errors

    def _finish(self):
        """Return the output and the errors once the process has ended; one that does not end is killed.

        A process that is left behind would fail an unrelated test later, by the warning about its unclosed pipes.
        """
        try:
            return self.process.communicate(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in (*workers_of(self), self.process.pid):
                os.kill(pid, signal.SIGKILL)
            return self.process.communicate()


def workers_of(running):
    """Process ids of the workers, without Python's resource tracker."""
    pid = running.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in _command_of(child)]


def _command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def refused(root, *options, **more):
    """`python -m api` where it is expected not to start: (exit code, standard error)."""
    command = [python_of("service"), "-W", "error", "-m", "api", *(options or ("--port", str(free_port())))]
    done = subprocess.run(command, cwd=ROOT, env=environment(root, **more), capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def client_of(root, **settings):
    """A client of the service over the model in `root`, whose start-up runs when it is entered."""
    values = {"lock": str(root / "dvc.lock"), "revision": REVISION} | settings
    return TestClient(create_app(Settings(**values)), raise_server_exceptions=False)


@cache
def openapi_document():
    """The OpenAPI document, as a service without a model serves it."""
    return TestClient(create_app(Settings())).get("/schema/openapi.json").json()


def refusal(response, status, kind):
    """Check the common parts of a refusal and return its problem."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:batchyield:{kind}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    return problem


def places(problem):
    """The locations of a problem's violations."""
    return [violation["where"] for violation in problem["violations"]]
