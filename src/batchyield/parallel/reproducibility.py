"""Environment variables that make sums bit-identical on every machine; set before NumPy is imported."""

import os
from typing import Any

PINNED = {
    # One thread adds in one order.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # The BLAS kernel that every x86-64 machine has; newer ones fuse multiply and add, which rounds once less.
    "OPENBLAS_CORETYPE": "Prescott",
}


def pin() -> None:
    """Set the variables for this process and its children, overriding the user's environment."""
    os.environ.update(PINNED)


def thread_pools() -> list[dict[str, Any]]:
    """Return library, version, kernel and threads of each BLAS and OpenMP that scikit-learn loads."""
    import sklearn.ensemble  # noqa: F401 - loads all that a fit computes with
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture", "num_threads")
    return [{key: pool[key] for key in keys if key in pool} for pool in threadpool_info()]
