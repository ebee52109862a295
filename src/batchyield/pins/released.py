"""A release laid out for the service, which knows a folder with a lock and no registry."""

from pathlib import Path

from batchyield.files import write_atomic
from batchyield.pins.artifacts import bring
from batchyield.pins.compare import LOCK
from batchyield.pins.lookup import text_at
from batchyield.pins.registry import Release

FOLDER = Path(".cache/releases")


def lay(release: Release, root: Path = Path()) -> dict[str, str]:
    """Brings a release's model and lays its lock beside it.

    Returns:
        The environment variables that make `python -m api` serve it.

    Raises:
        SetupError: neither cache nor storage has it.
        ArtifactError: the storage holds other bytes than the pinned ones.
    """
    brought = bring(release.revision, root)
    folder = (root / FOLDER / brought.name).absolute()
    for file in brought.iterdir():
        write_atomic(folder / "data/model" / file.name, file.read_bytes())
    write_atomic(folder / LOCK, (text_at(release.revision, LOCK, root) or "").encode())
    return {
        "BATCHYIELD_LOCK": str(folder / LOCK),
        "BATCHYIELD_MODEL_DIR": "",
        "BATCHYIELD_MODEL_VERSION": release.version,
        "BATCHYIELD_REVISION": release.revision,
    }
