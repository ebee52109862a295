"""Fetches the outputs of HEAD and of its base from the storage, or rebuilds them from the raw data."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from batchyield.errors import CommandError, StorageError
from batchyield.review.report.charts import LEARNING
from batchyield.review.review import PREDICTED
from batchyield.review.revision import Revision, merge_base
from batchyield.versioning.dvc import dvc
from batchyield.versioning.storage import raw_data, remotes
from batchyield.versioning.storage.demo_remote import seed_bucket


def fetch_outputs(
    base: str | None = None,
    *,
    root: Path = Path(),
    s3_port: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Fetch the outputs of the working tree, and of the base the files that a comparison reads.

    The CI of a fork has only the empty embedded storage: it rebuilds both from the raw data.

    Args:
        base: revision; its merge base with HEAD is used. None: fetch HEAD only.
        root: the checkout.
        s3_port: of the embedded server, if it must be started.
        progress: receives one line per step.

    Raises:
        StorageError: the raw data cannot be found.
        CommandError: a stage failed.
    """
    with remotes.started(root, s3_port) as server:
        progress(f"S3       {seed_bucket(server, root) if server else remotes.location(root)}")
        try:
            dvc("pull", cwd=root, quiet=True)
            progress("HEAD     all outputs from cache and storage")
        except CommandError:
            progress(f"HEAD     rebuilt, raw data {raw_data.fetch(root)}")
            dvc("repro", "--quiet", cwd=root)
        if base is not None:
            _fetch_base(merge_base(base, root), progress)


def _fetch_base(base: Revision, progress: Callable[[str], None]) -> None:
    wanted = [path for path in (PREDICTED, LEARNING) if base.md5(path)]
    try:
        base.fetch(wanted)
    except StorageError:
        progress(f"{base.name[:8]} rebuilt, since neither cache nor storage has its outputs")
        with _clone_of(base) as scratch:
            raw_data.fetch(scratch)
            dvc("repro", "--quiet", cwd=scratch)
        base.fetch(wanted)
        return
    progress(f"{base.name[:8]} files for the comparison from cache and storage")
    try:
        base.read_raw()
    except StorageError:  # outputs that are equal to those of HEAD say nothing about the data that they were made from
        with contextlib.suppress(StorageError), _clone_of(base) as scratch:
            progress(f"{base.name[:8]} raw data {raw_data.fetch(scratch)}")


@contextlib.contextmanager
def _clone_of(base: Revision) -> Iterator[Path]:
    """Yield a scratch clone of a revision that shares the DVC cache of its checkout."""
    root = base.root.resolve()
    with remotes.scratch_clone(root, str(base.revision)) as scratch:
        # Linked, not configured: DVC cannot write a path that is not ASCII into its configuration.
        (scratch / ".dvc" / "cache").symlink_to(remotes.cache_dir(root).absolute())
        yield scratch
