"""Compares two dvc.lock files: which outputs differ, and which changed inputs explain it, in pipeline order."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from batchyield.serving.lockfile import DvcLock, LockedStage

LOCK = Path("dvc.lock")


class OutputPair(NamedTuple):
    """One output in both locks; a hash is None where that lock has no such output."""

    stage: str
    path: str
    committed: str | None
    rebuilt: str | None

    @property
    def same(self) -> bool:
        return self.committed == self.rebuilt


def compare_outputs(committed: DvcLock, rebuilt: DvcLock) -> list[OutputPair]:
    """Every output of either lock, stage by stage."""
    before, after = committed.outs(), rebuilt.outs()
    return [
        OutputPair(
            (after.get(path) or before[path])[0],
            path,
            before[path][1] if path in before else None,
            after[path][1] if path in after else None,
        )
        for path in dict.fromkeys([*after, *before])
    ]


def format_outputs(rows: list[OutputPair]) -> list[str]:
    """Return the comparison as text, one line per output."""
    return align_columns(
        (r.stage, r.path, r.rebuilt or "not built", "same" if r.same else f"DIFFERENT, committed {r.committed}")
        for r in rows
    )


def align_columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """Return rows of cells as indented lines whose columns start at the same place."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [f"  {'  '.join(map(str.ljust, row, widths))}".rstrip() for row in cells]


class ChangedInput(NamedTuple):
    """An input of a stage that is not what the lock says.

    Attributes:
        stage: the first stage that reads it.
        kind: `code`, `data`, `params`, `command` or `environment`.
        what: the path or the param.
        change: from what to what.
    """

    stage: str
    kind: str
    what: str
    change: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what} ({self.change}), read by {self.stage}"


def flatten(value: Any, where: str = "", *, lists: bool = False) -> dict[str, Any]:
    """Return nested values by their dotted names; an empty mapping or list within them is a value itself.

    Args:
        value: decoded JSON or YAML.
        where: the name of all of it.
        lists: whether each item of a list has a name of its own, as in `a[0]`; otherwise a list is one value.
    """
    if isinstance(value, dict) and (value or not where):
        items = [(f"{where}.{key}".strip("."), value[key]) for key in value]
    elif lists and isinstance(value, list) and value:
        items = [(f"{where}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {where: value}
    return {name: leaf for at, item in items for name, leaf in flatten(item, at, lists=lists).items()}


def _inputs(stage: LockedStage, made_here: set[str]) -> Iterator[tuple[str, str, Any]]:
    yield "command", "cmd", stage.cmd
    for dep in stage.deps:
        if dep.path not in made_here:  # an output of an earlier stage differs only because something before it does
            kind = {"src": "code", "requirements": "environment"}.get(dep.path.split("/")[0], "data")
            yield kind, dep.path, dep.md5
    for file, params in stage.params.items():
        for key, value in flatten(params).items():
            yield "params", f"{key} in {file}", value


def changed_inputs(committed: DvcLock, rebuilt: DvcLock) -> list[ChangedInput]:
    """The inputs from outside the pipeline that differ between two locks, in pipeline order, each named once."""
    made = set(committed.outs()) | set(rebuilt.outs())
    found: dict[tuple[str, str], ChangedInput] = {}
    for name in dict.fromkeys([*committed.stages, *rebuilt.stages]):
        sides = [
            {(kind, what): value for kind, what, value in _inputs(lock.stages[name], made)}
            if name in lock.stages
            else {}
            for lock in (committed, rebuilt)
        ]
        before, after = sides
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                change = f"{before.get(key, 'nothing')} in the lock, {after.get(key, 'nothing')} now"
                found.setdefault(key, ChangedInput(name, *key, change))
    return list(found.values())
