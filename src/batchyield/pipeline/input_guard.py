"""Checks that the inputs of a stage are the pinned ones and do not change while it runs.

DVC hashes the inputs of a stage after its command has ended, so a file edited in the meantime would be pinned although
the stage never read it. The stage therefore compares its inputs before and after.

DVC does not hash files that it takes from its cache. In a `dvc repro`, a stage therefore also compares the outputs of
earlier stages with dvc.lock.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batchyield.errors import ChangedInputError, ConfigError, StorageError, Violation
from batchyield.files import md5_of_file, remove_partial_files
from batchyield.serving.lockfile import raise_if_conflict, read_lock

PIPELINE = Path("dvc.yaml")
PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")


class Inputs(NamedTuple):
    """The inputs of a stage at one moment.

    Attributes:
        content: path -> md5 and modification time; dotted name of a param -> JSON.
        md5s: path -> md5.
        deps, outputs: as declared, files and folders.
    """

    stage: str
    content: dict[str, str]
    md5s: dict[str, str]
    deps: list[Path]
    outputs: list[Path]


def read_inputs(stage: str) -> Inputs:
    """Return the inputs that dvc.yaml in the working directory declares for a stage.

    Raises:
        ConfigError: dvc.yaml or params.yaml cannot be read, or dvc.yaml does not declare the stage.
    """
    declared = _decoded(PIPELINE)["stages"].get(stage)
    if declared is None:
        raise ConfigError(f"{PIPELINE} has no stage {stage}", "run a stage of this checkout")
    deps = _paths(declared.get("deps", ()))
    files = [
        file
        for path in deps
        for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        if file.is_file() and file.suffix != ".pyc"
    ]
    md5s = {file.as_posix(): md5_of_file(file) for file in files}
    content = {name: f"md5 {digest}, modified at {Path(name).stat().st_mtime_ns} ns" for name, digest in md5s.items()}
    names = declared.get("params", ())
    params = _decoded(PARAMS) if names else {}
    for name in names:
        value: Any = params
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        content[f"{PARAMS}, {name}"] = json.dumps(value, ensure_ascii=False, default=str)
    outputs = [path for kind in ("outs", "metrics", "plots") for path in _paths(declared.get(kind, ()))]
    return Inputs(stage, content, md5s, deps, outputs)


def check_against_lock(inputs: Inputs) -> None:
    """Check that the outputs of earlier stages that a stage reads have the md5 of dvc.lock.

    Raises:
        StorageError: a file has other bytes, so its copy in the DVC cache is corrupt.
    """
    locked = read_lock(LOCK).outs() if LOCK.exists() else {}
    for path, digest in inputs.md5s.items():
        stage, expected = locked.get(path, ("", digest))
        if digest != expected:
            raise StorageError(
                f"{inputs.stage}: {path} has md5 {digest}, but {LOCK} has {expected} from stage {stage}: its copy in "
                "the DVC cache is corrupt, or the file was edited",
                f"`rm {path}`, then `batchyield data fetch` to clean the cache, then `dvc repro`",
            )


@contextlib.contextmanager
def require_unchanged(before: Inputs) -> Iterator[None]:
    """Run the block and check that the inputs of the stage are then the same as `before`.

    Raises:
        ChangedInputError: an input changed; the outputs of the stage are removed.
    """
    for path in before.outputs:
        remove_partial_files(path)
    yield
    was, now = before.content, read_inputs(before.stage).content
    changes = [
        Violation(name, f"{was.get(name, 'missing')} before, {now.get(name, 'missing')} after")
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]
    if changes:
        for path in before.outputs:
            path.unlink(missing_ok=True)
        raise ChangedInputError(before.stage, changes)


def _paths(entries: list[str | dict[str, Any]]) -> list[Path]:
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]


def _decoded(path: Path) -> dict[str, Any]:
    data = b""
    try:
        data = path.read_bytes()
        return msgspec.yaml.decode(data, type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise_if_conflict(data, str(path))
        raise ConfigError(f"{path} cannot be read: {error}", f"correct it, or `git checkout {path}`") from error
