"""Follow a lock upstream: from a file to the stage that makes it, the inputs of that stage, and the raw object."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from batchyield.errors import ArtifactError, CommandError
from batchyield.files import folder_list, md5_of
from batchyield.serving.lockfile import DvcLock, LockedFile
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import flatten, input_role
from batchyield.versioning.revisions import read_text_at
from batchyield.versioning.storage.raw_data import PATHS, read_pin_at


class File(msgspec.Struct, frozen=True):
    """A file and its content hash.

    Attributes:
        role: `output`, `raw data`, `code`, `environment`, or `data` for other inputs.
        stage: the stage that makes it, or None.
    """

    path: str
    md5: str
    size: int | None
    role: str
    stage: str | None


class Step(msgspec.Struct, frozen=True):
    """A stage upstream of a traced file: its command, its params by file, and its inputs."""

    stage: str
    command: str
    params: dict[str, Any]
    inputs: tuple[File, ...]


class RawObject(msgspec.Struct, frozen=True):
    """The object that the raw data were imported from, as the pin names it; `md5` is that of the imported file.

    A folder was not imported: its url is that of the storage, and it has no ETag.
    """

    url: str
    etag: str | None
    size: int | None
    md5: str


def find_entry(lock: DvcLock, path: str, md5: str = "") -> LockedFile | None:
    """Return the entry of a path, with this md5 if given: an output, else an input of a stage, else None."""
    return next((e for e in lock.entries() if e.path == path and e.md5.startswith(md5)), None)


def describe_file(lock: DvcLock, entry: LockedFile) -> File:
    """Return an entry of a lock with its role and the stage that makes it."""
    maker = lock.outs().get(entry.path)
    outside = "raw data" if entry.path in PATHS else input_role(entry.path)
    return File(entry.path, entry.md5, entry.size, "output" if maker else outside, maker[0] if maker else None)


def upstream_stages(lock: DvcLock, subjects: Iterable[File]) -> tuple[Step, ...]:
    """Return the stages that `subjects` were made by, directly or not, nearest first, each once."""
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
    """Return the object that a revision's raw pin names, or None if the revision has no such pin.

    Raises:
        ArtifactError: the pin cannot be read.
    """
    if (pin := read_pin_at(revision, root)) is None:
        return None
    if pin.is_folder:
        return RawObject("remote://storage", None, pin.outs[0].size, pin.md5)
    source = pin.deps[0]
    return RawObject(source.path, source.etag, source.size, pin.md5)


def find_contradictions(
    lock: DvcLock, subjects: Iterable[File], steps: Iterable[Step], raw: RawObject | None, revision: str, root: Path
) -> tuple[str, ...]:
    """Return where a commit contradicts its own lock, so that a rebuild may give other bytes; one message each."""
    outs = lock.outs()
    tracked = set(
        git("ls-tree", "-r", "--name-only", "-z", "--full-tree", revision, "--", "data", cwd=root).split("\0")
    )
    stages = _yaml_at("dvc.yaml", revision, root).get("stages", {})
    messages = {
        f"dvc.yaml has the stage {name}, and the lock has not": None for name in stages if name not in lock.stages
    }
    for subject in subjects:
        if subject.stage and subject.path in tracked and (differs := _difference(subject, revision, root)):
            messages[f"{subject.stage} wrote {subject.path} as {subject.md5}, and the commit {differs}"] = None
        if subject.stage and outs[subject.path][1] != subject.md5:
            problem = f"a stage read {subject.path} as {subject.md5}, and {subject.stage} makes {outs[subject.path][1]}"
            messages[problem] = None
    for step in steps:
        made = {path for path, (stage, _) in outs.items() if stage == step.stage}
        declared = stages.get(step.stage, {}) if stages else None
        messages |= dict.fromkeys(_changed_stage(step, made, declared, revision, root))
        for read in step.inputs:
            read_it = f"{step.stage} read {read.path} as {read.md5}"
            if read.role == "output" and outs[read.path][1] != read.md5:
                messages[f"{read_it}, and {read.stage} makes {outs[read.path][1]}"] = None
            elif read.role == "raw data" and raw and raw.md5 != read.md5:
                messages[f"{read_it}, and {read.path}.dvc pins {raw.md5}"] = None
            elif read.role not in ("output", "raw data") and (differs := _difference(read, revision, root)):
                messages.setdefault(f"the lock was made with {read.path} as {read.md5}, and the commit {differs}")
    return tuple(messages)


def _changed_stage(
    step: Step, made: set[str], declared: dict[str, Any] | None, revision: str, root: Path
) -> Iterator[str]:
    """Yield where a revision is not what a stage ran with.

    Args:
        made: paths of the stage's outputs in the lock.
        declared: the stage in `dvc.yaml`; None if there is no such file.
    """
    if declared is not None:
        if declared.get("cmd") != step.command:
            yield f"{step.stage} ran {step.command!r}, and dvc.yaml has {declared.get('cmd')!r}"
        outputs = [out for kind in ("outs", "metrics", "plots") for out in declared.get(kind, ())]
        for entries, locked in ((declared.get("deps", ()), {read.path for read in step.inputs}), (outputs, made)):
            names = {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
            if changed := sorted(names ^ locked):
                yield f"{step.stage} has other inputs or outputs in dvc.yaml than in the lock: {', '.join(changed)}"
    for file, values in step.params.items():
        if not (now := _yaml_at(file, revision, root)):
            continue
        before, named = flatten(values), tuple(values)  # of a stage's params, a group or a dotted value
        after = {key: value for key, value in flatten(now).items() if any(f"{key}.".startswith(f"{n}.") for n in named)}
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                yield f"{step.stage} ran with {key}={before.get(key)}, and {file} has {after.get(key)}"


def _yaml_at(path: str, revision: str, root: Path) -> dict[str, Any]:
    text = read_text_at(revision, path, root)
    try:
        return yaml.safe_load(text or "") or {}
    except yaml.YAMLError as error:
        raise ArtifactError(f"{revision[:12]}:{path}", f"is not YAML: {error}", "correct it and commit") from error


def _difference(read: File, revision: str, root: Path) -> str | None:
    hash_at = _folder_md5s if read.md5.endswith(".dir") else _md5s
    try:
        md5s = hash_at(read.path, revision, root)
    except CommandError:
        return "does not have it"
    return None if read.md5 in md5s else f"has {md5s[0]}"


def _md5s(path: str, revision: str, root: Path) -> list[str]:
    text = git("cat-file", "blob", f"{revision}:{path}", cwd=root).replace("\r\n", "\n")
    # The lock may have been made in a checkout with other line ends.
    return [md5_of(form.encode()) for form in (text, text.replace("\n", "\r\n"))]


def _folder_md5s(path: str, revision: str, root: Path) -> list[str]:
    """Return the md5 that DVC gives a folder: that of the JSON list of its files."""
    listed = git("ls-tree", "-r", "-z", "--name-only", "--full-tree", f"{revision}:{path}", cwd=root).split("\0")
    files = {name: _md5s(f"{path}/{name}", revision, root)[0] for name in listed if name}
    return [f"{md5_of(folder_list(files))}.dir"]
