"""Registry of released models: versions and their environments, read by GTO from annotated git tags.

`yield-model@v1.2.0` registers a version, `yield-model#prod#7` assigns the version of its commit to an environment (a
stage in GTO), and a `!` after either revokes it. The number that ends an environment's tag increases with each
assignment, so two clones that assign at the same time create the same tag, and the second push is refused.
"""

import re
from pathlib import Path

import msgspec

from batchyield.errors import CommandError, ConfigError, RevisionError
from batchyield.versioning.git import UNSHALLOW, git, is_shallow

NAME = "yield-model"
"""Name of the model in `artifacts:` of dvc.yaml."""

FETCH = "`git fetch --tags` fetches the releases of others"
ORIGIN_SECONDS = 10


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
    environments: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """Sort key of the version."""
        return tuple(map(int, self.version.split(".")))


class Move(msgspec.Struct, frozen=True):
    """Assignment of a version to an environment; None: the environment was emptied."""

    environment: str
    version: str | None
    tag: str
    date: str


class Registry(msgspec.Struct, frozen=True):
    """The releases in the tags of a clone, newest version first, and the moves of all environments, the latest last.

    `as_of` names the latest tag and its time; a clone that was not fetched for long shows it by this.
    """

    releases: tuple[Release, ...]
    moves: tuple[Move, ...]
    as_of: str = ""

    def environments(self) -> dict[str, list[str]]:
        """Return for each environment its stack of versions, the current item last; empty ones are left out.

        Returning to the previous version pops the stack, so that the next `--back` goes one version further.
        """
        held: dict[str, list[str]] = {}
        for move in self.moves:
            versions = held.setdefault(move.environment, [])
            if move.version is None:
                versions.clear()
            elif versions[-2:-1] == [move.version]:
                versions.pop()
            elif versions[-1:] != [move.version]:
                versions.append(move.version)
        return {name: versions for name, versions in held.items() if versions}

    def release(self, version: str) -> Release | None:
        """Return the release of a version, or None."""
        return next((item for item in self.releases if item.version == version), None)


def read_registry(root: Path = Path()) -> Registry:
    """Return the registry of the clone at `root`.

    Raises:
        CommandError: `root` is not a git repository.
        RevisionError: it is a shallow clone, or its tags contradict each other.
    """
    from gto import api
    from gto.exceptions import GTOException

    if is_shallow(root):  # it has some tags and not others, so an environment may seem to hold what was taken out of it
        raise RevisionError("this clone is shallow, so it may lack releases", UNSHALLOW)
    try:
        events = api.history(root, NAME)
    except GTOException as error:
        raise RevisionError(f"GTO cannot read the release tags: {error}", missing_tags_hint(root)) from error
    # Two assignments may fall into one second; the number that ends the tag orders them.
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
            moves.append(Move(event["stage"], version if event["event"] == "assignment" else None, tag, date))
    known = (m if m.version in releases else msgspec.structs.replace(m, version=None) for m in moves)
    newest = sorted(releases.values(), key=lambda release: release.order, reverse=True)
    as_of = f"{events[-1]['ref']}, {events[-1]['timestamp']:%Y-%m-%d %H:%M}" if events else ""
    registry = Registry(tuple(newest), tuple(known), as_of)
    current = {name: versions[-1] for name, versions in registry.environments().items()}
    placed = (
        msgspec.structs.replace(
            r, environments=tuple(name for name, version in current.items() if version == r.version)
        )
        for r in newest
    )
    return msgspec.structs.replace(registry, releases=tuple(placed))


def resolve(name: str = "", root: Path = Path(), *, model: str = NAME) -> Release:
    """Return the release of a version (`1.2.0`, `v1.2.0`, `yield-model@v1.2.0`) or in an environment (`prod`).

    Args:
        name: version or environment; empty: the newest version.
        model: name of the model; only `NAME` is released from here.

    Raises:
        RevisionError: this clone has no such release, or, without a version, `origin` has tags that it lacks.
        ConfigError: the model has another name.
    """
    if model != NAME:
        raise ConfigError(f"no model {model} is released from here", f"dvc.yaml declares {NAME}")
    registry = read_registry(root)
    held = registry.environments()
    if (not name or name in held) and (lacking := _unfetched_tags(root)):
        doubt = f"{name} may hold another version by now" if name else "there may be a newer version"
        raise RevisionError(f"{doubt}: this clone lacks {', '.join(lacking)}", FETCH)
    version = name and (held[name][-1] if name in held else _version(name))
    release = (registry.release(version) if version else None) if name else next(iter(registry.releases), None)
    if release is None:
        what = f"{NAME} has no version {version}" if version else f"no version of {NAME} is in environment {name}"
        listed = [f"{item} ({versions[-1]})" for item, versions in held.items()]
        listed += [release.version for release in registry.releases[:10]]
        raise RevisionError(
            f"{what if name else f'{NAME} has no version at all'}; this clone knows {', '.join(listed) or 'none'}",
            missing_tags_hint(root),
        )
    return release


def find_commit(name: str, root: Path) -> str | None:
    """Return the commit of a version or an environment, by any of its names; None if no tag is of that name.

    Raises:
        RevisionError: as for `resolve`.
    """
    patterns = (f"{NAME}@v{_version(name) or '-'}", f"{NAME}#{name}#*")
    if not git("tag", "--list", *patterns, cwd=root):  # before GTO, whose import takes half a second
        return None
    return resolve(name, root).revision


def resolve_tag(tag: str, root: Path = Path()) -> tuple[Release, str]:
    """Return the release that a tag registers or assigns, and the environment; empty for a registration.

    A version or an environment may be given in place of its tag.

    Raises:
        RevisionError: this clone has no such tag, or the tag revokes something.
    """
    registry = read_registry(root)
    move = next((item for item in registry.moves if item.tag == tag), None)
    if move is None:
        return resolve(tag, root), tag if tag in registry.environments() else ""
    release = registry.release(move.version) if move.version else None
    if release is None:
        raise RevisionError(f"{tag} takes a version out of {move.environment}", "name the tag of a version")
    return release, move.environment


def _unfetched_tags(root: Path) -> list[str]:
    """Return the release tags of `origin` that this clone lacks; none if `origin` cannot be reached."""
    refs = (f"refs/tags/{NAME}@*", f"refs/tags/{NAME}#*")
    try:
        listed = git("ls-remote", "--refs", "origin", *refs, cwd=root, seconds=ORIGIN_SECONDS).split()[1::2]
    except CommandError:
        return []
    return sorted({ref.removeprefix("refs/tags/") for ref in listed} - set(git("tag", cwd=root).split()))


def parse_version(version: str) -> str:
    """Return a version as pip writes it, from that form or from the form of the git tag."""
    if (parsed := _version(version)) is None:
        raise RevisionError(f"{version} is not a version", "give it as MAJOR.MINOR.PATCH, for example 1.2.0")
    return parsed


def _version(name: str) -> str | None:
    match = re.fullmatch(rf"(?:{NAME}@)?v?(\d+\.\d+\.\d+)", name)
    return match[1] if match else None


def missing_tags_hint(root: Path) -> str:
    """Return the remedy for tags that a clone may lack."""
    patterns = (f"refs/tags/{NAME}@*", f"refs/tags/{NAME}#*")
    names = git("for-each-ref", "--format=%(objecttype) %(refname:short)", *patterns, cwd=root).splitlines()
    if bare := [name.removeprefix("commit ") for name in names if name.startswith("commit ")]:
        return f"{bare[0]} is here without its annotation, as some CI checkouts leave it: `git fetch --force --tags`"
    return f"{FETCH}; `batchyield release list` lists the releases"
