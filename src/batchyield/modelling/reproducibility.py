"""Environment variables that make sums bit-identical on every machine; set before NumPy is imported."""

import os

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
