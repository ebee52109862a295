"""Git revisions: their commits, their files and locks, and the newest lock that contains a hash."""

import re
from pathlib import Path
from typing import NamedTuple

from batchyield.errors import ArtifactError, CommandError, ConflictError, RevisionError
from batchyield.serving.lockfile import DvcLock, parse_lock
from batchyield.versioning import registry
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK

_OTHER_REVISION = f"`git log --oneline --all -- {LOCK}` lists the revisions that changed it: name another one"


class LockMatch(NamedTuple):
    """A lock that contains an md5, the full hash of its commit, and the files with that content, outputs first."""

    revision: str
    lock: DvcLock
    md5: str
    paths: tuple[str, ...]


def resolve_commit(revision: str, root: Path) -> str | None:
    """Return the full hash of a revision's commit, or None if there is no such revision.

    A revision is what git takes for one, else a released version (`1.2.0`, `v1.2.0`) or an environment (`prod`).

    Raises:
        CommandError: git refuses the repository, for example because another user owns it.
    """
    try:
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", cwd=root).strip()
    except CommandError:
        git("rev-parse", "--git-dir", cwd=root)
        return registry.find_commit(revision, root)
    if re.fullmatch(r"[a-z_-]+", revision) and (held := registry.find_commit(revision, root)) not in (None, commit):
        problem = f"{revision} is a branch or a tag ({commit[:12]}) and an environment ({str(held)[:12]})"
        raise RevisionError(problem, f"name the version, or refs/heads/{revision}")
    return commit


def require_commit(revision: str, root: Path) -> str:
    """Return the full hash of a revision's commit.

    Raises:
        RevisionError: git knows no such revision.
    """
    if (commit := resolve_commit(revision, root)) is None:
        raise RevisionError(
            f"'{revision}' is not a revision of this repository",
            "list revisions with `git log --oneline --all` and versions with `batchyield release list`, fetch those of "
            "others with `git fetch --all --tags`; "
            "a clone of depth 1 has no earlier commits",
        )
    return commit


def read_text_at(revision: str, path: str | Path, root: Path) -> str | None:
    """Return the text of a file at a revision, or None if the revision has no such file.

    Raises:
        ArtifactError: it is not text.
    """
    try:
        return git("cat-file", "blob", f"{revision}:{path}", cwd=root)
    except CommandError:
        return None
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{revision[:12]}:{path}", f"is not text: {error}", _OTHER_REVISION) from error


def read_lock_at(revision: str, root: Path, text: str | None = None) -> DvcLock:
    """Return the dvc.lock of a revision, parsed from `text` if the caller has read it.

    Raises:
        RevisionError: the revision has no lock.
        ArtifactError: the lock cannot be parsed.
    """
    text = read_text_at(revision, LOCK, root) if text is None else text
    if text is None:
        raise RevisionError(f"{revision[:12]} has no {LOCK}", _OTHER_REVISION)
    try:
        return parse_lock(text, f"{revision[:12]}:{LOCK}")
    except (ArtifactError, ConflictError) as error:
        # The usual remedy, `git checkout`, would restore the same bytes.
        problem = error.__cause__ or "it has git's conflict markers"
        raise ArtifactError(
            f"{revision[:12]}:{LOCK}", f"is not a readable DVC lock: {problem}", _OTHER_REVISION
        ) from error


def find_md5(prefix: str, root: Path) -> tuple[LockMatch | None, tuple[str, ...]]:
    """Search the lock of HEAD, then the locks of all branches and tags, newest first, for the beginning of an md5.

    Returns:
        The first lock that contains it, and a message for each lock before it that cannot be read.

    Raises:
        RevisionError: the prefix fits several hashes of that lock.
    """
    unreadable: list[str] = []
    # --full-history: includes locks of branches that a merge discarded
    touched = git("log", "--all", "--full-history", "--format=%H", "--", f":/{LOCK}", cwd=root).split()
    for revision in dict.fromkeys([*filter(None, [resolve_commit("HEAD", root)]), *touched]):
        try:
            text = read_text_at(revision, LOCK, root)
            if text is None or prefix not in text:  # avoids parsing most locks of a long history
                continue
            lock = read_lock_at(revision, root, text)
        except ArtifactError:
            unreadable.append(f"the lock of {revision[:12]} cannot be read and was skipped")
            continue
        entries = [entry for entry in lock.entries() if entry.md5.startswith(prefix)]
        if len({entry.md5 for entry in entries}) > 1:
            candidates = ", ".join(sorted({f"{entry.md5} ({entry.path})" for entry in entries}))
            raise RevisionError(
                f"{prefix} begins several hashes in the lock of {revision[:12]}: {candidates}", "give more digits"
            )
        if entries:
            paths = tuple(dict.fromkeys(entry.path for entry in entries))
            return LockMatch(revision, lock, entries[0].md5, paths), tuple(unreadable)
    return None, tuple(unreadable)
