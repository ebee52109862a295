"""Could this checkout be rebuilt and served elsewhere, tomorrow? Its pins laid beside what S3 holds, byte by byte."""

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

SHOWN = 20
PINS = ("dvc.lock", ".dvc")
HASH = re.compile(r"\bmd5: '?([0-9a-f]{32}(?:\.dir)?)\b")


class Audit(msgspec.Struct, frozen=True):
    """A whole audit.

    Attributes:
        problems: what is missing or corrupt, one sentence each; empty where nothing is.
        warnings: what may come to harm later, or only takes room.
        source: the raw object where it came from.
        storage: url of the remote that keeps what DVC pins.
        copies: every pinned file there, the raw data first, then in pipeline order.
        orphans: objects there that no revision pins.
        revisions: which revisions were asked for `orphans`.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    source: SourceStatus
    storage: str
    copies: tuple[StoredCopy, ...]
    orphans: tuple[Orphan, ...]
    revisions: str

    @property
    def sound(self) -> bool:
        """Whether nothing is missing or corrupt; warnings do not count."""
        return not self.problems


def audit(root: Path = Path(), *, s3_port: int | None = None) -> Audit:
    """Compares the pins of the working tree at `root` with the source bucket and with our storage; writes to neither.

    Args:
        root: the checkout.
        s3_port: of the embedded server, where the remotes point at it and it does not run yet.

    Raises:
        SetupError: S3 cannot be asked, or this is no checkout.
        ArtifactError: lock or pin are not readable.
    """
    pin, expected = raw_data.read_pin(root), _expected(root)
    with remotes.started(root, s3_port):
        source = raw_data.check_source(root, pin)
        storage = remotes.s3_client("storage", root)
        copies = tuple(_copies(storage, [(raw_data.DATA.as_posix(), pin.outs[0].md5), *expected]))
        ever = read_pinned_hashes(root)
        orphans = _orphans(storage, ever, copies)
    problems = (*_source_problems(source, copies[0]), *map(_copy_problem, _spoilt(copies)))
    warnings = tuple(_warnings(source, copies[0], orphans, ever))
    return Audit(problems, warnings, source, storage.url(), copies, orphans, ever.said)


class PinnedHashes(NamedTuple):
    """What was looked through, and what it pins.

    Attributes:
        md5s: of every file that a lock or a `.dvc` file names, as output or as input.
        said: which revisions these are.
        whole: whether all revisions were at hand.
    """

    md5s: frozenset[str]
    said: str
    whole: bool


def read_pinned_hashes(root: Path = Path()) -> PinnedHashes:
    """Reads the locks of the working tree and of every commit that any ref reaches.

    Hashes are picked from the text, so that an old lock which no longer parses still protects what it names.

    Raises:
        SetupError: `root` is no git repository.
    """
    specs = [f":(top,glob)**/*{name}" for name in PINS]
    # --full-history: a lock that lived only on a branch merged away with `-s ours` could still be checked out.
    files = ("--objects", "--filter=object:type=blob")  # a folder may be called `.dvc` too
    listed = git("rev-list", *files, "--all", "HEAD", "--full-history", "--", *specs, cwd=root)
    blobs = sorted({line.split(" ", 1)[0] for line in listed.splitlines() if line.endswith(PINS)})
    texts = [git("cat-file", "blob", blob, cwd=root) for blob in blobs]
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *specs, cwd=root)
    here = [root / name for name in listed.split("\0") if name]
    texts += [file.read_text(errors="replace") for file in here if file.is_file()]
    commits = git("rev-list", "--count", "--all", "HEAD", cwd=root).strip()
    said = f"the working tree, HEAD and all {commits} commits of every local ref (branches, tags, experiments, stashes)"
    return PinnedHashes(frozenset(HASH.findall("\n".join(texts))), said, not is_shallow(root))


def _expected(root: Path) -> list[tuple[str, str]]:
    """Path and md5 of every output that belongs in the storage: those that dvc.yaml does not leave to git."""
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
        found = s3_objects.check_copy(storage, "storage", path, md5)
        yield found
        yield from _copies(storage, s3_objects.list_members(storage, "storage", found))


def _orphans(storage: remotes.Remote, ever: PinnedHashes, copies: tuple[StoredCopy, ...]) -> tuple[Orphan, ...]:
    held = s3_objects.list_objects(storage, "storage")
    named = {s3_objects.storage_key(storage, md5) for md5 in ever.md5s} | {copy.key for copy in copies}
    folders = [
        ("", md5) for md5 in sorted(ever.md5s) if md5.endswith(".dir") and s3_objects.storage_key(storage, md5) in held
    ]
    named |= {copy.key for copy in _copies(storage, folders)}
    return tuple(Orphan(key, size) for key, size in held.items() if key not in named)


def _spoilt(copies: tuple[StoredCopy, ...]) -> Iterator[StoredCopy]:
    return (copy for copy in copies if copy.state is not ObjectState.INTACT)


def _copy_problem(copy: StoredCopy) -> str:
    remedy = "batchyield data mirror" if copy.path == raw_data.DATA.as_posix() else "dvc push"
    if copy.state is ObjectState.MISSING:
        return f"{copy.path} has no copy in the storage: {copy.key} is missing; `{remedy}` where the file is at hand"
    return (
        f"{copy.path} is corrupt in the storage: {copy.key} has {copy.found}; "
        f"delete that object and `{remedy}` where the file is at hand"
    )


def _source_problems(source: SourceStatus, mirror: StoredCopy) -> Iterator[str]:
    kept = "; its mirror in our storage is intact, so `batchyield data fetch` still brings it"
    rest = kept if mirror.state is ObjectState.INTACT else ""
    if source.state is ObjectState.MISSING:
        which = f" in version {source.version}" if source.version else ""
        yield f"the pinned raw data are gone from the source: {source.url} does not exist{which}{rest}"
    elif source.state is ObjectState.CHANGED:
        told = f"{source.url} has {source.found}, pinned is {source.pinned}"
        yield f"the source is no longer what is pinned: {told}{rest}"


def _warnings(source: SourceStatus, copy: StoredCopy, orphans: tuple[Orphan, ...], ever: PinnedHashes) -> Iterator[str]:
    if source.versioning is not Versioning.ON:
        rest = (
            "the copy in the storage is the only other one"
            if copy.state is ObjectState.INTACT
            else "there is no other copy"
        )
        yield f"versioning of the source bucket is {source.versioning}: an overwritten object is gone, and {rest}"
    if source.state is ObjectState.OLDER:
        yield f"the source has moved on; the pinned raw data are its version {source.version}"
    if orphans:
        size = sum(orphan.size for orphan in orphans)
        count = f"{len(orphans)} object{'s' * (len(orphans) > 1)}"
        yield f"pinned by no revision, yet in the storage: {count}, {size} bytes"
    if not ever.whole:
        yield "this clone is shallow, so objects of older commits count as orphans: `git fetch --unshallow`"


def render(made: Audit) -> str:
    """The audit for people: the verdict, what it rests on, then every object."""
    count, bad = len(made.copies), len(made.problems)
    lines = [
        f"SOUND: all {count} pinned files are intact in {made.storage}, and the source has the pinned raw data"
        if made.sound
        else f"NOT SOUND: {bad} problem{'s' * (bad > 1)}"
    ]
    lines += [f"  problem: {problem}" for problem in made.problems]
    lines += [f"  warning: {warning}" for warning in made.warnings]
    lines += ["", f"source   {made.source.url}  {made.source.state}, versioning {made.source.versioning}"]
    lines += [f"         {made.source.pinned}" + (f", version {made.source.version}" if made.source.version else "")]
    lines += [f"mirror   of it in our storage: {made.copies[0].state}", f"storage  {made.storage}"]
    lines += align_columns((copy.state, copy.path, copy.md5) for copy in made.copies)
    lines += [f"orphans  {len(made.orphans)}, looking through {made.revisions}"]
    lines += [f"  {orphan.key}  {orphan.size} bytes" for orphan in made.orphans[:SHOWN]]
    if len(made.orphans) > SHOWN:
        lines.append(f"  and {len(made.orphans) - SHOWN} more; --json names them all")
    return "\n".join(lines)
