"""Resolve a merge of two branches that both rebuilt: the files that a rebuild writes are never merged by hand."""

from collections.abc import Callable
from pathlib import Path

from batchyield.errors import ConflictError
from batchyield.versioning import hydra_params
from batchyield.versioning.dvc import dvc
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.provenance.stale_lock import unmerged_files
from batchyield.versioning.storage import raw_data, remotes

METRICS = "data/metrics"


def is_generated(path: str) -> bool:
    """Return whether `make params` or `dvc repro` writes the file."""
    return path in (LOCK.as_posix(), hydra_params.PARAMS.as_posix()) or path.startswith(f"{METRICS}/")


def resolve_conflicts(
    root: Path = Path(), *, s3_port: int | None = None, progress: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Rebuild and stage the files that a rebuild writes, and return those that conflicted.

    Args:
        s3_port: of the embedded server, if the raw data must be fetched first.
        progress: receives one line before each step.

    Raises:
        ConflictError: other files are not merged either; nothing was changed.
        CommandError: a stage failed.
    """
    conflicts = unmerged_files(root)
    if by_hand := [path for path in conflicts if not is_generated(path)]:
        raise ConflictError(
            f"these files must be merged by hand: {', '.join(by_hand)}",
            f"edit and `git add` them (of a .dvc file, take one side: `git checkout --ours {raw_data.PIN}`), then run "
            "the same command again",
        )
    if conflicts:
        git("checkout", "--ours", "--", *conflicts, cwd=root)
    progress(hydra_params.write_params(root))
    with remotes.started(root, s3_port):
        progress(f"raw data {raw_data.fetch(root)}")
        progress("dvc repro")
        dvc("repro", "--quiet", cwd=root)
    git("add", "--", str(LOCK), str(hydra_params.PARAMS), METRICS, cwd=root)
    return conflicts
