"""The reproduction matrix: rebuilds dvc.lock under conditions that could change last bits.

Each row is one `batchyield pin verify` of the commit: a clone, the raw data alone, every stage forced. Some 20 s each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from batchyield.versioning.storage import remotes
from batchyield.versioning.storage.demo_remote import seed_bucket

WITHOUT_AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4"
WITHOUT_AVX2 = f"AVX2 FMA3 X86_V3 {WITHOUT_AVX512}"


class Condition(NamedTuple):
    """What is another than usual while everything is rebuilt."""

    name: str
    environment: Mapping[str, str] = MappingProxyType({})
    umask: int = 0o022
    folder: str = ""


def conditions() -> Iterator[Condition]:
    """Every row of the matrix."""
    yield Condition("as it is")
    for threads in ("1", "2", "4"):
        yield Condition(f"{threads} threads", {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads})
    for kernel in ("Prescott", "Haswell", "SkylakeX"):
        yield Condition(f"OPENBLAS_CORETYPE={kernel}", {"OPENBLAS_CORETYPE": kernel})
    yield Condition("NumPy without AVX-512", {"NPY_DISABLE_CPU_FEATURES": WITHOUT_AVX512})
    yield Condition("NumPy without AVX2 and AVX-512", {"NPY_DISABLE_CPU_FEATURES": WITHOUT_AVX2})
    yield Condition("C library without AVX2 and FMA", {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"})
    yield Condition("another hash seed", {"PYTHONHASHSEED": "4242"})
    yield Condition("another locale and time zone", {"LC_ALL": "POSIX", "TZ": "Asia/Shanghai"})
    yield Condition("umask 077, a folder with spaces", {}, 0o077, "a folder with spaces, and ü")


def rebuild(condition: Condition, root: Path) -> tuple[str, float]:
    """Verifies the commit under a condition; returns what came out and the seconds it took."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / condition.folder
        scratch.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "batchyield.cli", "pin", "verify", "--json"],
            cwd=root,
            env=os.environ | {"TMPDIR": str(scratch)} | condition.environment,
            umask=condition.umask,
            capture_output=True,
            encoding="utf-8",
        )
    seconds = time.monotonic() - begun
    if done.returncode == 2:
        return f"unknown: {done.stderr.strip().splitlines()[-2]}", seconds
    findings = json.loads(done.stdout)["findings"]
    others = [f"{finding['path']}: {finding['distance']}" for finding in findings if finding["verdict"] != "same"]
    return "; ".join(others) or f"same ({len(findings)} of {len(findings)})", seconds


def main() -> int:
    """Prints the matrix as Markdown; exit code 1 where a row is not the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    options = parser.parse_args()
    root = Path(__file__).parents[1]
    print("| condition | outputs | seconds |\n|---|---|---|")
    outcomes = []
    with remotes.started(root) as server:
        if server:
            seed_bucket(server)
        for condition in conditions():
            if options.only in condition.name:
                outcome, seconds = rebuild(condition, root)
                outcomes.append(outcome)
                print(f"| {condition.name} | {outcome} | {seconds:.0f} |", flush=True)
    return 0 if outcomes and all(outcome.startswith("same") for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
