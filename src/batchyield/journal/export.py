"""Formats the journal for people: its times, its status, and its predictions as JSON lines or CSV."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from batchyield.errors import ConfigError
from batchyield.journal.database import Database
from batchyield.journal.migrate import read_revision
from batchyield.journal.queries import JournalCounts, JournalledPrediction, read_counts
from batchyield.plant.batch import Batch

UNITS = {"d": "days", "h": "hours", "m": "minutes"}
CSV_COLUMNS = (
    "at", "request", "position", "caller", "format", "version", "revision", "md5",
    "id", "yield", "lower", "upper", "warnings", "measured",
)  # fmt: skip
BATCH_COLUMNS = tuple(name for name in Batch.__struct_fields__ if name != "id")
OTHER = "other"
"""The last column: JSON of the fields that only another schema has."""


def parse_time(text: str, now: datetime | None = None) -> int:
    """Parse a duration before now (`7d`, `12h`, `30m`), a date or an ISO 8601 time (UTC where no zone is given).

    Returns:
        Microseconds since 1970, UTC.
    """
    unit = UNITS.get(text[-1:])
    try:
        if unit and text[:-1].isdecimal():
            time = (now or datetime.now(UTC)) - timedelta(**{unit: int(text[:-1])})
        else:
            time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        remedy = "write 7d, 12h or 30m (before now), 2026-11-01, or an ISO 8601 time"
        raise ConfigError(f"invalid time '{text}'", remedy) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return round(time.timestamp() * 1e6)


def format_time(at_us: int) -> str:
    """Return microseconds since 1970 as an ISO 8601 time in UTC with all six decimals."""
    seconds, micros = divmod(at_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros).isoformat(timespec="microseconds")


class JournalStatus(msgspec.Struct, frozen=True):
    """Location, schema revision, size in bytes (None for PostgreSQL) and contents of a journal."""

    journal: str
    revision: str | None
    bytes: int | None
    holds: JournalCounts


def read_status(database: Database) -> JournalStatus:
    """Return the status of a journal whose schema is up to date."""
    size = None
    if database.file is not None:
        files = [database.file, database.file.with_name(f"{database.file.name}-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
    return JournalStatus(database.name, read_revision(database), size, read_counts(database))


def render_status(status: JournalStatus) -> str:
    """Return the status as text."""
    holds = status.holds
    size = "" if status.bytes is None else f", {status.bytes / 2**20:.1f} MiB"
    lines = [f"{status.journal}: revision {status.revision}{size}", f"{holds.predictions} predictions"]
    if holds.oldest is not None and holds.newest is not None:
        lines[-1] += f", {format_time(holds.oldest)} to {format_time(holds.newest)}"
    lines += [f"  {m.predictions} by {m.md5} (version {m.version}, {m.revision[:12]})" for m in holds.models]
    lines.append(f"{holds.outcomes} outcomes, {holds.matched} of predicted batches, {holds.corrections} corrections")
    return "\n".join(lines)


def format_json_lines(rows: Iterable[JournalledPrediction]) -> Iterator[str]:
    """Yield a JSON line for each prediction; readings that are null are omitted."""
    for row in rows:
        given = msgspec.to_builtins(row.batch) | row.other
        inputs = {name: value for name, value in given.items() if value is not None}
        fields = {
            **{"at": format_time(row.at), "request": row.request, "position": row.position},
            **{"caller": row.caller, "format": row.form, "model": row.pin._asdict()},
            **{"inputs": inputs, "prediction": row.prediction, "measured": row.measured},
        }
        yield msgspec.json.encode(fields).decode() + "\n"


def format_csv_lines(rows: Iterable[JournalledPrediction]) -> Iterator[str]:
    """Yield a CSV header, then a line for each prediction: response, warnings as `field kind`, readings, others."""
    yield _csv_line([*CSV_COLUMNS, *BATCH_COLUMNS, OTHER])
    for row in rows:
        p, given = row.prediction, msgspec.to_builtins(row.batch)
        warnings = "; ".join(f"{warning.field} {warning.kind}" for warning in p.warnings)
        yield _csv_line(
            [
                *(format_time(row.at), row.request, row.position, row.caller, row.form, *row.pin),
                *(p.id, p.yield_, p.lower, p.upper, warnings, row.measured),
                *(given.get(name) for name in BATCH_COLUMNS),
                msgspec.json.encode(row.other).decode() if row.other else None,
            ]
        )


def _csv_line(cells: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
