"""The DVC pipeline: one module per stage, each a thin shell over the library.

Importing this package sets the environment for reproducible sums before any stage imports NumPy, and records the
inputs of the stage before any other of its code is read.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from batchyield.errors import BatchyieldError, ConfigError
from batchyield.parallel.reproducibility import pin
from batchyield.pipeline import input_guard

pin()

RAW = Path("data/raw")


@contextlib.contextmanager
def _errors_as_messages() -> Iterator[None]:
    """Print an expected error without a traceback and exit with its code."""
    try:
        yield
    except BatchyieldError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        print(f"{error}\n  correct this, then run `dvc repro` again", file=sys.stderr)
        raise SystemExit(BatchyieldError.exit_code) from error


_NAME = f"{__name__}."
# While `python -m` imports this package, only the command line names the stage.
_stage = next((word.removeprefix(_NAME) for word in sys.orig_argv if word.startswith(_NAME)), None)
with _errors_as_messages():
    _before = input_guard.read_inputs(_stage) if _stage else None


def raw_data() -> Path:
    """Return the raw file, or the folder of raw files, that dvc.yaml names for this stage.

    Raises:
        ConfigError: it names none, or several.
    """
    found = [path for path in _before.deps if path.parent == RAW] if _before else []
    if len(found) != 1:
        raise ConfigError(
            f"dvc.yaml names {len(found)} raw data below {RAW} for this stage", "name one: a file or a folder"
        )
    return found[0]


def run(stage: Callable[[], None]) -> None:
    """Run a stage as a command; an expected error is printed as a message and ends with exit code 2.

    In a `dvc repro`, inputs must equal dvc.lock; they must not change while the stage runs.
    """
    with _errors_as_messages():
        if _before is None:
            raise ConfigError("the stage has no name", f"run it as dvc.yaml does: python -m {_NAME}STAGE")
        if "DVC_STAGE" in os.environ:  # DVC pins the inputs and outputs of this run
            input_guard.check_against_lock(_before)
        with input_guard.require_unchanged(_before):
            stage()
