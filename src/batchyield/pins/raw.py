"""The raw data: bring what is pinned, and nothing else; or pin anew what stands in the bucket."""

import contextlib
from pathlib import Path

from batchyield.errors import SetupError
from batchyield.files import write_atomic
from batchyield.pins.dvc import dvc

DATA = Path("data/raw/batches.csv")
PIN = Path("data/raw/batches.csv.dvc")
KEY = "raw/batches.csv"


def fetch(root: Path = Path()) -> str:
    """Brings the pinned raw data into the workspace and says where from.

    The copy in our own storage is asked first: the source object may have moved on since it was pinned.

    Raises:
        SetupError: neither our storage nor the source has the pinned bytes; pin and workspace stay as they were.
    """
    with contextlib.suppress(SetupError):  # a fresh storage has no copy yet
        dvc("pull", str(PIN), cwd=root, quiet=True)
        return "from the DVC storage"
    pinned = (root / PIN).read_bytes()
    dvc("update", str(PIN), cwd=root, quiet=True)
    if (root / PIN).read_bytes() != pinned:
        write_atomic(root / PIN, pinned)
        (root / DATA).unlink(missing_ok=True)
        raise SetupError(
            f"the source's {KEY} is no longer the object that {PIN} pins, and the DVC storage has no copy of that one",
            f"`dvc update {PIN}` pins what is there now; or ask whoever last ran `dvc repro` here to `dvc push`",
        )
    return "from the source bucket"
