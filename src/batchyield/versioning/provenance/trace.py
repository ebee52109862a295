"""Trace bytes through the lock to code, params, raw object and environment, and print how to rebuild them."""

import contextlib
import json
import os
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ArtifactError, BatchyieldError, RevisionError
from batchyield.files import md5_of_file
from batchyield.serving.lockfile import read_lock
from batchyield.versioning.git import git, is_shallow
from batchyield.versioning.lock_diff import LOCK, flatten
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
from batchyield.versioning.revisions import LockMatch, find_md5, read_lock_at, read_text_at, resolve_commit
from batchyield.versioning.storage import remotes

MODEL = "data/model/model.onnx"
MD5 = re.compile(r"[0-9a-f]{6,32}(\.dir)?")
LINE_CHARACTERS = 118
INDENT = "  "
LABEL_CHARACTERS = 13
MAX_LISTED = 3
"""More files of a role than these are counted."""
LISTED_ROLES = ("code", "environment")
"""Inputs that are listed in a line of the stage instead of as branches of the tree."""


class Trace(msgspec.Struct, frozen=True):
    """Result of a trace.

    Attributes:
        asked: the argument of `trace`.
        revision: the commit whose lock was followed.
        title: its date, subject and tags.
        steps: the upstream stages, nearest first, each once.
        raw: the raw object; None if no upstream stage reads it, or the revision has no pin.
        environment: the fingerprint committed at the revision, or None.
        readers: the stages that read a subject that no stage makes.
        breaks: where the commit contradicts its own lock, so that a rebuild may give other bytes.
        commands: shell commands that rebuild the subjects.
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


def trace(name: str, *, root: Path = Path()) -> Trace:
    """Trace a path relative to `root`, an md5 (at least 6 digits), or all outputs of a revision; tried in this order.

    Raises:
        RevisionError: the name fits nothing, or several things.
        ArtifactError: the file's bytes are in no lock, or the revision's lock cannot be read.
    """
    git("rev-parse", "--git-dir", cwd=root)  # outside a checkout, git's own error is the right message
    path = os.path.relpath(root / name, root)
    if (root / name).is_file():
        return _trace_file(name, path, root)
    prefix, revision = name.lower(), resolve_commit(name, root)
    match, unread = find_md5(prefix, root) if MD5.fullmatch(prefix) else (None, ())
    if match and revision:
        both = f"the md5 {match.md5} ({match.paths[0]}) and the revision {revision}"
        raise RevisionError(f"{name} names both {both}", "give more digits of the one that is meant")
    if match:
        return _trace(name, match, root, *unread)
    if revision:
        outs = sorted((lock := read_lock_at(revision, root)).outs(), key=lambda out: out != MODEL)
        if not outs:
            raise ArtifactError(f"{revision[:12]}:{LOCK}", "has no output", "name a revision whose lock does")
        return _trace(name, LockMatch(revision, lock, "", tuple(outs)), root)
    if locked := _in_head_lock(path, root):
        return _trace(name, locked, root, f"{path} is not in the workspace; this is the entry in the lock of HEAD")
    raise RevisionError(
        "; ".join([f"{name} is not a file here, not a revision, and begins no md5 in any lock", *unread]),
        "`git fetch --unshallow` fetches the history that this shallow clone lacks"
        if is_shallow(root)
        else "give an md5 (6 digits or more), a path or a revision; `git fetch --all --tags` fetches those of others",
    )


def _trace_file(name: str, path: str, root: Path) -> Trace:
    md5, locked = md5_of_file(root / name), _in_head_lock(path, root)
    match, unread = find_md5(md5, root)
    notes = [*unread]
    if locked and locked.md5 != md5:
        notes.insert(0, f"the lock of HEAD has {locked.md5} for {path}, so the workspace file differs from it")
    if match:
        if path not in match.paths:
            notes.append(f"{name} has the bytes of {', '.join(match.paths)}")
        return _trace(name, match, root, *notes)
    remedy = "trace a file that a stage reads or makes"
    if locked:
        remedy = f"`batchyield pin trace {locked.md5}` traces the pinned bytes"
        if locked.lock.outs().get(path):
            remedy += f", `dvc checkout {path}` restores them"
    with contextlib.suppress(BatchyieldError):
        if (current := find_entry(read_lock(root / LOCK), path)) and current.md5 == md5:
            remedy = f"the {LOCK} of the workspace has them: commit it, then trace again"
    reasons = notes if locked else [f"{path} is not a path of HEAD's lock"]
    raise ArtifactError(name, "; ".join([f"its bytes (md5 {md5}) are in no committed lock", *reasons]), remedy)


def _in_head_lock(path: str, root: Path) -> LockMatch | None:
    head = resolve_commit("HEAD", root)
    if head is None or (text := read_text_at(head, LOCK, root)) is None:
        return None
    lock = read_lock_at(head, root, text)
    entry = find_entry(lock, path)
    return LockMatch(head, lock, entry.md5, (path,)) if entry else None


def _trace(name: str, match: LockMatch, root: Path, *notes: str) -> Trace:
    revision, lock = match.revision, match.lock
    # A stage may have read other bytes under the same path than are made now; the md5 selects the right entry.
    entries = [entry for path in match.paths if (entry := find_entry(lock, path, match.md5))]
    subjects = tuple(describe_file(lock, entry) for entry in entries)
    steps = upstream_stages(lock, subjects)
    outside = {subject.path for subject in subjects if subject.stage is None}
    readers = tuple(stage for stage, locked in lock.stages.items() if outside & {dep.path for dep in locked.deps})
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
        name,
        revision,
        f"{title} ({', '.join(tags)})" if tags else title,
        subjects,
        steps,
        raw,
        environment,
        readers,
        find_contradictions(lock, subjects, steps, raw, revision, root),
        notes,
        tuple(_rebuild_commands(subjects, revision, root)),
    )


def _rebuild_commands(subjects: tuple[File, ...], revision: str, root: Path) -> Iterator[str]:
    """Return shell commands that rebuild the subjects, to be run at the top of the checkout."""
    short = revision[:12]
    in_git = set(git("ls-tree", "-r", "--name-only", "-z", "--full-tree", revision, cwd=root).split("\0"))
    for subject in subjects:
        if subject.path in in_git:
            yield f"git show {shlex.quote(f'{short}:{subject.path}')}  # its bytes are in git"
    stages = list(dict.fromkeys(subject.stage for subject in subjects if subject.stage))
    if stages:
        yield f"batchyield pin verify --rev {short}  # rebuilds everything in a scratch folder, compares with the lock"
    elif all(subject.path in in_git for subject in subjects):
        return
    folder = f"../batchyield-{short}"
    embedded = (root / ".dvc").is_dir() and bool(remotes.embedded_remotes(root))
    if embedded:
        yield "batchyield data s3 start  # the embedded S3 server of this checkout, which has the raw data"
    yield f"git clone --no-checkout . {folder}"
    yield f"git -C {folder} checkout --detach {short}"
    if embedded or (root / ".dvc/config.local").exists():  # for other remotes the keys may come from the environment
        yield f"cp .dvc/config.local {folder}/.dvc/  # endpoint and keys of the remotes"
    yield f"cd {folder}"
    yield "make setup"
    yield ". .venv/bin/activate"
    yield "batchyield data fetch  # the raw data, by their pin"
    if stages:
        yield f"dvc repro --no-run-cache {' '.join(stages)}"


def render(result: Trace) -> str:
    """Return the trace as text: tree, environment, contradictions, commands."""
    lines = [f"{result.asked}: in the lock of {result.revision[:12]}, {result.title}"]
    lines += [f"  {note}" for note in result.notes]
    if raw := result.raw:
        etag = f"etag {raw.etag or 'unknown'}, " if not raw.md5.endswith(".dir") else ""
        lines.append(f"  from {raw.url}, {etag}md5 {raw.md5}")
    lines.append("")
    shown: set[str] = set()
    lines += [line for subject in result.subjects for line in _tree(subject, result, shown)]
    if result.readers:
        lines.append(f"  read by {', '.join(result.readers)}")
    if result.environment is None:
        lines += ["", f"environment: no {FINGERPRINT} is committed there"]
    else:
        found = result.environment
        libraries = ", ".join(f"{name} {version}" for name, version in found.get("libraries", {}).items())
        machine = f"Python {found.get('python', 'unknown')}, {found.get('platform', 'unknown')}"
        features = f"{len(found.get('cpu', []))} CPU features"
        lines += ["", f"environment ({FINGERPRINT}): {machine}, {features}", f"  {libraries}"]
    if result.breaks:
        lines += ["", "BROKEN: the commit differs from what its lock was made from, so a rebuild may give other bytes"]
        lines += [f"  {problem}" for problem in result.breaks]
    return "\n".join(
        [*lines, "", "to rebuild, at the top of the checkout:", *(f"  {line}" for line in result.commands)]
    )


def _tree(file: File, result: Trace, shown: set[str], pad: str = "") -> Iterator[str]:
    """Return the lineage of a file as an indented tree without the stages and files in `shown`, and add its own."""
    size = "" if file.size is None else f"  {file.size:,} bytes"
    head = f"{pad}{file.path}  {file.md5[:8]}{size}"
    if file.stage is None:
        yield head + ("" if file.role == "data" else f"  {file.role}")
        if file.role == "raw data" and file.path not in shown:
            shown.add(file.path)
            imported = "the revision has no pin with the object that it was imported from"
            if raw := result.raw:
                size = "of unknown size" if raw.size is None else f"{raw.size:,} bytes"
                imported = f"imported from {raw.url}, etag {raw.etag or 'unknown'}, {size}"
                if raw.md5.endswith(".dir"):
                    imported = f"a folder that {raw.url} keeps, {size}"
            yield f"{pad}{INDENT}{imported}"
    elif file.stage in shown:
        yield f"{head}  made by {file.stage}, above"
    else:
        shown.add(file.stage)
        yield head
        step = next(step for step in result.steps if step.stage == file.stage)
        yield f"{pad}{INDENT}made by {step.stage}: {step.command}"
        inner = pad + 2 * INDENT
        for source, params in step.params.items():
            values = flatten(params).items()
            texts = [f"{k}={json.dumps(v, ensure_ascii=False, separators=(',', ':'))}" for k, v in values]
            yield from _listed(inner, source, texts)
        for role in LISTED_ROLES:
            texts = [f"{read.path}@{read.md5[:8]}" for read in step.inputs if read.role == role]
            if len(texts) > MAX_LISTED:
                texts = [f"{len(texts)} files; --json lists them"]
            yield from _listed(inner, role, texts)
        for read in step.inputs:
            if read.role not in LISTED_ROLES:
                yield from _tree(read, result, shown, inner)


def _listed(pad: str, label: str, items: list[str]) -> list[str]:
    if not items:
        return []
    first = f"{pad}{label:<{LABEL_CHARACTERS}}"
    return textwrap.wrap(
        " ".join(items),
        max(LINE_CHARACTERS, len(first) + 40),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
