"""Checks that what a stage reads did not change while it ran.

DVC hashes the inputs of a stage when its command has ended. A module, table or param that was edited in the meantime
would be pinned although it is not what ran, so the stage compares the content of its inputs before and after.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batchyield.errors import ChangedInputError, SetupError, Violation
from batchyield.files import md5, sweep

PIPELINE = Path("dvc.yaml")
PARAMS = Path("params.yaml")


class Inputs(NamedTuple):
    """The inputs of a stage at one moment.

    Attributes:
        stage: its name in dvc.yaml.
        content: path of each file -> md5 and time of modification; each param, by its dotted name -> JSON.
        outputs: the files that the stage writes.
    """

    stage: str
    content: dict[str, str]
    outputs: list[Path]


def look(stage: str) -> Inputs:
    """Return the content of what `stage` declares in the dvc.yaml of the working directory; takes some milliseconds.

    Raises:
        SetupError: dvc.yaml or params.yaml cannot be read, or dvc.yaml does not declare the stage.
    """
    declared = _decoded(PIPELINE)["stages"].get(stage)
    if declared is None:
        raise SetupError(f"{PIPELINE} declares no stage {stage}", "run a stage in the checkout that declares it")
    content = {
        str(file): f"md5 {md5(file)}, modified at {file.stat().st_mtime_ns} ns"
        for path in _paths(declared.get("deps", ()))
        for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        if file.is_file() and file.suffix != ".pyc"
    }
    names = declared.get("params", ())
    params = _decoded(PARAMS) if names else {}
    content |= {f"{PARAMS}, {name}": _value(params, name) for name in names}
    outputs = [path for kind in ("outs", "metrics", "plots") for path in _paths(declared.get(kind, ()))]
    return Inputs(stage, content, outputs)


@contextlib.contextmanager
def unchanged(before: Inputs) -> Iterator[None]:
    """Run the block, the work of the stage, and fail if its inputs are no longer as `before` when it ends.

    Raises:
        ChangedInputError: an input changed; the outputs of the stage are removed.
    """
    for path in before.outputs:
        sweep(path)
    yield
    was, now = before.content, look(before.stage).content
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


def _value(values: Any, name: str) -> str:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return json.dumps(values, ensure_ascii=False, default=str)


def _decoded(path: Path) -> dict[str, Any]:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise SetupError(f"{path} cannot be read: {error}", f"correct it, or `git checkout {path}`") from error
