"""Cost of a shadow model: latency of small requests with and without it, idle and during large CSV requests.

    python benchmarks/shadow.py [--root CHECKOUT] [--seconds 8]

Serves the checkout's pinned model in one worker, with the same model as its shadow, so that nothing but the work of the
shadow differs. One caller asks for one batch 200 times a second; in the second half another one sends sheets of 1,000
batches without a pause.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from api.openapi.examples import BATCH
from batchyield.serving.artifact import read_pins
from batchyield.serving.deployment.model_store import Deployment, ModelStore
from batchyield.serving.deployment.rollout import set_shadow
from batchyield.serving.deployment.worker_registry import live_workers
from batchyield.versioning.storage.embedded_s3 import free_port

RATE = 200


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(), help="a checkout with its model (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the four parts (%(default)g)")
    options = parser.parse_args()
    root, port = options.root.absolute(), free_port()
    pins = read_pins(root / "dvc.lock", root / "data/model")
    with tempfile.TemporaryDirectory() as folder:
        models = ModelStore(Path(folder))
        environment = os.environ | {"BATCHYIELD_LOCK": str(root / "dvc.lock"), "BATCHYIELD_MODELS": folder}
        process = subprocess.Popen([sys.executable, "-m", "api", "--port", str(port)], env=environment)
        try:
            while not live_workers(models.workers):
                time.sleep(0.1)
            deployment = models.add(root / "data/model", Deployment("same", pins, "same", "same"))
            print(f"{'shadow':<8}{'beside sheets':<15}{'p50 ms':>8}{'p99 ms':>8}{'worst':>8}{'dropped':>9}")
            for round_ in range(2):
                for sheets in (False, True):
                    for wanted in (None, deployment):
                        set_shadow(models, wanted, 20)
                        _measure(f"http://127.0.0.1:{port}", wanted is not None, sheets, options.seconds / 2)
                print(f"-- round {round_ + 1}")
        finally:
            process.terminate()
            process.wait()


def _measure(url: str, shadowed: bool, sheets: bool, seconds: float) -> None:
    stop = threading.Event()
    bulk = threading.Thread(target=_sheets, args=(url, stop))
    if sheets:
        bulk.start()
    took, due = [], time.perf_counter()
    with httpx.Client() as client:
        while len(took) < seconds * RATE:
            time.sleep(max(0.0, due - time.perf_counter()))
            begun = time.perf_counter()
            assert client.post(f"{url}/v1/predictions", json={"inputs": [BATCH]}).status_code == 200
            took.append((time.perf_counter() - begun) * 1000)
            due += 1 / RATE
        stop.set()
        if sheets:
            bulk.join()
        status = client.get(f"{url}/v1/monitoring").json()["shadow"]
    p99 = statistics.quantiles(took, n=100)[98]
    lost = status["dropped"] if status else 0
    cells = f"{'on' if shadowed else 'off':<8}{'yes' if sheets else 'no':<15}"
    print(f"{cells}{statistics.median(took):>8.2f}{p99:>8.2f}{max(took):>8.1f}{lost:>9}", flush=True)


def _sheets(url: str, stop: threading.Event) -> None:
    with httpx.Client(timeout=30) as client:
        while not stop.is_set():
            client.post(f"{url}/v1/predictions", json={"inputs": [BATCH] * 1000})


if __name__ == "__main__":
    main()
