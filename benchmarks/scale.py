"""Rows per second and memory of `batchyield model score` over one file: CSV and Parquet, one process and workers.

    python benchmarks/scale.py
    python benchmarks/scale.py --sizes 10000,100000,1000000,10000000 --plot growth.svg

Each row of the table is the command as a user runs it, from its start to its end: opening the model and starting the
workers count. The baseline is the row path, which runs where pyarrow is not installed. The runs take turns, and the
best of each counts: on a busy machine compare `rows/s of CPU`. All outputs must be the same bytes. Memory is the
maximum of the command, and that of its largest worker, sampled ten times a second. With `--sizes`, files of these sizes
are scored in one process instead, and the time must not grow faster than the number of batches.
"""

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow as pa
import pyarrow.parquet

from batchyield.plant.batch import READING_NAMES
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.simulator import simulate
from benchmarks import training_scale

DRAWN = 50_000
"""So many batches are simulated, and written again under other names as often as it takes."""
MIB = 2**20
CODE = "import sys; {}from batchyield.cli.__main__ import main; sys.exit(main())"
WITHOUT_ARROW = "sys.modules['pyarrow'] = None; "


class Run(NamedTuple):
    """One way to score the file: seconds of wall and CPU time, md5 of the output, MiB of memory."""

    seconds: float
    cpu: float
    md5: str
    client: int
    worker: int


def write_history(path: Path, rows: int) -> None:
    """Write `rows` batches of the sample plant, each with a name of its own, as CSV."""
    header, *lines = simulate(min(rows, DRAWN), seed=1).csv().splitlines(keepends=True)
    with path.open("wb") as file:
        file.write(header)
        for number in range(rows):
            file.write(b"%d_" % number + lines[number % len(lines)])


def write_parquet(source: Path, path: Path) -> None:
    """Write the batches of such a CSV as Parquet: numbers as float64, clocks and ranges as text."""
    with source.open("rb") as file:
        header, drawn = file.readline(), [line for _, line in zip(range(DRAWN), file, strict=False)]
        names = [line.split(b",", 1)[0].decode() for line in (*drawn, *file)]
    batches = read_sheet(header + b"".join(drawn)).batches
    columns = {name: [getattr(batch, name) for batch in batches] for name in READING_NAMES}
    table = pa.table(columns)
    with pyarrow.parquet.ParquetWriter(path, table.schema.insert(0, pa.field("id", pa.string()))) as writer:
        for start in range(0, len(names), len(batches)):
            ids = pa.array(names[start : start + len(batches)])
            writer.write_table(table.slice(0, len(ids)).add_column(0, "id", ids))


def run(file: Path, where: list[str], out: Path, code: str = "") -> Run:
    """Score the file."""
    options = ["model", "score", str(file), *where, "--out", str(out), "--quiet"]
    command = [sys.executable, "-c", CODE.format(code), *options]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    me, client, worker = psutil.Process(process.pid), 0, 0
    while True:
        found, status, used = os.wait4(process.pid, os.WNOHANG)
        if found:
            break
        with contextlib.suppress(psutil.NoSuchProcess):
            client = max(client, me.memory_info().rss)
            worker = max([worker, *(child.memory_info().rss for child in me.children(recursive=True))])
        time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    md5 = hashlib.md5(out.read_bytes(), usedforsecurity=False).hexdigest()
    cpu = used.ru_utime + used.ru_stime
    return Run(time.monotonic() - begun, cpu, md5, client // MIB, worker // MIB)


def grow(sizes: list[int], folder: Path) -> list[training_scale.Run]:
    """Score files of growing size in one process; each is removed after its runs."""
    text, table, out = folder / "history.csv", folder / "history.parquet", folder / "scored.csv"
    runs = []
    for rows in sizes:
        write_history(text, rows)
        write_parquet(text, table)
        for name, file in (("CSV", text), ("Parquet", table)):
            made = run(file, ["--local"], out)
            print(f"{name:<10} {rows:>11,}  {made.cpu:8.1f} s CPU  {made.client:6,} MiB", file=sys.stderr)
            runs.append(training_scale.Run(name, rows, made.cpu, made.seconds, made.client))
    return runs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", default="1,2,4", help="processes of the runs over Dask, or none (%(default)s)")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--sizes", help="numbers of batches, separated by commas, to see how time and memory grow")
    parser.add_argument("--plot", type=Path, help="with --sizes, write the seconds as SVG")
    parser.add_argument("--keep", type=Path, help="folder of the files: made if they are missing, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.sizes:
            grown = grow([int(rows) for rows in options.sizes.split(",")], Path(scratch))
            print(training_scale.table(grown))
            if options.plot:
                options.plot.write_text(training_scale.plot(grown, "CPU seconds of the command"), encoding="utf-8")
            if max(training_scale.exponents(grown).values()) > training_scale.MOST_GROWTH:
                sys.exit("the time grows faster than the number of batches")
            return
        folder = options.keep or Path(scratch)
        text, table, out = folder / "history.csv", folder / "history.parquet", Path(scratch, "scored.csv")
        if not text.exists():
            write_history(text, options.rows)
        if not table.exists():
            write_parquet(text, table)
        with text.open("rb") as file:
            rows = sum(1 for _ in file) - 1
        sizes = f"{text.stat().st_size / MIB:,.0f} MiB CSV, {table.stat().st_size / MIB:,.0f} MiB Parquet"
        print(f"{rows:,} batches, {sizes}, {os.cpu_count()} cores\n")
        ways = {
            "CSV, row by row": (text, ["--local"], WITHOUT_ARROW),
            "CSV": (text, ["--local"], ""),
            "Parquet": (table, ["--local"], ""),
        }
        for workers in filter(None, options.workers.split(",")):
            ways[f"CSV, {workers} worker{'s' * (workers != '1')}"] = (text, ["--workers", workers], "")
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(options.turns):
            for name, (file, where, code) in ways.items():
                runs[name].append(run(file, where, out, code))
        columns = ("run", "seconds", "rows/s", "ratio", "CPU s", "rows/s of CPU", "ratio", "client, MiB", "worker, MiB")
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
        first = next(iter(runs.values()))
        base, base_cpu = min(made.seconds for made in first), min(made.cpu for made in first)
        for name, made in runs.items():
            assert {each.md5 for each in made} == {first[0].md5}, "the bytes differ"
            seconds, cpu = min(each.seconds for each in made), min(each.cpu for each in made)
            wall = f"{seconds:.1f} | {rows / seconds:,.0f} | {base / seconds:.2f}"
            used = f"{cpu:.1f} | {rows / cpu:,.0f} | {base_cpu / cpu:.2f}"
            memory = f"{max(each.client for each in made)} | {max(each.worker for each in made) or ''}"
            print(f"| {name} | {wall} | {used} | {memory} |", flush=True)
        print(f"\nall the same bytes: md5 {first[0].md5}")


if __name__ == "__main__":
    main()
