"""The journal for people: its status, its predictions as JSON lines or CSV, and times as people write them."""

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from batchyield.journal.database import Database
from batchyield.journal.migrate import read_revision
from batchyield.journal.queries import JournalCounts, JournalledPrediction, read_counts
from batchyield.journal.timestamps import format_time
from batchyield.plant.batch import READING_NAMES

CSV_COLUMNS = (
    "at", "request", "position", "caller", "format", "version", "revision", "md5",
    "id", "yield", "lower", "upper", "warnings", "measured",
)  # fmt: skip


class JournalStatus(msgspec.Struct, frozen=True):
    """The journal: where it is, the revision of its schema, what its files take, and what it holds."""

    journal: str
    revision: str | None
    bytes: int | None
    holds: JournalCounts


def read_status(store: Database) -> JournalStatus:
    """Looks at a journal whose schema is up to date."""
    size = None
    if store.file is not None:
        files = [store.file, store.file.with_name(f"{store.file.name}-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
    return JournalStatus(store.name, read_revision(store), size, read_counts(store))


def render_status(found: JournalStatus) -> str:
    """The status for people."""
    holds = found.holds
    size = "" if found.bytes is None else f", {found.bytes / 2**20:.1f} MiB"
    lines = [f"{found.journal}: revision {found.revision}{size}", f"{holds.predictions} predictions"]
    if holds.oldest is not None and holds.newest is not None:
        lines[-1] += f", {format_time(holds.oldest)} to {format_time(holds.newest)}"
    lines += [f"  {one.predictions} by {one.md5} (version {one.version}, {one.revision[:12]})" for one in holds.models]
    told = f"{holds.outcomes} outcomes, {holds.matched} of predicted batches, {holds.corrections} corrections"
    return "\n".join([*lines, told])


def format_json_lines(rows: Iterable[JournalledPrediction]) -> Iterator[str]:
    """A line for each prediction."""
    for row in rows:
        inputs = {name: value for name, value in msgspec.structs.asdict(row.batch).items() if value is not None}
        told = {
            **{"at": format_time(row.at), "request": row.request, "position": row.position},
            **{"caller": row.caller, "format": row.form, "model": row.pin._asdict()},
            **{"inputs": inputs, "prediction": row.prediction, "measured": row.measured},
        }
        yield msgspec.json.encode(told).decode() + "\n"


def format_csv_lines(rows: Iterable[JournalledPrediction]) -> Iterator[str]:
    """A header, then a line for each prediction: what was answered, then the readings; warnings as `field kind`."""
    yield _line([*CSV_COLUMNS, *READING_NAMES])
    for row in rows:
        p = row.prediction
        warned = "; ".join(f"{warning.field} {warning.kind}" for warning in p.warnings)
        yield _line(
            [
                *(format_time(row.at), row.request, row.position, row.caller, row.form, *row.pin),
                *(p.id, p.yield_, p.lower, p.upper, warned, row.measured),
                *(getattr(row.batch, name) for name in READING_NAMES),
            ]
        )


def _line(cells: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
