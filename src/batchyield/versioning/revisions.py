"""Where a hash stands: in the lock of HEAD, or else in the newest lock of the history that names it."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from batchyield.errors import ArtifactError, SetupError
from batchyield.serving.lockfile import DvcLock, LockedFile, parse_lock
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK


class LockMatch(NamedTuple):
    """A lock that names the hash that was looked for.

    Attributes:
        revision: the commit of the lock, in full.
        lock: all of it.
        md5: the hash in full.
        paths: the files with that content, outputs first.
    """

    revision: str
    lock: DvcLock
    md5: str
    paths: tuple[str, ...]


def resolve_commit(revision: str, root: Path) -> str | None:
    """The full hash of a revision's commit; None where git knows no such revision."""
    with contextlib.suppress(SetupError):
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", cwd=root).strip()
    return None


def require_commit(revision: str, root: Path) -> str:
    """Return the full hash of a revision's commit.

    Raises:
        SetupError: git knows no such revision.
    """
    found = resolve_commit(revision, root)
    if found is None:
        raise SetupError(
            f"{revision} is not a revision of this repository",
            "`git log --oneline --all` lists what there is, `git fetch --all --tags` brings what others pushed; "
            "a clone of depth 1 has no earlier commits",
        )
    return found


def read_text_at(revision: str, path: str | Path, root: Path) -> str | None:
    """A file's text as git has it at a revision; None where it has none.

    Raises:
        ArtifactError: it is not text.
    """
    try:
        return git("cat-file", "blob", f"{revision}:{path}", cwd=root)
    except SetupError:
        return None
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{revision[:12]}:{path}", f"is not text: {error}", _OTHER_REVISION) from error


def read_lock_at(revision: str, root: Path, text: str | None = None) -> DvcLock:
    """The lock as git has it at a commit.

    Raises:
        SetupError: the commit has no lock.
        ArtifactError: what it has is not readable as one.
    """
    text = read_text_at(revision, LOCK, root) if text is None else text
    if text is None:
        raise SetupError(f"{revision[:12]} has no {LOCK}", _OTHER_REVISION)
    try:
        return parse_lock(text, f"{revision[:12]}:{LOCK}")
    except ArtifactError as error:
        # git already holds these bytes, so the usual advice to check the file out again would bring them back
        raise ArtifactError(
            f"{revision[:12]}:{LOCK}", f"is not a readable DVC lock: {error.__cause__}", _OTHER_REVISION
        ) from error


def find_md5(prefix: str, root: Path) -> tuple[LockMatch | None, tuple[str, ...]]:
    """Looks for a hash in the lock of HEAD, then in every lock of all branches and tags, newest first.

    Args:
        prefix: the md5 or its beginning, in lower case.
        root: the checkout.

    Returns:
        The first lock that names it, and the commits before that one whose lock holds the text but cannot be read.

    Raises:
        SetupError: the prefix fits several hashes of that lock.
    """
    unreadable: list[str] = []
    # --full-history: a lock that a merge left behind was built, too
    touched = git("log", "--all", "--full-history", "--format=%H", "--", f":/{LOCK}", cwd=root).split()
    for revision in dict.fromkeys([*filter(None, [resolve_commit("HEAD", root)]), *touched]):
        try:
            text = read_text_at(revision, LOCK, root)
            if text is None or prefix not in text:  # spares reading most of a long history as YAML
                continue
            lock = read_lock_at(revision, root, text)
        except ArtifactError:
            unreadable.append(revision)
            continue
        if found := [entry for entry in lock.entries() if entry.md5.startswith(prefix)]:
            return _sighting(revision, lock, prefix, found), tuple(unreadable)
    return None, tuple(unreadable)


def _sighting(revision: str, lock: DvcLock, prefix: str, found: list[LockedFile]) -> LockMatch:
    several = sorted({f"{entry.md5} ({entry.path})" for entry in found})
    if len({entry.md5 for entry in found}) > 1:
        raise SetupError(
            f"{prefix} begins several hashes in the lock of {revision[:12]}: {', '.join(several)}",
            "give more digits of the one that is meant",
        )
    return LockMatch(revision, lock, found[0].md5, tuple(dict.fromkeys(entry.path for entry in found)))


_OTHER_REVISION = f"`git log --oneline --all -- {LOCK}` lists the revisions that changed it: name another one"
