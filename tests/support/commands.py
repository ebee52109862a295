"""Commands run as a user runs them, and the overrides that make a rebuild quick."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

MARK = "TESTS_OF"
"""Environment variable that all processes of one pytest run share; watchdog.py finds them by it."""

EVALUATED = [
    "evaluation=quick",
    "evaluation.folds=2",
    "evaluation.repeats=2",
    "evaluation.bootstrap=50",
    "intervals.folds=2",
]
QUICK = [*EVALUATED, "model=ridge"]
"""What makes a rebuild take seconds."""


def make_setup_current(root):
    """Makes `.made` count as the environment of the Makefile (`VENV=.made`), so that the suite's own is used."""
    (root / ".made").mkdir()
    (root / ".made/.made-from-locks").touch()
    os.utime(root / ".made/.made-from-locks", (2**32,) * 2)


def run(*command, cwd, check=True, **environment):
    """Runs a command as a user would in an activated environment; returns the completed process, output as text."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, timeout=540
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def end(process):
    """End a process: by SIGKILL if it does not end within 20 s of SIGTERM, as a worker of Dask sometimes does not."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
