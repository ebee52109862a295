"""The fitting step on emulated processors: does another CPU model write the same bytes of `data/model/`?

Debian's qemu-user runs this very Python, NumPy, OpenBLAS and scikit-learn instruction by instruction on the named CPU
model, so that they choose the code they would choose there. Every choice of model is fitted natively first. A cell that
does not run is reported as such. Some 30 s per cell; see docs/reproduction.md.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reproduction import WITHOUT_AVX2

from batchyield.errors import BatchyieldError, CommandError
from batchyield.versioning import git, hydra_params
from batchyield.versioning.provenance.output_diff import OutputVerdict, diff_output
from batchyield.versioning.storage import raw_data, remotes
from batchyield.versioning.storage.demo_remote import seed_bucket

ROOT = Path(__file__).parents[1]
EMULATOR = "qemu-x86_64"
CPUS = ("Conroe", "Nehalem", "SandyBridge", "Opteron_G5", "Haswell", "Skylake-Client", "EPYC")
"""From SSSE3 alone over AVX to AVX2 with FMA, of both makers; this emulator has no AVX-512."""

MODELS = tuple(sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml")))
BEFORE = ("validate", "split", "featurize")
MODEL = Path("data/model")
SECONDS = 600
PLAIN_NUMPY = {"NPY_DISABLE_CPU_FEATURES": WITHOUT_AVX2}
"""NumPy's AVX2 sort loads under a mask, and QEMU 7.2 also touches what the mask leaves out: past the end of a page."""


class Cell(NamedTuple):
    """What one choice came to on one CPU: a word, what explains it, and the seconds it took."""

    word: str
    why: str
    seconds: float


def stage(name: str, root: Path, *emulator: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a stage as dvc.yaml does, on an emulated CPU where `emulator` says how."""
    return subprocess.run(
        [*emulator, sys.executable, "-m", f"batchyield.pipeline.{name}"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": "src"} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )


def native(name: str, root: Path) -> None:
    """Runs a stage on this machine.

    Raises:
        CommandError: it failed.
    """
    done = stage(name, root)
    if done.returncode:
        raise CommandError(f"the stage {name} failed: {done.stderr.strip()}", "correct it, then `dvc repro`")


@contextlib.contextmanager
def prepared() -> Iterator[Path]:
    """A copy of the working tree with the raw data and what is before the fitting, the same for every model."""
    with tempfile.TemporaryDirectory(prefix="batchyield-emulated-") as folder:
        root = git.copy_working_tree(ROOT, Path(folder) / "checkout")
        with remotes.started(ROOT) as server:
            if server:
                seed_bucket(server)
            remotes.copy_remotes(ROOT, root)
            raw_data.fetch(root)
        for name in BEFORE:
            native(name, root)
        yield root


def fitted(root: Path) -> dict[str, bytes]:
    """The files of `data/model/` by name."""
    return {path.name: path.read_bytes() for path in sorted((root / MODEL).iterdir()) if not path.name.startswith(".")}


def emulate(cpu: str, root: Path, expected: dict[str, bytes]) -> Cell:
    """Fit the choice of params.yaml on an emulated CPU and compare the files with the native ones."""
    for name in expected:
        (root / MODEL / name).unlink(missing_ok=True)
    begun, how = time.monotonic(), ""
    try:
        done = stage("train", root, EMULATOR, "-cpu", cpu)
        if done.returncode == -signal.SIGSEGV:
            done, how = stage("train", root, EMULATOR, "-cpu", cpu, **PLAIN_NUMPY), " without NumPy's AVX2"
    except subprocess.TimeoutExpired:
        return Cell("did not run", f"not ready after {SECONDS} s", SECONDS)
    seconds = time.monotonic() - begun
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "warning: TCG" not in line]
        return Cell("did not run", lines[-1] if lines else f"exit code {done.returncode}", seconds)
    found = fitted(root)
    measured = {name: diff_output(name, data, found[name]) for name, data in expected.items()}
    others = {name: far for name, far in measured.items() if far.verdict is not OutputVerdict.SAME}
    if not others:
        return Cell(f"same{how}", "", seconds)
    worst = (
        OutputVerdict.DIFFERENT
        if OutputVerdict.DIFFERENT in {far.verdict for far in others.values()}
        else OutputVerdict.CLOSE
    )
    why = "; ".join(f"{name} {far.verdict}: {far.description}" for name, far in others.items())
    return Cell(f"{worst}{how}", why, seconds)


def table(models: list[str], cpus: list[str], root: Path) -> dict[tuple[str, str], Cell]:
    """Print the table as it grows, a row a choice of model, and return its cells by model and CPU."""
    print(f"| model | native | {' | '.join(cpus)} |\n|---|---|{'---|' * len(cpus)}")
    cells = {}
    for model in models:
        hydra_params.write_params(root, [f"model={model}"])
        begun = time.monotonic()
        native("train", root)
        print(f"| {model} | {time.monotonic() - begun:.0f} s |", end="", flush=True)
        expected = fitted(root)
        for cpu in cpus:
            cell = cells[model, cpu] = emulate(cpu, root, expected)
            print(f" {cell.word}, {cell.seconds:.0f} s |", end="", flush=True)
        print()
    return cells


def main() -> int:
    """Print table and reasons as Markdown; exit code 1: other bytes came out; 2: the check could not run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="choices in conf/model/ (all)")
    parser.add_argument("--cpus", nargs="+", default=CPUS, help=f"models of `{EMULATOR} -cpu help` ({' '.join(CPUS)})")
    options = parser.parse_args()
    if not shutil.which(EMULATOR):
        print(f"{EMULATOR} is not installed\n  run `apt-get install qemu-user`", file=sys.stderr)
        return 2
    try:
        with prepared() as root:
            cells = table(options.models, options.cpus, root)
    except BatchyieldError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("", *(f"- {model} on {cpu}, {c.word}: {c.why}" for (model, cpu), c in cells.items() if c.why), sep="\n")
    ran = [cell.word for cell in cells.values() if cell.word != "did not run"]
    if not ran:
        return 2
    return 0 if all(word.startswith("same") for word in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
