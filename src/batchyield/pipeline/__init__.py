"""The pipeline, one module per DVC stage: thin shells over the library.

Importing this package pins what could change the bytes before any stage loads NumPy, and takes the fingerprint of the
stage's inputs before any other of its code is read.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from batchyield.errors import BatchyieldError, SetupError
from batchyield.modelling.reproducibility import pin
from batchyield.pipeline import input_guard

pin()


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except BatchyieldError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        print(f"{error}\n  mend that, then run `dvc repro` again", file=sys.stderr)
        raise SystemExit(BatchyieldError.exit_code) from error


_NAME = f"{__name__}."
# While `-m` imports this package, only the command line tells which of its stages is meant.
_stage = next((word.removeprefix(_NAME) for word in sys.orig_argv if word.startswith(_NAME)), None)
with _answering():
    _before = input_guard.look(_stage) if _stage else None


def run(stage: Callable[[], None]) -> None:
    """Runs a stage as a command: a refusal is one readable message and an exit code, never a traceback.

    Inputs that differ from dvc.lock or changed since this package was imported are one.
    """
    with _answering():
        if _before is None:
            raise SetupError("the stage is unknown", f"run it as dvc.yaml does: python -m {_NAME}STAGE")
        if "DVC_STAGE" in os.environ:  # DVC is going to pin what this stage reads and writes
            input_guard.check_against_lock(_before)
        with input_guard.unchanged(_before):
            stage()
