"""Seconds and memory of every stage of the pipeline on growing files of the simulated plant.

Each stage is the command of `dvc.yaml`, run as DVC does, in a scratch folder. Seconds are CPU time of user and system,
because they depend little on what else the machine does; memory is the peak of resident memory of the process.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
KIB = 2**10

MOST_GROWTH, MOST_SECONDS, MOST_MIB = 1.15, 600.0, 6144
"""Limits of `--check`: power of the batches by which CPU time grows, CPU seconds of all stages, peak of one."""


class Run(NamedTuple):
    """One stage on one file."""

    stage: str
    rows: int
    cpu: float
    wall: float
    mib: int


def run(stage: str, rows: int, command: list[str], folder: Path) -> Run:
    """Run a command in a folder; return its CPU seconds, duration and peak memory."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    environment.pop("DVC_STAGE", None)
    begun = time.monotonic()
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{stage} on {rows} batches ended with {process.returncode}")
    made = Run(stage, rows, usage.ru_utime + usage.ru_stime, time.monotonic() - begun, usage.ru_maxrss * KIB // MIB)
    print(f"{stage:<10} {rows:>9,}  {made.cpu:8.1f} s CPU  {made.wall:8.1f} s  {made.mib:6,} MiB", file=sys.stderr)
    return made


def measure(rows: int) -> list[Run]:
    """Simulate so many batches and run every stage on them."""
    stages = msgspec.yaml.decode((ROOT / "dvc.yaml").read_bytes())["stages"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("dvc.yaml", "params.yaml", "src", "requirements"):
            (folder / name).symlink_to(ROOT / name)
        raw = folder / "data/raw/batches.csv"
        raw.parent.mkdir(parents=True)
        simulate = [sys.executable, "-m", "batchyield.cli", "data", "simulate", "--rows", str(rows), "--out", str(raw)]
        commands = {"simulate": simulate} | {
            name: [sys.executable, "-m", f"batchyield.pipeline.{name}"] for name in stages
        }
        return [run(name, rows, command, folder) for name, command in commands.items()]


def exponents(runs: list[Run]) -> dict[str, float]:
    """For each stage the power of the rows by which its CPU time grows between the two largest files."""
    by_stage: dict[str, list[Run]] = {}
    for made in runs:
        by_stage.setdefault(made.stage, []).append(made)
    return {
        stage: math.log(last.cpu / before.cpu) / math.log(last.rows / before.rows)
        for stage, (*_, before, last) in by_stage.items()
    }


def table(runs: list[Run]) -> str:
    """The runs as Markdown: a row per stage, seconds and memory of each file, and the growth."""
    sizes = sorted({made.rows for made in runs})
    found = {(made.stage, made.rows): made for made in runs}
    powers = exponents(runs) if len(sizes) > 1 else {}
    head = ["stage", *(f"{rows:,}: CPU s" for rows in sizes), *(f"{rows:,}: MiB" for rows in sizes), "growth"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for stage in dict.fromkeys(made.stage for made in runs):
        each = [found[stage, rows] for rows in sizes]
        cells = [*(f"{made.cpu:.1f}" for made in each), *(f"{made.mib:,}" for made in each)]
        lines.append(f"| {stage} | {' | '.join(cells)} | {powers.get(stage, math.nan):.2f} |")
    totals = [sum(made.cpu for made in runs if made.rows == rows) for rows in sizes]
    peaks = [max(made.mib for made in runs if made.rows == rows) for rows in sizes]
    lines.append(f"| all | {' | '.join([f'{cpu:.1f}' for cpu in totals] + [f'{mib:,}' for mib in peaks])} | |")
    return "\n".join(lines)


def plot(runs: list[Run], title: str = "CPU seconds of a stage") -> str:
    """CPU seconds of each stage over the number of batches, both logarithmic, as SVG."""
    width, height, margin = 560, 320, 60
    rows, cpu = [made.rows for made in runs], [made.cpu for made in runs]
    low, high = math.floor(math.log10(min(cpu))), math.ceil(math.log10(max(cpu)))
    first, last = math.log10(min(rows)), math.log10(max(rows))

    def at(batches: float, seconds: float) -> tuple[float, float]:
        x = margin + (math.log10(batches) - first) / (last - first) * (width - 3 * margin)
        return round(x, 1), round(height - 40 - (math.log10(seconds) - low) / (high - low) * (height - 60), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="12">',
    ]
    parts.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
    for power in range(low, high + 1):
        x, y = at(min(rows), 10**power)
        parts.append(f'<path d="M{x} {y}H{width - 2 * margin}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>')
    for batches in sorted(set(rows)):
        x, y = at(batches, 10**low)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{batches:,}</text>')
    parts.append(f'<text x="{margin}" y="14">{title}</text>')
    parts.append(f'<text x="{width / 2 - margin / 2}" y="{height - 6}" text-anchor="middle">batches</text>')
    colours = ("#777", "#1b6ca8", "#5aa9e6", "#2a9d8f", "#e07a1f", "#b02a37")
    for colour, stage in zip(colours, dict.fromkeys(made.stage for made in runs), strict=False):
        points = [at(made.rows, made.cpu) for made in runs if made.stage == stage]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = points[-1]
        parts.append(f'<text x="{x + 8}" y="{y + 4}" fill="{colour}">{stage}</text>')
    return "\n".join([*parts, "</svg>", ""])


def check(runs: list[Run]) -> list[str]:
    """What is not linear in the number of batches, or beyond a limit."""
    problems = [f"{s} grows by the power {p:.2f} of the batches" for s, p in exponents(runs).items() if p > MOST_GROWTH]
    problems += [f"{made.stage} takes {made.mib:,} MiB" for made in runs if made.mib > MOST_MIB]
    for rows in {made.rows for made in runs}:
        if (cpu := sum(made.cpu for made in runs if made.rows == rows)) > MOST_SECONDS:
            problems.append(f"{rows:,} batches take {cpu:.0f} s")
    return problems


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="10000,100000,1000000", help="sizes of the files (%(default)s)")
    parser.add_argument("--check", action="store_true", help="fail if a stage is not linear or beyond the limits")
    parser.add_argument("--plot", type=Path, help="write the seconds as SVG")
    parser.add_argument("--results", type=Path, help="JSON of earlier runs, which are not repeated; new ones are added")
    options = parser.parse_args()
    kept = options.results.read_bytes() if options.results and options.results.exists() else b"[]"
    runs = msgspec.json.decode(kept, type=list[Run])
    for rows in map(int, options.rows.split(",")):
        if rows not in {made.rows for made in runs}:
            runs += measure(rows)
            if options.results:
                options.results.write_bytes(msgspec.json.encode(runs))
    runs.sort(key=lambda made: made.rows)
    print(table(runs))
    if options.plot:
        options.plot.write_text(plot(runs), encoding="utf-8")
    if options.check and (problems := check(runs)):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
