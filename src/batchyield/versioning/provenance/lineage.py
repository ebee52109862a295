"""The way back through a lock: file, the stage that makes it, what that stage read, and so on to the raw object."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from batchyield.files import md5_of
from batchyield.serving.lockfile import DvcLock, LockedFile
from batchyield.versioning.revisions import read_text_at
from batchyield.versioning.storage.raw_data import DATA, PIN, parse_pin

ROLES = {"src": "code", "requirements": "environment"}
"""What a stage reads from outside the pipeline, by its folder."""


class File(msgspec.Struct, frozen=True):
    """A file by content.

    Attributes:
        role: `output`, `raw data`, `code`, `environment`, or `data` for what else a stage reads.
        stage: that makes it, where one does.
    """

    path: str
    md5: str
    size: int | None
    role: str
    stage: str | None


class Step(msgspec.Struct, frozen=True):
    """One stage of the way back: its command, the params it read by file, and its inputs."""

    stage: str
    command: str
    params: dict[str, Any]
    inputs: tuple[File, ...]


class RawObject(msgspec.Struct, frozen=True):
    """The object that the raw data were imported from, as the pin names it; `md5` is that of the imported file."""

    url: str
    etag: str | None
    size: int | None
    md5: str


def find_entry(lock: DvcLock, path: str, md5: str = "") -> LockedFile | None:
    """What a lock says of a path, with this md5 where one is given: as an output, else as a stage's input; or None."""
    return next((e for e in lock.entries() if e.path == path and e.md5.startswith(md5)), None)


def describe_file(lock: DvcLock, named: LockedFile) -> File:
    """A file that a lock names, with its role."""
    maker = lock.outs().get(named.path)
    outside = "raw data" if named.path == str(DATA) else ROLES.get(named.path.split("/")[0], "data")
    return File(named.path, named.md5, named.size, "output" if maker else outside, maker[0] if maker else None)


def upstream_stages(lock: DvcLock, subjects: Iterable[File]) -> tuple[Step, ...]:
    """The stages on the way from `subjects` back to what no stage makes, nearest first, each once."""
    steps: dict[str, Step] = {}
    ahead = [subject.stage for subject in subjects]
    while ahead:
        name = ahead.pop(0)
        if name is None or name in steps:
            continue
        stage = lock.stages[name]
        inputs = tuple(describe_file(lock, dep) for dep in stage.deps)
        steps[name] = Step(name, stage.cmd, stage.params, inputs)
        ahead += [read.stage for read in inputs]
    return tuple(steps.values())


def read_raw_object(revision: str, root: Path) -> RawObject | None:
    """Return the object that a revision's raw pin names; None if the revision has no such pin.

    Raises:
        ArtifactError: the pin cannot be read.
    """
    text = read_text_at(revision, PIN, root)
    if text is None:
        return None
    pin = parse_pin(text)
    source = pin.deps[0]
    return RawObject(source.path, source.etag, source.size, pin.md5)


def find_contradictions(
    lock: DvcLock, subjects: Iterable[File], steps: Iterable[Step], raw: RawObject | None, revision: str, root: Path
) -> tuple[str, ...]:
    """Where a commit contradicts its own lock: a rebuild of it will not give the lock's bytes, or need not."""
    outs = lock.outs()
    found: dict[str, None] = {}
    for made in subjects:
        if made.stage and outs[made.path][1] != made.md5:
            found[f"a stage read {made.path} as {made.md5}, and {made.stage} makes {outs[made.path][1]}"] = None
    for step in steps:
        for read in step.inputs:
            read_it = f"{step.stage} read {read.path} as {read.md5}"
            if read.role == "output" and outs[read.path][1] != read.md5:
                found[f"{read_it}, and {read.stage} makes {outs[read.path][1]}"] = None
            elif read.role == "raw data" and raw and raw.md5 != read.md5:
                found[f"{read_it}, and {PIN} pins {raw.md5}"] = None
            elif read.role not in ("output", "raw data") and (there := _differs(read, revision, root)):
                found.setdefault(f"the lock was made with {read.path} as {read.md5}, and the commit {there}")
    return tuple(found)


def _differs(read: File, revision: str, root: Path) -> str | None:
    text = read_text_at(revision, read.path, root)
    if text is None:
        return "does not hold it"
    # git's output is read with universal newlines: a file written with CRLF comes back with LF
    forms = [md5_of(form.encode()) for form in (text, text.replace("\n", "\r\n"))]
    return None if read.md5 in forms else f"holds {forms[0]}"
