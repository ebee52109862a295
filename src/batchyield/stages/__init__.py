"""The pipeline, one module per DVC stage: thin shells over the library.

Importing this package pins what could change the bytes, before any stage loads NumPy.
"""

import sys
from collections.abc import Callable

from batchyield.determinism import pin

pin()


def run(stage: Callable[[], None]) -> None:
    """Runs a stage as a command: a refusal is one readable message and an exit code, never a traceback."""
    from batchyield.errors import BatchyieldError

    try:
        stage()
    except BatchyieldError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error
