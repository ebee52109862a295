"""What the journal is and holds, for whoever looks after it."""

import msgspec

from batchyield.journal.moments import instant
from batchyield.journal.read import Counts, counts
from batchyield.journal.store import Store
from batchyield.journal.upgrade import revision


class Status(msgspec.Struct, frozen=True):
    """The journal: where it is, the revision of its schema, what its files take, and what it holds."""

    journal: str
    revision: str | None
    bytes: int | None
    holds: Counts


def status(store: Store) -> Status:
    """Looks at a journal whose schema is up to date."""
    size = None
    if store.file is not None:
        files = [store.file, store.file.with_name(f"{store.file.name}-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
    return Status(store.name, revision(store), size, counts(store))


def render(found: Status) -> str:
    """The status for people."""
    holds = found.holds
    size = "" if found.bytes is None else f", {found.bytes / 2**20:.1f} MiB"
    lines = [f"{found.journal}: revision {found.revision}{size}", f"{holds.predictions} predictions"]
    if holds.oldest is not None and holds.newest is not None:
        lines[-1] += f", {instant(holds.oldest)} to {instant(holds.newest)}"
    lines += [f"  {one.predictions} by {one.md5} (version {one.version}, {one.revision[:12]})" for one in holds.models]
    told = f"{holds.outcomes} outcomes, {holds.matched} of predicted batches, {holds.corrections} corrections"
    return "\n".join([*lines, told])
