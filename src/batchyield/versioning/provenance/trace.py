"""Where bytes come from: back through the lock to code, params, raw object and environment, and how to rebuild them."""

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ArtifactError, BatchyieldError, SetupError
from batchyield.files import md5_of_file
from batchyield.serving.lockfile import read_lock
from batchyield.versioning.git import git, is_shallow
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.provenance.environment import FINGERPRINT
from batchyield.versioning.provenance.lineage import (
    File,
    RawObject,
    Step,
    describe_file,
    find_contradictions,
    find_entry,
    read_raw_object,
    upstream_stages,
)
from batchyield.versioning.provenance.trace_text import commands, tree
from batchyield.versioning.revisions import LockMatch, find_md5, read_lock_at, read_text_at, resolve_commit

MODEL = "data/model/model.onnx"
HASH = re.compile(r"[0-9a-f]{6,32}(\.dir)?")


class Trace(msgspec.Struct, frozen=True):
    """A whole trace.

    Attributes:
        asked: what was asked for.
        revision: the commit whose lock answers.
        title: its date, subject and tags.
        subjects: the files traced.
        steps: the stages on the way back, nearest first, each once.
        raw: the object at its end; None where the way does not lead there, or the revision has no pin.
        environment: the fingerprint committed at the revision; None where there is none.
        readers: the stages that read a subject which no stage makes.
        breaks: where the commit contradicts its own lock, so that a rebuild need not give these bytes.
        notes: what else is to be known.
        commands: that rebuild the subjects.
    """

    asked: str
    revision: str
    title: str
    subjects: tuple[File, ...]
    steps: tuple[Step, ...]
    raw: RawObject | None
    environment: dict[str, Any] | None
    readers: tuple[str, ...]
    breaks: tuple[str, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def trace(asked: str, *, root: Path = Path()) -> Trace:
    """Traces an md5 (whole, or its first 6 digits or more), a file, or all outputs of a revision.

    A file goes before an md5, and that before a revision.

    Args:
        asked: one of the three.
        root: the top of the checkout, where a relative path begins.

    Raises:
        SetupError: nothing is known by that name, or several things are.
        ArtifactError: the file's bytes are in no lock, or the revision's lock cannot be read.
    """
    git("rev-parse", "--git-dir", cwd=root)  # outside a checkout that is what is to be said, not "unknown"
    path = os.path.relpath(root / asked, root)
    if (root / asked).is_file():
        return _of_file(asked, path, root)
    prefix, revision = asked.lower(), resolve_commit(asked, root)
    sighting, unread = find_md5(prefix, root) if HASH.fullmatch(prefix) else (None, ())
    if sighting and revision:
        both = f"the md5 {sighting.md5} ({sighting.paths[0]}) and the revision {revision}"
        raise SetupError(f"{asked} names both {both}", "give more digits of the one that is meant")
    if sighting:
        return _trace(asked, sighting, root, *_unread(unread))
    if revision:
        outs = sorted((lock := read_lock_at(revision, root)).outs(), key=lambda out: out != MODEL)
        if not outs:
            raise ArtifactError(f"{revision[:12]}:{LOCK}", "names no output", "name a revision whose lock does")
        return _trace(asked, LockMatch(revision, lock, "", tuple(outs)), root)
    if said := _said_of(path, root):
        return _trace(asked, said, root, f"{path} is not in the workspace; this is what the lock of HEAD says of it")
    raise SetupError(
        "; ".join([f"{asked} is no file here, no revision, and the beginning of no md5 in any lock", *_unread(unread)]),
        "`git fetch --unshallow` brings the history that this shallow clone lacks"
        if is_shallow(root)
        else "give an md5 (6 digits or more), a path or a revision; `git fetch --all --tags` brings what others pushed",
    )


def _of_file(asked: str, path: str, root: Path) -> Trace:
    here, said = md5_of_file(root / asked), _said_of(path, root)
    sighting, unread = find_md5(here, root)
    notes = [*_unread(unread)]
    if said and said.md5 != here:
        notes.insert(0, f"the lock of HEAD says {said.md5} for {path}, so the workspace file differs from it")
    if sighting:
        if path not in sighting.paths:
            notes.append(f"{asked} has the bytes of {', '.join(sighting.paths)}")
        return _trace(asked, sighting, root, *notes)
    remedy = (
        f"`batchyield pin trace {said.md5}` traces what is pinned"
        if said
        else "trace a file that a stage reads or makes"
    )
    if said and said.lock.outs().get(path):
        remedy += f", `dvc checkout {path}` brings it back"
    try:
        fresh = find_entry(read_lock(root / LOCK), path)
    except BatchyieldError:
        fresh = None
    if fresh and fresh.md5 == here:
        remedy = f"the {LOCK} of the workspace does name them: commit it, then trace again"
    problem = [
        f"its bytes (md5 {here}) are in no committed lock",
        *(notes if said else [f"{path} is no path of HEAD's lock"]),
    ]
    raise ArtifactError(asked, "; ".join(problem), remedy)


def _said_of(path: str, root: Path) -> LockMatch | None:
    head = resolve_commit("HEAD", root)
    if head is None or (text := read_text_at(head, LOCK, root)) is None:
        return None
    lock = read_lock_at(head, root, text)
    named = find_entry(lock, path)
    return LockMatch(head, lock, named.md5, (path,)) if named else None


def _unread(revisions: tuple[str, ...]) -> list[str]:
    return [f"the lock of {revision[:12]} cannot be read and was passed over" for revision in revisions]


def _trace(asked: str, sighting: LockMatch, root: Path, *notes: str) -> Trace:
    revision, lock = sighting.revision, sighting.lock
    # a stage may have read, under the same path, other bytes than are made now: those that were asked for are meant
    named = [e for path in sighting.paths if (e := find_entry(lock, path, sighting.md5))]
    subjects = tuple(describe_file(lock, e) for e in named)
    steps = upstream_stages(lock, subjects)
    outside = {subject.path for subject in subjects if subject.stage is None}
    readers = tuple(name for name, stage in lock.stages.items() if outside & {dep.path for dep in stage.deps})
    reached = subjects + tuple(read for step in steps for read in step.inputs)
    raw = read_raw_object(revision, root) if any(read.role == "raw data" for read in reached) else None
    text = read_text_at(revision, FINGERPRINT, root)
    try:
        environment = json.loads(text) if text else None
    except ValueError as error:
        environment, notes = None, (*notes, f"{FINGERPRINT} at that revision cannot be read: {error}")
    tags = git("tag", "--points-at", revision, cwd=root).split()
    title = git("show", "--no-patch", "--format=%cs %s", revision, cwd=root).strip()
    head = resolve_commit("HEAD", root)
    if revision != head:
        notes = (*notes, f"this is not the lock of HEAD ({head[:12] if head else 'no commit'})")
    return Trace(
        asked,
        revision,
        f"{title} ({', '.join(tags)})" if tags else title,
        subjects,
        steps,
        raw,
        environment,
        readers,
        find_contradictions(lock, subjects, steps, raw, revision, root),
        notes,
        tuple(commands(subjects, revision, root)),
    )


def render(made: Trace) -> str:
    """The trace for people: the tree, the environment, what is wrong, and the commands."""
    lines = [f"{made.asked}: in the lock of {made.revision[:12]}, {made.title}", *(f"  {note}" for note in made.notes)]
    lines += ["", *tree(made.subjects, made.steps, made.raw)]
    if made.readers:
        lines.append(f"  read by {', '.join(made.readers)}")
    lines += ["", *_environment(made.environment)]
    if made.breaks:
        lines += ["", "BROKEN: the commit is not what its lock was made from, so a rebuild need not give these bytes"]
        lines += [f"  {problem}" for problem in made.breaks]
    return "\n".join([*lines, "", "to rebuild, at the top of the checkout:", *(f"  {line}" for line in made.commands)])


def _environment(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return [f"environment: no {FINGERPRINT} is committed there"]
    libraries = ", ".join(f"{name} {version}" for name, version in found.get("libraries", {}).items())
    said = f"Python {found.get('python', 'unknown')}, {found.get('platform', 'unknown')}"
    return [f"environment ({FINGERPRINT}): {said}, {len(found.get('cpu', []))} CPU features", f"  {libraries}"]
