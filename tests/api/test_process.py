"""`python -m api` as a real process: how it starts, what it refuses, how it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.service import (
    ROOT,
    START_SECONDS,
    Running,
    environment,
    linear_onnx,
    make_checkout,
    pin,
    refused,
    workers_of,
)

from api.openapi.examples import BATCH, INPUTS, sheet
from batchyield.versioning.storage.embedded_s3 import free_port

KEY = "k" * 32

EVERYWHERE = "0.0.0.0"  # noqa: S104 - refused without a key, which is what is tested


@pytest.fixture(scope="module")
def service(checkout):
    with Running(checkout) as running:
        yield running
    assert "Traceback" not in running.errors
    assert re.search(
        r"model line: md5 [0-9a-f]{32}, version unreleased, revision 1{40}; 20 golden rows", running.output
    )


def test_prediction(service):
    """A running service predicts."""
    answer = service.post("/v1/predictions", json=INPUTS)
    assert answer.status_code == 200
    assert [p["yield"] for p in answer.json()["predictions"]] == [0.9, 0.92]


def test_help(tmp_path):
    """`--help` works without a model."""
    command = [sys.executable, "-m", "api", "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    for option in ("--host", "--port", "--workers", "BATCHYIELD_API_KEY"):
        assert option in done.stdout


@pytest.mark.parametrize(
    "options",
    [("--port", "x"), ("--port", "65536"), ("--port", "-1"), ("--workers", "0"), ("--workers", "two"), ("--x",)],
)
def test_invalid_option(checkout, options):
    """An invalid option is refused with the usage."""
    code, errors = refused(checkout, *options)
    assert code == 2
    assert "usage: python -m api" in errors


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stop_during_start(checkout, tmp_path, workers):
    """SIGTERM before the service is up ends it with 0; the kernel would ignore it for a container's first process."""
    url = tmp_path / "url"
    os.mkfifo(url)
    settings = {"BATCHYIELD_JOURNAL_URL_FILE": str(url)}
    command = [sys.executable, "-m", "api", "--port", "0", "--workers", workers]
    with subprocess.Popen(command, cwd=ROOT, env=environment(checkout, **settings), stderr=subprocess.PIPE) as process:
        with url.open("w"):  # opens when the service reads it, which is before it listens
            process.terminate()
            assert process.wait(START_SECONDS) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_changed_model(tmp_path, workers):
    """A model with other bytes than pinned stops the start; the error names both hashes."""
    root = make_checkout(tmp_path)
    was = re.search(r"model\.onnx\n.*\n +md5: (\w+)", (root / "dvc.lock").read_text())[1]
    (root / "data/model/model.onnx").write_bytes(linear_onnx(0.4))
    port = free_port()
    code, errors = refused(root, "--port", str(port), "--workers", workers)
    assert code == 2
    assert re.fullmatch(
        rf"batchyield: \S+model\.onnx: is not the pinned file: expected md5 {was}, found [0-9a-f]{{32}}\n"
        r"  run `dvc pull` or `dvc repro`, then start again\n",
        errors,
    ), errors


def test_golden_mismatch(tmp_path):
    """A model that does not reproduce its golden rows stops the start."""
    root = make_checkout(tmp_path)
    (root / "data/model/model.onnx").write_bytes(linear_onnx(0.4))
    pin(root)
    code, errors = refused(root)
    assert code == 2
    assert re.search(
        r"golden\.json: golden rows are not predicted as recorded: row \d+ \(batch \d+\) differs by 0\.1, more than",
        errors,
    )
    assert "Traceback" not in errors


def test_no_port_with_bad_model(tmp_path):
    """With a bad model the service does not open its port."""
    root = make_checkout(tmp_path)
    (root / "data/model/golden.json").write_text("{}")
    port = free_port()
    command = [sys.executable, "-m", "api", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(root), stderr=subprocess.DEVNULL)
    while process.poll() is None:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        time.sleep(0.01)
    assert process.returncode == 2


def test_port_in_use(service, checkout):
    """A port in use stops the start."""
    code, errors = refused(checkout, "--port", str(service.port))
    assert code == 2
    assert errors == (
        f"batchyield: cannot listen on 127.0.0.1 port {service.port}: Address already in use\n"
        "  stop the program that uses it, or choose another with --port\n"
    )


def test_invalid_host(checkout):
    """A host that cannot be resolved stops the start."""
    code, errors = refused(checkout, "--host", "no-such-host.invalid", "--port", "0")
    assert code == 2
    assert "there is no address no-such-host.invalid" in errors


@pytest.mark.parametrize("host", [EVERYWHERE, "::"])
def test_public_host_needs_key(checkout, host):
    """Listening beyond loopback needs an API key."""
    code, errors = refused(checkout, "--host", host, "--port", "0")
    assert code == 2
    assert "no key is configured" in errors
    assert "BATCHYIELD_API_KEYS_FILE" in errors


def test_public_host_with_key(checkout):
    """With an API key the service listens beyond loopback."""
    with Running(checkout, "--host", EVERYWHERE, BATCHYIELD_API_KEY=KEY) as running:
        assert running.post("/v1/predictions", json=INPUTS).status_code == 401
        headers = {"authorization": f"Bearer {KEY}"}
        assert running.post("/v1/predictions", json=INPUTS, headers=headers).status_code == 200
    assert KEY not in running.output + running.errors


def test_invalid_setting(checkout):
    """An invalid setting stops the start by its name."""
    code, errors = refused(checkout, BATCHYIELD_MAX_BODY_BYTES="a lot")
    assert code == 2
    assert errors.startswith("batchyield: BATCHYIELD_MAX_BODY_BYTES: ")


def test_workers(checkout):
    """Metrics add up over workers, and the workers stop in order."""
    # Without a journal: how long two processes wait for a lock of SQLite is up to the machine.
    with Running(checkout, "--workers", "2", BATCHYIELD_JOURNAL="off") as running:
        for _ in range(40):  # a connection each, so that both workers get some
            assert running.post("/v1/predictions", json=INPUTS).status_code == 200
        for _ in range(5):
            text = running.get("/metrics").text
            assert 'batchyield_predictions_total{format="json"} 80.0' in text
            assert re.search(r'^batchyield_model_info\{[^}]*md5="[0-9a-f]{32}"[^}]*\} 1\.0$', text, re.MULTILINE)
    assert running.process.returncode == 0
    assert running.errors == ""


def test_metrics_directory(checkout, tmp_path):
    """The metrics directory is made, and emptied at the start, for one worker too."""
    for workers in "21":
        with Running(checkout, "--workers", workers, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics")) as running:
            running.post("/v1/predictions", json=INPUTS)
            assert 'batchyield_predictions_total{format="json"} 2.0' in running.get("/metrics").text


def test_imports():
    """The service imports no training library."""
    code = "import sys, api.app, api.server; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(ROOT), capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())
    assert {"api", "batchyield", "onnxruntime"} <= loaded
    assert not loaded & {
        "joblib",
        "cloudpickle",
        "skops",
        "pandas",
        "pyarrow",
        "sklearn",
        "scipy",
        "dvc",
        "hydra",
        "onnx",
    }


def test_source_without_pickle():
    """No module that the service imports from this project mentions pickle."""
    ours = "[m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] in ('api', 'batchyield')]"
    code = f"import sys, api.server, api.app; print(*{ours})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(ROOT), capture_output=True, text=True, timeout=120)
    files = done.stdout.split()
    assert len(files) > 15
    for file in files:
        assert not re.search(r"\b(?:pickle|joblib|marshal|shelve)\b", Path(file).read_text()), file


WITHOUT_PICKLE = """
import sys

def refuse(*_):
    print("something was unpickled", file=sys.stderr, flush=True)
    raise RuntimeError("something was unpickled")

import pickle, _pickle  # which multiprocessing and others import; what counts is that nothing is loaded by it
for module in (pickle, _pickle):
    module.load = module.loads = module.Unpickler = refuse
sys.addaudithook(lambda event, _: refuse() if event == "pickle.find_class" else None)
from api.__main__ import main
sys.exit(main(["--port", sys.argv[1]]))
"""


def test_no_unpickling(checkout):
    """The service unpickles nothing between start and end."""
    with Running(checkout, code=WITHOUT_PICKLE, BATCHYIELD_INLINE_BODY_BYTES="100") as running:
        for path in ("/v1/predictions", "/v1/predictions?explain=true"):
            assert running.post(path, json=INPUTS).status_code == 200
        csv = {"content-type": "text/csv"}
        assert running.post("/v1/predictions/csv", content=sheet([BATCH]), headers=csv).status_code == 200
        for path in ("/v1/model", "/metrics", "/schema", "/"):
            assert running.get(path).status_code == 200
        for pickled in (b"cos\nsystem\n(S'true'\ntR.", b"\x80\x04."):
            assert running.post("/v1/predictions/csv", content=pickled, headers=csv).status_code == 422
    assert running.errors == ""


def test_unpickling_guard():
    """The guard of `test_no_unpickling` raises if something is unpickled."""
    code = (
        WITHOUT_PICKLE.partition("from api")[0] + "import io; pickle._Unpickler(io.BytesIO(b'cos\\nsystem\\n.')).load()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "something was unpickled" in done.stderr


UNFINISHED = (
    b"POST /v1/predictions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx-request-id: its-last\r\n"
    b"content-length: 1000000\r\nexpect: 100-continue\r\n\r\n"
)


def test_killed_worker(checkout):
    """A killed worker is replaced, its counts are kept, and the log names the signal and the requests it had."""
    with Running(checkout, "--workers", "2", BATCHYIELD_JOURNAL="off") as running:
        for _ in range(20):
            assert running.post("/v1/predictions", json=INPUTS).status_code == 200
        first, other = workers_of(running)
        os.kill(other, signal.SIGSTOP)  # so that the first gets the request
        with socket.create_connection(("127.0.0.1", running.port), timeout=120) as unfinished:
            unfinished.sendall(UNFINISHED)
            assert unfinished.recv(4096).startswith(b"HTTP/1.1 100 ")
            killed = time.time()
            os.kill(first, signal.SIGKILL)
            os.kill(other, signal.SIGCONT)
        deadline = time.monotonic() + 120
        while len({*workers_of(running)} - {first}) < 2 or first in workers_of(running):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert other in workers_of(running)
        assert running.post("/v1/predictions", json=INPUTS).status_code == 200
        loaded = re.compile(r"^batchyield_model_loaded_timestamp_seconds (\S+)", re.MULTILINE)
        while float(loaded.search(metrics := running.get("/metrics").text)[1]) < killed:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert 'batchyield_predictions_total{format="json"} 42.0' in metrics
    death = f"worker {first} died: ended by SIGKILL while it processed the large requests its-last"
    assert death in running.output


def test_model_changed_after_start(tmp_path):
    """A replacement worker that finds another model stops the service."""
    root = make_checkout(tmp_path)
    running = Running(root, "--workers", "2")
    running.__enter__()
    try:
        (root / "data/model/model.onnx").write_bytes(linear_onnx(0.4))
        os.kill(workers_of(running)[0], signal.SIGKILL)
        _, errors = running.process.communicate(timeout=120)
    finally:
        running.process.kill()
    assert running.process.returncode == 2
    assert re.search(r"model\.onnx: is not the pinned file: expected md5 \w+, found \w+\n", errors)
    assert "Traceback" not in errors
