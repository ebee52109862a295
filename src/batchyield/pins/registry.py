"""Released versions of the model and the stages they are in, as GTO keeps them: annotated git tags and nothing else.

`yield-model@v1.2.0` releases a version, `yield-model#prod#7` puts the version of its commit into a stage, and a `!`
after either takes it back. The number that ends a stage's tag grows with each, so two clones that move a stage at the
same time make the same tag, and the second push is refused rather than mixed in.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.errors import SetupError
from batchyield.pins.workspace import git

NAME = "yield-model"
"""As `artifacts:` of dvc.yaml calls it."""

TAG = re.compile(rf"{NAME}(?:@v(?P<version>\d+\.\d+\.\d+)|#(?P<stage>[\w-]+))(?P<back>!?)(?:#(?P<number>\d+))?")
UNSHALLOW = "`git fetch --unshallow --tags`; in CI, check out with fetch-depth: 0"
FETCH = "`git fetch --tags` brings what others released"


class Release(msgspec.Struct, frozen=True):
    """A released version.

    Attributes:
        version: without the `v` of the tag, as pip writes it.
        tag: that released it.
        revision: its commit.
        date: of the tag, ISO 8601.
        stages: those it is in now.
    """

    version: str
    tag: str
    revision: str
    date: str
    stages: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """What versions are sorted by."""
        return tuple(map(int, self.version.split(".")))


class Move(msgspec.Struct, frozen=True):
    """A stage that was given a version, or (`version` is None) emptied."""

    stage: str
    version: str | None
    tag: str
    date: str


class Registry(msgspec.Struct, frozen=True):
    """Everything that the tags of a clone say.

    Attributes:
        releases: the newest version first.
        moves: of all stages, the latest last.
    """

    releases: tuple[Release, ...]
    moves: tuple[Move, ...]

    def stages(self) -> dict[str, list[str]]:
        """Stage -> versions that `back` goes through, the one in the stage last; a stage that is empty is not in it.

        To go back to the version before takes away what came after it, so that going back again goes further.
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
        """The release of a version, if there is one."""
        return next((one for one in self.releases if one.version == version), None)


class _Tag(NamedTuple):
    name: str
    revision: str
    date: str
    seconds: int
    match: re.Match[str]


def read(root: Path = Path()) -> Registry:
    """What the tags of the clone at `root` say.

    Raises:
        SetupError: it is no git repository.
    """
    releases: dict[str, Release] = {}
    moves = []
    for tag in _tags(root):
        version, stage, back = tag.match["version"], tag.match["stage"], bool(tag.match["back"])
        if version and back:
            releases.pop(version, None)
        elif version:
            releases[version] = Release(version, tag.name, tag.revision, tag.date)
        else:
            moves.append((stage, None if back else tag.revision, tag))
    by_commit = {release.revision: release.version for release in releases.values()}
    registry = Registry((), tuple(Move(s, by_commit.get(r or ""), tag.name, tag.date) for s, r, tag in moves))
    current = {stage: versions[-1] for stage, versions in registry.stages().items()}
    return Registry(
        tuple(
            msgspec.structs.replace(one, stages=tuple(s for s, version in current.items() if version == one.version))
            for one in sorted(releases.values(), key=lambda one: one.order, reverse=True)
        ),
        registry.moves,
    )


def _tags(root: Path) -> Iterator[_Tag]:
    # Tags without an annotation are not GTO's. Two moves may fall into one second; their numbers tell them apart.
    form = "%(objecttype) %(refname:short) %(*objectname) %(taggerdate:iso-strict) %(taggerdate:unix)"
    listed = git("for-each-ref", f"--format={form}", "refs/tags", cwd=root).splitlines()
    found = []
    for kind, name, revision, date, seconds in (line.split(" ") for line in listed if line.startswith("tag ")):
        if kind == "tag" and (match := TAG.fullmatch(name)):
            found.append(_Tag(name, revision, date, int(seconds), match))
    yield from sorted(found, key=lambda tag: (tag.seconds, int(tag.match["number"] or 0)))


def resolve(name: str = NAME, root: Path = Path(), *, stage: str | None = None, version: str | None = None) -> Release:
    """The release that a stage holds, or of a version; the newest where neither is given.

    Raises:
        SetupError: there is none in this clone.
    """
    if name != NAME:
        raise SetupError(f"no model {name} is released from here", f"dvc.yaml declares {NAME}")
    registry = read(root)
    held = registry.stages()
    if stage:
        version = held[stage][-1] if stage in held else None
    elif not version:
        version = registry.releases[0].version if registry.releases else None
    found = registry.release(plain(version)) if version else None
    if found is None:
        what = f"no version of {NAME} is in stage {stage}" if stage else f"{NAME} has no version {version or 'at all'}"
        known = ", ".join(f"{one} ({versions[-1]})" for one, versions in held.items()) if stage else ""
        known = known or ", ".join(release.version for release in registry.releases[:10])
        raise SetupError(f"{what}; this clone knows {known or 'none'}", lacking(root))
    return found


def tagged(tag: str, root: Path = Path()) -> tuple[Release, str]:
    """The release that a tag makes, or puts into a stage, and that stage; empty where it only releases.

    Raises:
        SetupError: it is no such tag of this clone, or one that takes something back.
    """
    registry = read(root)
    made = next((one for one in registry.releases if one.tag == tag), None)
    move = next((one for one in registry.moves if one.tag == tag), None)
    if move and move.version:
        made = registry.release(move.version)
    if made is None:
        raise SetupError(f"{tag} neither releases a version nor puts one into a stage", lacking(root))
    return made, move.stage if move else ""


def plain(version: str) -> str:
    """A version as pip writes it, where it may be given as git tags it.

    Raises:
        SetupError: it is neither.
    """
    found = re.fullmatch(rf"(?:{NAME}@)?v?(\d+\.\d+\.\d+)", version)
    if not found:
        raise SetupError(f"{version} is no version", "give it as MAJOR.MINOR.PATCH, for example 1.2.0")
    return found[1]


def lacking(root: Path) -> str:
    """How a clone gets the tags that it may lack."""
    if shallow(root):
        return f"this clone is shallow and lacks tags: {UNSHALLOW}"
    names = git("for-each-ref", "--format=%(objecttype) %(refname:short)", "refs/tags", cwd=root).splitlines()
    bare = [name for kind, name in (line.split(" ") for line in names) if kind == "commit" and TAG.fullmatch(name)]
    if bare:
        return f"{bare[0]} is here without its annotation, as some CI checkouts leave it: `git fetch --force --tags`"
    return f"{FETCH}; `batchyield models` lists what there is"


def shallow(root: Path) -> bool:
    """Whether the clone holds only the end of the history."""
    return git("rev-parse", "--is-shallow-repository", cwd=root).strip() == "true"
