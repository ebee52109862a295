"""Fetches the pinned model of any revision into a folder of its own, and prepares a release for the service."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from batchyield.errors import ArtifactError, SetupError
from batchyield.files import md5_of, md5_of_file, write_atomic
from batchyield.release.registry import Release
from batchyield.serving.artifact import FILES, MODEL
from batchyield.serving.deployment.model_store import write_directory
from batchyield.serving.deployment.rollout import PINS_FILE, read_deployment
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.revisions import read_lock_at, read_text_at, require_commit
from batchyield.versioning.storage import content_store

FOLDER = Path(".cache/models")
RELEASES = Path(".cache/releases")
OUTPUTS = "data/model"
UNRELEASED = "unreleased"

RELEASE = re.compile(r"(?:[\w-]+@)?v?(\d+)\.(\d+)\.(\d+)")
"""A tag that releases a version: `v1.2.0`, or `model@v1.2.0` as GTO writes it."""


def fetch_model(revision: str, root: Path = Path()) -> Path:
    """The folder with the four files that the lock of `revision` pins, and `pins.json`.

    From the DVC cache of the checkout where it has them, else from the DVC storage; a folder brought before is checked
    and taken. `pins.json` holds the md5 of each file by its name, and `revision` and `version`: the commit in full, and
    the release that a tag on it names, else `unreleased`.

    Args:
        revision: any git revision.
        root: the checkout.

    Returns:
        `.cache/models/MD5`, of the md5 of `model.onnx`; longer where another pin has the same model and another card.

    Raises:
        SetupError: there is no such revision, its lock pins no model, or neither cache nor storage has it.
        ArtifactError: the lock cannot be read, or the storage holds other bytes than the pinned ones.
    """
    found = require_commit(revision, root)
    pins = _pins(found, root)
    said = msgspec.json.format(
        msgspec.json.encode(pins | {"revision": found, "version": released_version(found, root)}), indent=2
    )
    folder = _folder(root / FOLDER, pins)
    if not _whole(folder, pins):
        write_directory(folder, content_store.read_pinned(root, pins, found[:12]))
    write_atomic(folder / PINS_FILE, said + b"\n")
    return folder


def prepare_service(release: Release, root: Path = Path()) -> dict[str, str]:
    """Brings a release's model and lays its lock beside it.

    Returns:
        The environment variables that make `python -m api` serve it.

    Raises:
        SetupError: neither cache nor storage has it.
        ArtifactError: the storage holds other bytes than the pinned ones.
    """
    brought = fetch_model(release.revision, root)
    folder = (root / RELEASES / brought.name).absolute()
    for file in brought.iterdir():
        write_atomic(folder / "data/model" / file.name, file.read_bytes())
    write_atomic(folder / LOCK, (read_text_at(release.revision, LOCK, root) or "").encode())
    return {
        "BATCHYIELD_LOCK": str(folder / LOCK),
        "BATCHYIELD_MODEL_DIR": "",
        "BATCHYIELD_MODEL_VERSION": release.version,
        "BATCHYIELD_REVISION": release.revision,
    }


def released_version(found: str, root: Path) -> str:
    """The highest version that a tag on a commit releases; `unreleased` where none does."""
    tags = git("tag", "--points-at", found, cwd=root).split()
    released = [tuple(map(int, match.groups())) for tag in tags if (match := RELEASE.fullmatch(tag))]
    return ".".join(map(str, max(released))) if released else UNRELEASED


def _pins(found: str, root: Path) -> dict[str, str]:
    outs = read_lock_at(found, root).outs()
    lacking = [name for name in FILES if f"{OUTPUTS}/{name}" not in outs]
    if lacking:
        raise SetupError(
            f"the {LOCK} of {found[:12]} pins no {OUTPUTS}/{lacking[0]}",
            f"`git log --oneline --all -- {LOCK}` lists the revisions that changed it: name one that has a model",
        )
    return {name: outs[f"{OUTPUTS}/{name}"][1] for name in FILES}


def _folder(models: Path, pins: Mapping[str, str]) -> Path:
    """Its name tells the model; that of the second of two pins that share a model tells the rest, too."""
    folder = models / pins[MODEL]
    try:
        if read_deployment(folder).pins == pins:
            return folder
    except ArtifactError:
        return folder
    rest = md5_of("".join(pins[name] for name in FILES).encode())
    return models / f"{pins[MODEL]}-{rest[:8]}"


def _whole(folder: Path, pins: Mapping[str, str]) -> bool:
    return all((folder / name).is_file() and md5_of_file(folder / name) == pin for name, pin in pins.items())
