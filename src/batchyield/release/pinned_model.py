"""Fetch the pinned model of a revision into a folder, and prepare a release for the service."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from batchyield.errors import ArtifactError, RevisionError
from batchyield.files import md5_of, md5_of_file, write_atomic
from batchyield.serving.artifact import FILES, MODEL
from batchyield.serving.deployment.model_store import PINS_FILE, read_deployment, write_directory
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.registry import Release
from batchyield.versioning.revisions import read_lock_at, read_text_at, require_commit
from batchyield.versioning.storage import content_store

FOLDER = Path(".cache/models")
RELEASES = Path(".cache/releases")
OUTPUTS = "data/model"
UNRELEASED = "unreleased"

RELEASE = re.compile(r"(?:[\w-]+@)?v?(\d+)\.(\d+)\.(\d+)")
"""A tag that releases a version: `v1.2.0`, or `model@v1.2.0` as GTO writes it."""


def fetch_model(revision: str, root: Path = Path()) -> Path:
    """Return a folder with the four model files that the lock of `revision` pins, and `pins.json`.

    The files come from the DVC cache, else from the storage; an intact folder of an earlier call is used again.
    `pins.json` has the md5 of each file, and `revision` and `version`: the full commit hash and the release of a tag on
    it, or `unreleased`.

    Returns:
        `.cache/models/MD5` with the md5 of `model.onnx`, and a suffix if another pin has this model but another card.

    Raises:
        RevisionError: there is no such revision, or its lock pins no model.
        StorageError: neither cache nor storage has the model.
        ArtifactError: the lock cannot be read, or the storage has other bytes than the pinned ones.
    """
    commit = require_commit(revision, root)
    outs = read_lock_at(commit, root).outs()
    if lacking := [name for name in FILES if f"{OUTPUTS}/{name}" not in outs]:
        raise RevisionError(
            f"the {LOCK} of {commit[:12]} pins no {OUTPUTS}/{lacking[0]}",
            f"`git log --oneline --all -- {LOCK}` lists the revisions that changed it: name one that has a model",
        )
    pins = {name: outs[f"{OUTPUTS}/{name}"][1] for name in FILES}
    record = pins | {"revision": commit, "version": released_version(commit, root)}
    folder = _folder(root / FOLDER, pins)
    if not all((folder / name).is_file() and md5_of_file(folder / name) == pin for name, pin in pins.items()):
        write_directory(folder, content_store.read_pinned(root, pins, commit[:12]))
    write_atomic(folder / PINS_FILE, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return folder


def prepare_service(release: Release, root: Path = Path()) -> dict[str, str]:
    """Write a release's model and lock to `.cache/releases`.

    Returns:
        The environment variables that make `python -m api` serve it.

    Raises:
        StorageError: neither cache nor storage has the model.
        ArtifactError: the storage has other bytes than the pinned ones.
    """
    model = fetch_model(release.revision, root)
    folder = (root / RELEASES / model.name).absolute()
    for file in model.iterdir():
        write_atomic(folder / "data/model" / file.name, file.read_bytes())
    write_atomic(folder / LOCK, (read_text_at(release.revision, LOCK, root) or "").encode())
    return {
        "BATCHYIELD_LOCK": str(folder / LOCK),
        "BATCHYIELD_MODEL_DIR": "",
        "BATCHYIELD_MODEL_VERSION": release.version,
        "BATCHYIELD_REVISION": release.revision,
    }


def released_version(commit: str, root: Path) -> str:
    """Return the highest version that a tag on a commit releases, or `unreleased`."""
    tags = git("tag", "--points-at", commit, cwd=root).split()
    released = [tuple(map(int, match.groups())) for tag in tags if (match := RELEASE.fullmatch(tag))]
    return ".".join(map(str, max(released))) if released else UNRELEASED


def _folder(models: Path, pins: Mapping[str, str]) -> Path:
    """Return the folder, named by the model; the second of two pins with the same model gets a suffix."""
    folder = models / pins[MODEL]
    try:
        if read_deployment(folder).pins == pins:
            return folder
    except ArtifactError:
        return folder
    rest = md5_of("".join(pins[name] for name in FILES).encode())
    return models / f"{pins[MODEL]}-{rest[:8]}"
