"""Compare everything that a checkout pins with S3, byte by byte."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batchyield.errors import ArtifactError
from batchyield.serving.lockfile import read_lock
from batchyield.versioning.git import git, is_shallow
from batchyield.versioning.lock_diff import LOCK, align_columns
from batchyield.versioning.storage import raw_data, remotes, s3_objects
from batchyield.versioning.storage.s3_objects import ObjectState, Orphan, SourceStatus, StoredCopy, Versioning

MAX_LISTED = 20
PUSH, MOST_NAMED = "dvc push", 3
PINS = ("dvc.lock", ".dvc")
HASH = re.compile(r"\bmd5: '?([0-9a-f]{32}(?:\.dir)?)\b")


class Audit(msgspec.Struct, frozen=True):
    """Result of an audit.

    Attributes:
        problems: what is missing or corrupt, one message each.
        warnings: what may be lost later, or is not needed.
        storage: its URL.
        source: of the raw file; None for a folder, which only the storage has.
        copies: every pinned file in the storage, the raw data first, then in pipeline order.
        orphans: objects in the storage that no revision pins.
        revisions: the revisions whose pins were read, in words.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    source: SourceStatus | None
    storage: str
    copies: tuple[StoredCopy, ...]
    orphans: tuple[Orphan, ...]
    revisions: str

    @property
    def sound(self) -> bool:
        """Whether nothing is missing or corrupt."""
        return not self.problems


def audit(root: Path = Path(), *, s3_port: int | None = None) -> Audit:
    """Compare the pins of the working tree at `root` with the source bucket and the storage, without changing them.

    `s3_port` is that of the embedded server, if the remotes use it and it is not running.

    Raises:
        StorageError: S3 cannot be reached, or refuses.
        ArtifactError: lock or pin cannot be read.
    """
    pin, expected = raw_data.read_pin(root), _expected(root)
    with remotes.started(root, s3_port):
        source = None if pin.is_folder else raw_data.check_source(root, pin)
        storage = remotes.s3_client("storage", root)
        copies = tuple(_copies(storage, [(pin.data.as_posix(), pin.md5), *expected]))
        pinned = read_pinned_hashes(root)
        orphans = _orphans(storage, pinned, copies)
    problems = (*(_source_problems(source, copies[0]) if source else ()), *copy_problems(copies, storage.url()))
    warnings = tuple(_warnings(source, copies[0], orphans, pinned))
    return Audit(problems, warnings, source, storage.url(), copies, orphans, pinned.revisions)


class PinnedHashes(NamedTuple):
    """The hashes that any revision pins, the revisions in words, and whether the clone has the whole history."""

    md5s: frozenset[str]
    revisions: str
    complete: bool


def read_pinned_hashes(root: Path = Path()) -> PinnedHashes:
    """Return the hashes in the locks and `.dvc` files of the working tree and of every commit that a ref reaches.

    Hashes are found by a regular expression, so that a lock that can no longer be parsed still counts.

    Raises:
        CommandError: `root` is not a git repository.
    """
    specs = [f":(top,glob)**/*{name}" for name in PINS]
    # --full-history: includes locks of a branch that was merged with `-s ours`.
    files = ("--objects", "--filter=object:type=blob")  # a folder may be named `.dvc` too
    listed = git("rev-list", *files, "--all", "HEAD", "--full-history", "--", *specs, cwd=root)
    blobs = sorted({line.split(" ", 1)[0] for line in listed.splitlines() if line.endswith(PINS)})
    texts = [git("cat-file", "blob", blob, cwd=root) for blob in blobs]
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *specs, cwd=root)
    here = [root / name for name in listed.split("\0") if name]
    texts += [file.read_text("utf-8", errors="replace") for file in here if file.is_file()]
    count = git("rev-list", "--count", "--all", "HEAD", cwd=root).strip()
    revisions = (
        f"the working tree, HEAD and all {count} commits of every local ref (branches, tags, experiments, stashes)"
    )
    return PinnedHashes(frozenset(HASH.findall("\n".join(texts))), revisions, not is_shallow(root))


def _expected(root: Path) -> list[tuple[str, str]]:
    """Return path and md5 of every output that dvc.yaml keeps in the storage instead of git."""
    try:
        stages: dict[str, dict[str, Any]] = msgspec.yaml.decode((root / "dvc.yaml").read_bytes())["stages"]
    except (OSError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise ArtifactError("dvc.yaml", f"is not a readable pipeline: {error}", "`git checkout dvc.yaml`") from error
    elsewhere = {
        path
        for stage in stages.values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, ())
        if isinstance(out, dict)
        for path, options in out.items()
        if options and (options.get("cache") is False or options.get("push") is False)
    }
    outs = read_lock(root / LOCK).outs()
    return [(path, md5) for path, (_, md5) in outs.items() if path not in elsewhere]


def _copies(storage: remotes.Remote, pinned: list[tuple[str, str]]) -> Iterator[StoredCopy]:
    for path, md5 in pinned:
        copy = s3_objects.check_copy(storage, "storage", path, md5)
        yield copy
        yield from _copies(storage, s3_objects.list_members(storage, "storage", copy))


def _orphans(storage: remotes.Remote, pinned: PinnedHashes, copies: tuple[StoredCopy, ...]) -> tuple[Orphan, ...]:
    objects = s3_objects.list_objects(storage, "storage")
    named = {s3_objects.storage_key(storage, md5) for md5 in pinned.md5s} | {copy.key for copy in copies}
    folders = [
        ("", md5)
        for md5 in sorted(pinned.md5s)
        if md5.endswith(".dir") and s3_objects.storage_key(storage, md5) in objects
    ]
    named |= {copy.key for copy in _copies(storage, folders)}
    return tuple(Orphan(key, size) for key, size in objects.items() if key not in named)


def copy_problems(copies: tuple[StoredCopy, ...], storage: str) -> Iterator[str]:
    """Return a message for each corrupt copy and each missing one, or one for many that the same command pushes."""
    if len(copies) > 1 and all(copy.state is ObjectState.MISSING for copy in copies):
        yield (
            f"{storage} has none of the {len(copies)} pinned files; run `batchyield data mirror` and `dvc push` "
            "where they are"
        )
        return
    wrong = [copy for copy in copies if copy.state is not ObjectState.INTACT]
    unpushed = [copy for copy in wrong if copy.state is ObjectState.MISSING and _remedy(copy) == PUSH]
    if len(unpushed) > MOST_NAMED:
        first = ", ".join(copy.path for copy in unpushed[:MOST_NAMED])
        yield f"{len(unpushed)} files have no copy in the storage: {first}, …; run `{PUSH}` where the files are"
        wrong = [copy for copy in wrong if copy not in unpushed]
    yield from map(_copy_problem, wrong)


def _remedy(copy: StoredCopy) -> str:
    return "batchyield data mirror" if copy.path.startswith(raw_data.PATHS) else PUSH


def _copy_problem(copy: StoredCopy) -> str:
    remedy = _remedy(copy)
    if copy.state is ObjectState.MISSING:
        return f"{copy.path} has no copy in the storage: {copy.key} is missing; run `{remedy}` where the file is"
    return (
        f"{copy.path} is corrupt in the storage: {copy.key} has {copy.found}; "
        f"delete that object and run `{remedy}` where the file is"
    )


def _source_problems(source: SourceStatus, mirror: StoredCopy) -> Iterator[str]:
    usable = "; its mirror in our storage is intact, so `batchyield data fetch` still works"
    rest = usable if mirror.state is ObjectState.INTACT else ""
    if source.state is ObjectState.MISSING:
        which = f" in version {source.version}" if source.version else ""
        yield f"the pinned raw data are gone from the source: {source.url} does not exist{which}{rest}"
    elif source.state is ObjectState.CHANGED:
        yield f"the source differs from its pin: {source.url} has {source.found}, pinned is {source.pinned}{rest}"


def _warnings(
    source: SourceStatus | None, copy: StoredCopy, orphans: tuple[Orphan, ...], pinned: PinnedHashes
) -> Iterator[str]:
    if source and source.versioning is not Versioning.ON:
        kept = copy.state is ObjectState.INTACT
        rest = "the copy in the storage is the only other one" if kept else "there is no other copy"
        yield f"versioning of the source bucket is {source.versioning}: an overwritten object is gone, and {rest}"
    if source and source.state is ObjectState.OLDER:
        yield f"the source has a newer version; the pinned raw data are its version {source.version}"
    if orphans:
        size = sum(orphan.size for orphan in orphans)
        count = f"{len(orphans)} object{'s' * (len(orphans) > 1)}"
        yield f"in the storage, but pinned by no revision: {count}, {size} bytes"
    if not pinned.complete:
        yield "this clone is shallow, so objects of older commits count as orphans: `git fetch --unshallow`"


def render(result: Audit) -> str:
    """Return the audit as text: the verdict, problems and warnings, then every object."""
    count, bad = len(result.copies), len(result.problems)
    sound = f"SOUND: all {count} pinned files are intact in {result.storage}"
    if result.source:
        sound += ", and the source has the pinned raw data"
    lines = [sound if result.sound else f"NOT SOUND: {bad} problem{'s' * (bad > 1)}"]
    lines += [f"  problem: {problem}" for problem in result.problems]
    lines += [f"  warning: {warning}" for warning in result.warnings]
    if source := result.source:
        version = f", version {source.version}" if source.version else ""
        lines += ["", f"source   {source.url}  {source.state}, versioning {source.versioning}"]
        lines += [f"         {source.pinned}{version}"]
        lines += [f"mirror   of it in our storage: {result.copies[0].state}"]
    else:
        lines += ["", f"raw data {result.copies[0].path}, a folder that only our storage has"]
    lines += [f"storage  {result.storage}"]
    lines += align_columns((copy.state, copy.path, copy.md5) for copy in result.copies)
    lines += [f"orphans  {len(result.orphans)}, compared with {result.revisions}"]
    lines += [f"  {orphan.key}  {orphan.size} bytes" for orphan in result.orphans[:MAX_LISTED]]
    if len(result.orphans) > MAX_LISTED:
        lines.append(f"  and {len(result.orphans) - MAX_LISTED} more; --json lists all")
    return "\n".join(lines)
