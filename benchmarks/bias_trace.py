"""Bias update under load: answers while measured yields stream in and the service is killed, each computed again.

    python benchmarks/bias_trace.py [--answers 10000] [--kills 3] [--workers 2]

Exit code 0: the journal has every answer as it was sent, and gives the same digits again, as `batchyield pin trace`
computes them; 1: it has not, or less than half of the answers had a correction.
"""

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import UNSET

from batchyield.client import Client, Retry
from batchyield.journal.database import Database, sqlite_url
from batchyield.journal.queries import read_predictions
from batchyield.plant.batch import Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.serving.prediction import Prediction
from batchyield.serving.predictor import Predictor
from batchyield.versioning.provenance.prediction import check_prediction
from batchyield.versioning.storage.embedded_s3 import HOST, free_port

MODEL, RAW = Path("data/model/model.onnx"), Path("data/raw/batches.csv")
CALLERS = 8
ANSWERS_PER_PLACE = 20
"""Answers for each step in the plant's order: a real plant waits longer for a batch than the service for a state."""

DELAY_ANSWERS = 3 * ANSWERS_PER_PLACE
REPORT_SECONDS = 0.05


class Load:
    """Callers that predict batches in the plant's order, and a laboratory that reports yields a little later."""

    def __init__(self, url: str, count: int) -> None:
        sheet = read_sheet(RAW.read_bytes(), with_yield=True)
        self._rows = list(zip(sheet.batches, sheet.yields or (), strict=True))
        self._client = Client(url, retry=Retry(attempts=100, longest_wait=1.0))
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self.answers: dict[str, Prediction] = {}
        self._callers = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        self._laboratory = threading.Thread(target=self._report)

    def run(self) -> None:
        """Start all threads."""
        for thread in (*self._callers, self._laboratory):
            thread.start()

    @property
    def running(self) -> bool:
        """Whether an answer is still awaited."""
        return any(caller.is_alive() for caller in self._callers)

    def join(self) -> None:
        """Wait for all threads."""
        for thread in (*self._callers, self._laboratory):
            thread.join()
        self._client.close()

    def _batch(self, number: int) -> Batch:
        batch, _ = self._rows[number % len(self._rows)]
        return msgspec.structs.replace(batch, id=f"run_{number}", sequence=number / ANSWERS_PER_PLACE)

    def _call(self) -> None:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            self.answers[f"run_{number}"] = self._client.predict_one(self._batch(number))

    def _report(self) -> None:
        reported = 0
        while self.running:
            measured = [
                {"id": f"run_{number}", "yield": actual}
                for number in range(reported, max(reported, len(self.answers) - DELAY_ANSWERS))
                if (actual := self._rows[number % len(self._rows)][1]) is not None
            ]
            reported = max(reported, len(self.answers) - DELAY_ANSWERS)
            if measured:
                self._client.record_outcomes(measured)
            time.sleep(REPORT_SECONDS)


@contextmanager
def service(port: int, workers: int, journal: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A service as a process group of its own, which ends with the block."""
    settings = {"BATCHYIELD_JOURNAL": str(journal), "BATCHYIELD_ACCESS_LOG": "0", "PYTHONPATH": "src"}
    command = [sys.executable, "-m", "api", "--host", HOST, "--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def run_load(journal: Path, count: int, kills: int, workers: int) -> dict[str, Prediction]:
    """Return the answers by the batch's id; the service is killed so many times meanwhile."""
    port = free_port()
    load = Load(f"http://{HOST}:{port}", count)
    for part in itertools.count(1):
        with service(port, workers, journal) as process:
            if part == 1:
                load.run()
            while load.running and (part > kills or len(load.answers) < part * count / (kills + 1)):
                time.sleep(0.01)
            if not load.running:
                load.join()
                return load.answers
            os.killpg(process.pid, signal.SIGKILL)
            print(f"killed after {len(load.answers):,} answers", flush=True)
    raise AssertionError


def check(journal: Path, answers: dict[str, Prediction]) -> list[str]:
    """Return each answer that the journal lacks, has otherwise, or gives other digits for, and what is wrong."""
    predictor = Predictor(MODEL.read_bytes(), str(MODEL))
    database, wrong, found = Database(sqlite_url(journal), read_only=True), [], set()
    for row in read_predictions(database):
        name = str(row.batch.id)
        with database.read_transaction() as connection:
            trace = check_prediction(connection, name, row, predictor)
        wrong += [f"{name}: {difference}" for difference in trace.differences]
        if row.prediction == answers.get(name):
            found.add(name)
    database.close()
    return wrong + [f"{name}: not in the journal as answered" for name in answers.keys() - found]


def main() -> int:
    """Run the load, check the answers, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", type=int, default=10_000, help="predictions to check (%(default)s)")
    parser.add_argument("--kills", type=int, default=3, help="of the service, by SIGKILL, meanwhile (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="of the service (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.sqlite"
        answers = run_load(journal, options.answers, options.kills, options.workers)
        wrong = check(journal, answers)
    digests = {made.bias.digest for made in answers.values() if made.bias is not UNSET}
    corrected = sum(made.bias is not UNSET for made in answers.values())
    print(f"{len(answers):,} answers, {corrected:,} corrected by {len(digests)} states; {len(wrong)} differ")
    print("\n".join(wrong[:20]))
    return 0 if not wrong and corrected * 2 >= len(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
