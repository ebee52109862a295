"""Why two locks differ: the inputs that differ, stage by stage, the first of them first."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from batchyield.lock import Lock, Stage


class Cause(NamedTuple):
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


def flat(params: Any, where: str = "") -> dict[str, Any]:
    """Every param by its dotted name; a list is one value."""
    if not isinstance(params, dict) or (where and not params):
        return {where: params}
    return {k: v for key in params for k, v in flat(params[key], f"{where}.{key}".strip(".")).items()}


def _inputs(stage: Stage, made_here: set[str]) -> Iterator[tuple[str, str, Any]]:
    yield "command", "cmd", stage.cmd
    for dep in stage.deps:
        if dep.path not in made_here:  # an output of an earlier stage differs only because something before it does
            kind = {"src": "code", "requirements": "environment"}.get(dep.path.split("/")[0], "data")
            yield kind, dep.path, dep.md5
    for file, params in stage.params.items():
        for key, value in flat(params).items():
            yield "params", f"{key} in {file}", value


def causes(committed: Lock, rebuilt: Lock) -> list[Cause]:
    """The inputs from outside the pipeline that differ between two locks, in pipeline order, each named once."""
    made = set(committed.outs()) | set(rebuilt.outs())
    found: dict[tuple[str, str], Cause] = {}
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
                found.setdefault(key, Cause(name, *key, change))
    return list(found.values())
