"""The raw data: bring what is pinned, and nothing else; or pin anew what stands in the bucket."""

import contextlib
from pathlib import Path

import msgspec

from batchyield.errors import SetupError
from batchyield.files import md5, write_atomic
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
    pinned = (root / PIN).read_bytes()
    with contextlib.suppress(SetupError):  # a fresh storage has no copy yet
        dvc("pull", str(PIN), cwd=root, quiet=True)
        return _checked(root, pinned, "from the DVC storage")
    dvc("update", str(PIN), cwd=root, quiet=True)
    if (root / PIN).read_bytes() != pinned:
        write_atomic(root / PIN, pinned)
        (root / DATA).unlink(missing_ok=True)
        raise SetupError(
            f"the source's {KEY} is no longer the object that {PIN} pins, and the DVC storage has no copy of that one",
            f"`dvc update {PIN}` pins what is there now; or ask whoever last ran `dvc repro` here to `dvc push`",
        )
    return _checked(root, pinned, "from the source bucket")


def pinned_md5(pin: bytes) -> str:
    """The md5 that the text of a `.dvc` file pins."""
    md5: str = msgspec.yaml.decode(pin)["outs"][0]["md5"]
    return md5


def _checked(root: Path, pin: bytes, said: str) -> str:
    expected, found = pinned_md5(pin), md5(root / DATA)
    if found != expected:
        raise SetupError(f"{DATA} has md5 {found}, and {PIN} pins {expected}", f"remove {DATA} and try again")
    return said
