"""What could change the last bit of a sum, pinned in one place, before NumPy loads."""

import os

PINNED = {
    # Sums are taken by one thread, in one order.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # The BLAS kernel that every x86-64 machine has; newer ones fuse multiply and add, and round once less.
    "OPENBLAS_CORETYPE": "Prescott",
}


def pin() -> None:
    """Pins the environment of this process and its children, whatever the user's own environment says."""
    os.environ.update(PINNED)
