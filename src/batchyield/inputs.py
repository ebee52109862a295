"""What a stage was given: every file and param that it declares, by content, before it ran and after.

DVC hashes the inputs of a stage when its command has ended. A module, a table or a param that was edited in the
meantime would be pinned although it is not what ran: so the stage looks twice, and refuses. And DVC takes what it
checks out of its cache for what the lock names, without looking: so the stage looks.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from batchyield.errors import ChangedInputError, SetupError, Violation
from batchyield.files import md5, sweep
from batchyield.lock import read_lock

PIPELINE = Path("dvc.yaml")
PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")

Decoded = TypeVar("Decoded")
Named = tuple[str | dict[str, Any], ...]


class Declared(msgspec.Struct, frozen=True):
    """A stage as dvc.yaml has it; an entry with options is a mapping of its path to them."""

    deps: Named = ()
    params: tuple[str, ...] = ()
    outs: Named = ()
    metrics: Named = ()
    plots: Named = ()

    def written(self) -> list[Path]:
        """All that the stage writes."""
        return _paths((*self.outs, *self.metrics, *self.plots))


class Pipeline(msgspec.Struct, frozen=True):
    """What of dvc.yaml is needed here."""

    stages: dict[str, Declared]


class Seen(NamedTuple):
    """A file at one moment; `written` is its time of modification in nanoseconds."""

    md5: str
    written: int


class Inputs(NamedTuple):
    """The inputs of a stage at one moment: files that are missing are not in `files`, params are JSON texts."""

    stage: str
    declared: Declared
    files: dict[Path, Seen]
    params: dict[str, str]


def look(stage: str) -> Inputs:
    """Takes the fingerprint of what `stage` declares in the dvc.yaml of the working directory: a few milliseconds.

    Raises:
        SetupError: dvc.yaml or params.yaml cannot be read, or no such stage is declared.
    """
    declared = _decoded(PIPELINE, Pipeline).stages.get(stage)
    if declared is None:
        raise SetupError(f"{PIPELINE} declares no stage {stage}", "run a stage in the checkout that declares it")
    return _look(stage, declared)


def _look(stage: str, declared: Declared) -> Inputs:
    files = {path: Seen(md5(path), path.stat().st_mtime_ns) for path in _files(declared)}
    values = _decoded(PARAMS, dict[str, Any]) if declared.params else {}
    return Inputs(stage, declared, files, {key: _value(values, key) for key in declared.params})


def as_locked(given: Inputs) -> None:
    """Checks that what earlier stages made still is what the lock says; to be called in a `dvc repro`.

    Raises:
        SetupError: it is not, while DVC believes that it is.
    """
    made = read_lock(LOCK).outs() if LOCK.exists() else {}
    for path, seen in given.files.items():
        stage, digest = made.get(path.as_posix(), ("", seen.md5))
        if seen.md5 != digest:
            raise SetupError(
                f"{given.stage}: {path} has md5 {seen.md5}, and {LOCK} says that {stage} made {digest}; DVC has not "
                "noticed, so the file in its cache is corrupt, or this one was written behind its back",
                f"`rm {path}`, then `batchyield fetch` to clean the cache, then `dvc repro`",
            )


@contextlib.contextmanager
def unchanged(before: Inputs) -> Iterator[None]:
    """Runs the block, the stage's work, and lets it pass only if its inputs are at the end what they were `before`.

    Raises:
        ChangedInputError: they are not; the stage's outputs are then removed, as they belong to no inputs at all.
    """
    for path in before.declared.written():
        sweep(path)
    yield
    if changes := list(_changes(before, _look(before.stage, before.declared))):
        for path in before.declared.written():
            path.unlink(missing_ok=True)
        raise ChangedInputError(before.stage, changes)


def _changes(before: Inputs, after: Inputs) -> Iterator[Violation]:
    for path in dict.fromkeys([*before.files, *after.files]):
        was, now = before.files.get(path), after.files.get(path)
        if was and now and was.md5 == now.md5 and was != now:
            yield Violation(str(path), f"written anew; md5 {was.md5} before and after, but who knows in between")
        elif was != now:
            told = (f"md5 {seen.md5}" if seen else "missing" for seen in (was, now))
            yield Violation(str(path), "{} before, {} after".format(*told))
    for key, value in before.params.items():
        if value != after.params[key]:
            yield Violation(f"{PARAMS}, {key}", f"{value} before, {after.params[key]} after")


def _files(declared: Declared) -> Iterator[Path]:
    for path in _paths(declared.deps):
        yield from sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path] * path.exists()


def _paths(named: Named) -> list[Path]:
    return [Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in named]


def _value(values: Any, key: str) -> str:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return json.dumps(values, ensure_ascii=False, default=str)


def _decoded(path: Path, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}", f"`git checkout {path}`") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise SetupError(f"{path} is not readable: {error}", f"mend it, or `git checkout {path}`") from error
