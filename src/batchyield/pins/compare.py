"""Two locks side by side: is what was rebuilt what was committed?"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from batchyield.errors import ArtifactError
from batchyield.lock import Lock, parse_lock, read_lock
from batchyield.pins.workspace import git

LOCK = Path("dvc.lock")


class Row(NamedTuple):
    """One output in both locks; a hash is None where that lock has no such output."""

    stage: str
    path: str
    committed: str | None
    rebuilt: str | None

    @property
    def same(self) -> bool:
        return self.committed == self.rebuilt


def committed_lock(root: Path = Path(), revision: str = "HEAD") -> Lock:
    """The lock as git has it at `revision`.

    Raises:
        SetupError: there is no such revision, or it has no lock.
    """
    return parse_lock(git("show", f"{revision}:{LOCK}", cwd=root), f"{revision}:{LOCK}")


def compare(committed: Lock, rebuilt: Lock) -> list[Row]:
    """Every output of either lock, stage by stage."""
    before, after = committed.outs(), rebuilt.outs()
    return [
        Row(
            (after.get(path) or before[path])[0],
            path,
            before[path][1] if path in before else None,
            after[path][1] if path in after else None,
        )
        for path in dict.fromkeys([*after, *before])
    ]


def table(rows: list[Row]) -> Iterator[str]:
    """The comparison for people: one line per output."""
    width = max((len(row.path) for row in rows), default=0)
    for row in rows:
        verdict = "same" if row.same else f"DIFFERENT, committed {row.committed}"
        yield f"  {row.stage:<10} {row.path:<{width}}  {row.rebuilt or 'not built':<32}  {verdict}"


def compare_with_commit(root: Path = Path(), revision: str = "HEAD") -> list[Row]:
    """The workspace's lock against the committed one."""
    rows = compare(committed_lock(root, revision), read_lock(root / LOCK))
    if not rows:
        raise ArtifactError(str(LOCK), "names no output", "run `dvc repro`")
    return rows
