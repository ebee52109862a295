"""Registry of released models: versions and their environments (GTO stages), read by GTO from annotated git tags.

`yield-model@v1.2.0` registers a version, `yield-model#prod#7` assigns the version of its commit to a stage, and a `!`
after either revokes it. The number that ends a stage's tag grows with each assignment, so two clones that assign at the
same time create the same tag, and the second push is refused.
"""

import re
from pathlib import Path

import msgspec

from batchyield.errors import ConfigError, RevisionError
from batchyield.versioning.git import UNSHALLOW, git, is_shallow

NAME = "yield-model"
"""Name of the model in `artifacts:` of dvc.yaml."""

FETCH = "`git fetch --tags` fetches the releases of others"


class Release(msgspec.Struct, frozen=True):
    """A released version.

    Attributes:
        version: without the `v` of the tag, as pip writes it.
        date: of the tag, ISO 8601.
    """

    version: str
    tag: str
    revision: str
    date: str
    stages: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """Sort key of the version."""
        return tuple(map(int, self.version.split(".")))


class StageMove(msgspec.Struct, frozen=True):
    """Assignment of a version to a stage; None: the stage was emptied."""

    stage: str
    version: str | None
    tag: str
    date: str


class Registry(msgspec.Struct, frozen=True):
    """The releases in the tags of a clone, newest version first, and the moves of all stages, the latest last."""

    releases: tuple[Release, ...]
    moves: tuple[StageMove, ...]

    def stages(self) -> dict[str, list[str]]:
        """Return for each stage its stack of versions, the current item last; empty stages are left out.

        Returning to the previous version pops the stack, so that the next `--back` goes item version further.
        """
        held: dict[str, list[str]] = {}
        for move in self.moves:
            versions = held.setdefault(move.stage, [])
            if move.version is None:
                versions.clear()
            elif versions[-2:-1] == [move.version]:
                versions.pop()
            elif versions[-1:] != [move.version]:
                versions.append(move.version)
        return {stage: versions for stage, versions in held.items() if versions}

    def release(self, version: str) -> Release | None:
        """Return the release of a version, or None."""
        return next((item for item in self.releases if item.version == version), None)


def read_registry(root: Path = Path()) -> Registry:
    """Return the registry of the clone at `root`.

    Raises:
        CommandError: `root` is not a git repository.
        RevisionError: its tags contradict each other.
    """
    from gto import api
    from gto.exceptions import GTOException

    git("rev-parse", "--git-dir", cwd=root)
    try:
        events = api.history(root, NAME)
    except GTOException as error:
        raise RevisionError(f"GTO cannot read the release tags: {error}", missing_tags_hint(root)) from error
    # Two assignments may fall into item second; the number that ends the tag orders them.
    events.sort(key=lambda event: (event["timestamp"], api.parse_tag(event["ref"]).get("counter", 0)))
    releases: dict[str, Release] = {}
    moves = []
    for event in events:
        version, tag, date = (event["version"] or "").removeprefix("v"), event["ref"], event["timestamp"].isoformat()
        if event["event"] == "registration":
            releases[version] = Release(version, tag, event["commit"], date)
        elif event["event"] == "deregistration":
            releases.pop(version, None)
        elif event["stage"]:
            moves.append(StageMove(event["stage"], version if event["event"] == "assignment" else None, tag, date))
    known = (m if m.version in releases else msgspec.structs.replace(m, version=None) for m in moves)
    newest = sorted(releases.values(), key=lambda item: item.order, reverse=True)
    registry = Registry(tuple(newest), tuple(known))
    current = {stage: versions[-1] for stage, versions in registry.stages().items()}
    staged = (
        msgspec.structs.replace(item, stages=tuple(s for s, version in current.items() if version == item.version))
        for item in newest
    )
    return Registry(tuple(staged), registry.moves)


def resolve(name: str = NAME, root: Path = Path(), *, stage: str | None = None, version: str | None = None) -> Release:
    """Return the release in a stage, or of a version; the newest if neither is given.

    Raises:
        RevisionError: this clone has no such release.
        ConfigError: the model has another name.
    """
    if name != NAME:
        raise ConfigError(f"no model {name} is released from here", f"dvc.yaml declares {NAME}")
    registry = read_registry(root)
    held = registry.stages()
    if stage:
        version = held[stage][-1] if stage in held else None
    elif not version:
        version = registry.releases[0].version if registry.releases else None
    release = registry.release(parse_version(version)) if version else None
    if release is None:
        what = f"no version of {NAME} is in stage {stage}" if stage else f"{NAME} has no version {version or 'at all'}"
        known = ", ".join(f"{item} ({versions[-1]})" for item, versions in held.items()) if stage else ""
        known = known or ", ".join(release.version for release in registry.releases[:10])
        raise RevisionError(f"{what}; this clone knows {known or 'none'}", missing_tags_hint(root))
    return release


def resolve_tag(tag: str, root: Path = Path()) -> tuple[Release, str]:
    """Return the release that a tag registers or assigns, and the stage; the stage is empty for a registration.

    Raises:
        RevisionError: this clone has no such tag, or the tag revokes something.
    """
    registry = read_registry(root)
    release = next((item for item in registry.releases if item.tag == tag), None)
    move = next((item for item in registry.moves if item.tag == tag), None)
    if move and move.version:
        release = registry.release(move.version)
    if release is None:
        raise RevisionError(f"{tag} neither releases a version nor puts item into a stage", missing_tags_hint(root))
    return release, move.stage if move else ""


def parse_version(version: str) -> str:
    """Return a version as pip writes it, from that form or from the form of the git tag."""
    match = re.fullmatch(rf"(?:{NAME}@)?v?(\d+\.\d+\.\d+)", version)
    if not match:
        raise RevisionError(f"{version} is not a version", "give it as MAJOR.MINOR.PATCH, for example 1.2.0")
    return match[1]


def missing_tags_hint(root: Path) -> str:
    """Return the remedy for tags that a clone may lack."""
    if is_shallow(root):
        return f"this clone is shallow and lacks tags: {UNSHALLOW}"
    patterns = (f"refs/tags/{NAME}@*", f"refs/tags/{NAME}#*")
    names = git("for-each-ref", "--format=%(objecttype) %(refname:short)", *patterns, cwd=root).splitlines()
    if bare := [name.removeprefix("commit ") for name in names if name.startswith("commit ")]:
        return f"{bare[0]} is here without its annotation, as some CI checkouts leave it: `git fetch --force --tags`"
    return f"{FETCH}; `batchyield release list` lists the releases"
