"""Rows per second and memory of `batchyield model score` over one file, in one process and with more workers.

Each row of the table is the command as a user runs it, from its start to its end: opening the model and starting the
workers count. All outputs must be the same bytes. Memory is the maximum, sampled ten times a second, of the client
and of its largest worker.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from batchyield.plant.simulator import simulate

DRAWN = 50_000
"""So many batches are simulated, and written again under other names as often as it takes."""
MIB = 2**20


class Run(NamedTuple):
    """One way to score the file."""

    workers: int
    seconds: float
    md5: str
    cpu: float
    client: int
    worker: int


def write_history(path: Path, rows: int) -> None:
    """`rows` batches of the sample plant, each with a name of its own."""
    header, *lines = simulate(min(rows, DRAWN), seed=1).csv().splitlines(keepends=True)
    with path.open("wb") as file:
        file.write(header)
        for number in range(rows):
            file.write(b"%d_" % number + lines[number % len(lines)])


def run(file: Path, workers: int, out: Path) -> Run:
    """Scores the file; no workers: in one process."""
    where = ["--workers", str(workers)] if workers else ["--local"]
    command = [
        sys.executable,
        "-m",
        "batchyield.cli",
        "model",
        "score",
        str(file),
        *where,
        "--out",
        str(out),
        "--json",
        "--quiet",
    ]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        client, worker, cpu = 0, 0, 0.0
        me = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                client = max(client, me.memory_info().rss)
                cpu = sum(me.cpu_times()[:2])
                worker = max([worker, *(child.memory_info().rss for child in me.children(recursive=True))])
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.1)
        assert process.stdout is not None
        output = process.stdout.read()
    assert process.returncode == 0
    return Run(workers, time.monotonic() - begun, json.loads(output)["md5"], cpu, client // MIB, worker // MIB)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", default="0,1,2,4", help="0: one process, without Dask (%(default)s)")
    parser.add_argument("--keep", type=Path, help="the file: made if it is missing, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = options.keep or Path(scratch, "history.csv")
        if not file.exists():
            write_history(file, options.rows)
        rows = file.read_bytes().count(b"\n") - 1
        print(f"{rows:,} batches, {file.stat().st_size / MIB:,.0f} MiB, {os.cpu_count()} cores\n")
        columns = ("answered by", "seconds", "rows/s", "ratio", "client, CPU s", "client, MiB", "largest worker, MiB")
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
        runs: list[Run] = []
        for workers in map(int, options.workers.split(",")):
            runs.append(made := run(file, workers, Path(scratch, "scored.csv")))
            assert made.md5 == runs[0].md5, "the bytes differ"
            name = f"{workers} worker{'s' * (workers > 1)}" if workers else "one process"
            figures = f"{made.seconds:.1f} | {rows / made.seconds:,.0f} | {runs[0].seconds / made.seconds:.2f}"
            print(f"| {name} | {figures} | {made.cpu:.1f} | {made.client} | {made.worker or ''} |", flush=True)
        print(f"\nall the same bytes: md5 {runs[0].md5}")


if __name__ == "__main__":
    main()
