"""The pipeline, one module per DVC stage: thin shells over the library.

Importing this package pins what could change the bytes, before NumPy loads: sums are taken by one thread, and BLAS and
NumPy use the kernels every x86-64 machine has, so that a rebuild elsewhere adds the same numbers in the same order.
"""

import os
import sys
from collections.abc import Callable

PINNED_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Prescott",
}

os.environ.update(PINNED_ENVIRONMENT)


def run(stage: Callable[[], None]) -> None:
    """Runs a stage as a command: a refusal is one readable message and an exit code, never a traceback."""
    from batchyield.errors import BatchyieldError

    try:
        stage()
    except BatchyieldError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error
