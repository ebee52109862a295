"""Compare two dvc.lock files: outputs that differ, and the changed inputs that explain them, in pipeline order."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from batchyield.serving.lockfile import DvcLock, LockedStage

LOCK = Path("dvc.lock")
ENGINE = "engine"
"""Group of params that no result depends on."""


class OutputPair(NamedTuple):
    """The hashes of one output in two locks; None if a lock does not have the output."""

    stage: str
    path: str
    committed: str | None
    rebuilt: str | None

    @property
    def same(self) -> bool:
        return self.committed == self.rebuilt


def compare_outputs(committed: DvcLock, rebuilt: DvcLock) -> list[OutputPair]:
    """Return every output of either lock, in pipeline order."""
    before, after, absent = committed.outs(), rebuilt.outs(), (None, None)
    return [
        OutputPair((after.get(path) or before[path])[0], path, before.get(path, absent)[1], after.get(path, absent)[1])
        for path in dict.fromkeys([*after, *before])
    ]


def align_columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """Return rows of cells as indented lines with aligned columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [f"  {'  '.join(map(str.ljust, row, widths))}".rstrip() for row in cells]


class ChangedInput(NamedTuple):
    """An input that differs between two locks, and the first stage that reads it.

    Attributes:
        kind: `code`, `data`, `params`, `command` or `environment`.
        what: the path or the param.
    """

    stage: str
    kind: str
    what: str
    change: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what} ({self.change}), read by {self.stage}"


def flatten_results(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted param -> value of the params that results may depend on: all but the engine's."""
    return flatten({group: value for group, value in params.items() if group != ENGINE})


def flatten(value: Any, where: str = "", *, lists: bool = False) -> dict[str, Any]:
    """Return nested values by their dotted names, which begin with `where`; an empty mapping or list is a value.

    If `lists`, each item of a list gets its own name, as in `a[0]`; otherwise a list is one value.
    """
    if isinstance(value, dict) and (value or not where):
        items = [(f"{where}.{key}".strip("."), value[key]) for key in value]
    elif lists and isinstance(value, list) and value:
        items = [(f"{where}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {where: value}
    return {name: leaf for at, item in items for name, leaf in flatten(item, at, lists=lists).items()}


def input_role(path: str) -> str:
    """Return `code`, `environment` or `data` for an input from outside the pipeline, by its top folder."""
    return {"src": "code", "requirements": "environment"}.get(path.split("/")[0], "data")


def _inputs(stage: LockedStage, outputs: set[str]) -> dict[tuple[str, str], Any]:
    params = [
        (f"{key} in {file}", value) for file, values in stage.params.items() for key, value in flatten(values).items()
    ]
    # An output of an earlier stage differs only because an earlier input does.
    outside = {(input_role(dep.path), dep.path): dep.md5 for dep in stage.deps if dep.path not in outputs}
    return {("command", "cmd"): stage.cmd, **outside, **{("params", name): value for name, value in params}}


def changed_inputs(committed: DvcLock, rebuilt: DvcLock) -> list[ChangedInput]:
    """Return the inputs from outside the pipeline that differ between two locks, in pipeline order, each once."""
    outputs = set(committed.outs()) | set(rebuilt.outs())
    changes: dict[tuple[str, str], ChangedInput] = {}
    for name in dict.fromkeys([*committed.stages, *rebuilt.stages]):
        locked = (lock.stages.get(name) for lock in (committed, rebuilt))
        before, after = (_inputs(stage, outputs) if stage else {} for stage in locked)
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                change = f"{before.get(key, 'nothing')} in the lock, {after.get(key, 'nothing')} now"
                changes.setdefault(key, ChangedInput(name, *key, change))
    return list(changes.values())
