"""Seconds of the `evaluate` stage and of a search with each engine, in turns, and whether all write the same bytes.

Each run is the command as a user runs it, from its start to its end: imports and the start of workers count. CPU
seconds are those of the command and all its processes. The median of the rounds is shown; on a machine that does other
work, only CPU seconds and ratios of runs in the same turn say something.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from batchyield.files import md5_of
from batchyield.parallel.params import ENGINE_VARIABLE

ROOT = Path(__file__).parents[1]
ENGINES = {
    "this process": "{kind: local}",
    "2 processes": "{kind: local, workers: 2}",
    "2 Dask workers": "{kind: dask, workers: 2}",
}
COMMANDS = {
    "evaluate": ("batchyield.pipeline.evaluate",),
    "search": ("batchyield.cli", "model", "search", "conf/search/line_trees.yaml"),
}


class Run(NamedTuple):
    """One run of a command."""

    seconds: float
    cpu: float
    md5: str


def run(root: Path, command: tuple[str, ...], engine: str) -> Run:
    """Run a command in a copy of the workspace; the study of an earlier search is removed."""
    shutil.rmtree(root / ".cache", ignore_errors=True)
    variables = os.environ | {"PYTHONPATH": "src", ENGINE_VARIABLE: engine}
    begun, before = time.monotonic(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=variables, check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} with {engine} failed:\n{done.stderr}")
    seconds, after = time.monotonic() - begun, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    written = [
        path.read_bytes() for folder in ("metrics", "plots") for path in sorted((root / "data" / folder).iterdir())
    ]
    return Run(seconds, cpu, md5_of(b"".join([*written, done.stdout.encode()])))


def main() -> None:
    """Print a table for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        for name in ("conf", "data", "requirements", "src"):
            shutil.copytree(ROOT / name, root / name)
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(ROOT / name, root)
        for title, command in COMMANDS.items():
            turns = [{name: run(root, command, engine) for name, engine in ENGINES.items()} for _ in range(rounds)]
            same = len({made.md5 for turn in turns for made in turn.values()}) == 1
            print(f"{title}: {'the same bytes' if same else 'DIFFERENT BYTES'}")
            for name in ENGINES:
                seconds, cpu, ratio = (
                    statistics.median(values)
                    for values in zip(
                        *((t[name].seconds, t[name].cpu, t["this process"].seconds / t[name].seconds) for t in turns),
                        strict=True,
                    )
                )
                print(f"  {name:15} {seconds:6.1f} s  {cpu:6.1f} s CPU  {ratio:5.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
