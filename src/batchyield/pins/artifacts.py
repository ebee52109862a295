"""The model of any revision, brought from where DVC keeps it, beside the one of the checkout."""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from batchyield.artifact import FILES, MODEL
from batchyield.errors import ArtifactError, SetupError
from batchyield.files import md5, write_atomic
from batchyield.pins.lookup import commit, lock_at
from batchyield.pins.objects import stored
from batchyield.pins.remotes import asking, s3_client, served

FOLDER = Path(".cache/models")
PINS = "pins.json"
OUTPUTS = "data/model"


def bring(revision: str, root: Path = Path()) -> Path:
    """The folder with the four files that the lock of `revision` pins, and `pins.json`: file name -> md5.

    From the DVC cache of the checkout where it has them, else from the DVC storage; a folder brought before is checked
    and taken.

    Raises:
        SetupError: there is no such revision, its lock pins no model, or the storage has it not.
        ArtifactError: the lock cannot be read, or the storage holds other bytes than the pinned ones.
    """
    found = commit(revision, root)
    if found is None:
        raise SetupError(
            f"{revision} is no revision of this repository", "`git log --oneline --all` lists those there are"
        )
    outs = lock_at(found, root).outs()
    try:
        pins = {name: outs[f"{OUTPUTS}/{name}"][1] for name in FILES}
    except KeyError as error:
        raise SetupError(
            f"the lock of {found[:12]} pins no {error.args[0]}", "name a revision that has a model"
        ) from None
    folder = root / FOLDER / pins[MODEL]
    missing = [name for name in FILES if not _holds(folder / name, pins[name])]
    for name in missing:
        _from_cache(folder / name, pins[name], root)
    still = [name for name in missing if not _holds(folder / name, pins[name])]
    if still:
        with served(root):
            for name in still:
                _from_storage(folder / name, pins[name], root)
    write_atomic(folder / PINS, msgspec.json.format(msgspec.json.encode(pins)) + b"\n")
    return folder


def _holds(file: Path, pin: str) -> bool:
    return file.is_file() and md5(file) == pin


def _from_cache(file: Path, pin: str, root: Path) -> None:
    cached = root / ".dvc/cache/files/md5" / pin[:2] / pin[2:]
    if _holds(cached, pin):
        write_atomic(file, cached.read_bytes())


def _from_storage(file: Path, pin: str, root: Path) -> None:
    remote = s3_client("storage", root)
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=file.parent)
    os.close(handle)
    try:
        with asking("storage"):
            answer = remote.client.get_object(Bucket=remote.bucket, Key=stored(remote, pin))
            with Path(aside).open("wb") as out:
                shutil.copyfileobj(answer["Body"], out)
        if not _holds(Path(aside), pin):
            raise ArtifactError(
                remote.url(stored(remote, pin)), f"is not the pinned {file.name} with md5 {pin}", "`batchyield audit`"
            )
        Path(aside).replace(file)
    finally:
        Path(aside).unlink(missing_ok=True)
