"""Writes the registry: GTO creates the tags, git pushes them, and a tag that cannot be pushed is deleted again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gto import api
from gto.exceptions import GTOException

from batchyield.errors import CommandError, ConflictError, RevisionError
from batchyield.release.release_notes import OUTPUTS, model_files
from batchyield.versioning.git import git
from batchyield.versioning.provenance.lineage import read_raw_object
from batchyield.versioning.registry import FETCH, NAME, Release, parse_version, read_registry, resolve
from batchyield.versioning.revisions import read_lock_at

BUMPS = ("major", "minor", "patch")
FIRST = "0.1.0"


def next_version(version: str | None, bump: str, root: Path = Path()) -> str:
    """Return the given version, else the newest one bumped; the first is 0.1.0.

    Raises:
        ConflictError: the given version is not above the newest.
        RevisionError: the clone is shallow.
    """
    releases = read_registry(root).releases
    if version is None:
        if not releases:
            return FIRST
        parts = list(releases[0].order)
        at = BUMPS.index(bump)
        return ".".join(map(str, [*parts[:at], parts[at] + 1, *[0] * (2 - at)]))
    version = parse_version(version)
    if releases and Release(version, "", "", "").order <= releases[0].order:
        raise ConflictError(
            f"{version} is not above {releases[0].version}, the newest release",
            f"give a higher one, or --bump {'|'.join(BUMPS)}; {FETCH}",
        )
    return version


def register(version: str, text: str, root: Path = Path(), *, push: bool = False) -> Release:
    """Tag HEAD as a version, with a message, and return the release; `push` sends the tag to `origin`.

    Raises:
        ConflictError: the commit or the version has a release, or the tag cannot be pushed.
        CommandError: git has no identity for the tagger.
    """
    _create(api.register, root, "HEAD", push=push, version=f"v{version}", message=text)
    return resolve(version, root)


def tag_message(version: str, root: Path = Path()) -> str:
    """Return the message of the tag that releases HEAD: the hashes of the model and of the raw data."""
    rows = [f"{OUTPUTS}{name} md5 {md5}" for name, md5 in model_files(read_lock_at("HEAD", root)).items()]
    if raw := read_raw_object("HEAD", root):
        rows.append(f"raw data md5 {raw.md5}")
    return "\n".join([f"{NAME} {version}", "", *rows])


def promote(environment: str, version: str | None, root: Path = Path(), *, push: bool = False) -> tuple[Release, str]:
    """Assign a version, which may be older, or that of another environment to an environment; None: the newest.

    Returns:
        The release, and the tag; an empty tag if the environment has that version already.

    Raises:
        RevisionError: there is no such version.
        ConflictError: GTO refuses the environment, or the tag cannot be pushed.
    """
    release = resolve(version or "", root)
    if environment in release.environments:
        return release, ""
    text = f"{NAME} {release.version} in environment {environment}\n\ncommit {release.revision}"
    # force: GTO refuses to assign a version to an environment that it was in before.
    tag = _create(api.assign, root, environment, push=push, version=f"v{release.version}", message=text, force=True)
    return resolve(release.version, root), tag


def promote_previous(environment: str, root: Path = Path(), *, push: bool = False) -> tuple[Release, str]:
    """Assign the previous version of an environment to it again; return the release and the tag, as `promote`.

    Raises:
        RevisionError: the environment had no other version.
    """
    held = read_registry(root).environments().get(environment, [])
    if len(held) < 2:
        now = f"holds {held[0]}, its first" if held else "holds none"
        raise RevisionError(
            f"no version was in environment {environment} before: it {now}",
            f"`batchyield release promote {environment} VERSION` names one; {FETCH}",
        )
    return promote(environment, held[-2], root, push=push)


def _create(create: Callable[..., Any], root: Path, *what: str, push: bool, **options: Any) -> str:
    """Create a tag by a function of `gto.api`, push it if asked, and return its name."""
    # GTO knows only some of git's settings for the identity of the tagger.
    name, _, rest = git("var", "GIT_COMMITTER_IDENT", cwd=root).partition(" <")
    try:
        created = create(root, NAME, *what, author=name, author_email=rest.partition(">")[0], **options)
    except GTOException as error:
        raise ConflictError(
            f"GTO refuses: {error}", f"`batchyield release list` lists versions and environments; {FETCH}"
        ) from error
    tag: str = created.tag
    if push:
        try:
            git("push", "--quiet", "origin", f"refs/tags/{tag}", cwd=root)
        except CommandError as error:
            git("tag", "--delete", tag, cwd=root)
            raise ConflictError(
                f"{tag} could not be pushed and is deleted again: {error}",
                "if it exists there already, another release came first: `git fetch --tags`, then run the same again",
            ) from error
    return tag
