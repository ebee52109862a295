"""The journal for people: its status, its predictions as JSON lines or CSV, and times as people write them."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from batchyield.errors import SetupError
from batchyield.journal.database import Store
from batchyield.journal.migrate import revision
from batchyield.journal.queries import Counts, Journalled, counts
from batchyield.plant.batch import NAMES

COLUMNS = (
    "at", "request", "position", "caller", "format", "version", "revision", "md5",
    "id", "yield", "lower", "upper", "warnings", "measured",
)  # fmt: skip


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


def json_lines(rows: Iterable[Journalled]) -> Iterator[str]:
    """A line for each prediction."""
    for row in rows:
        inputs = {name: value for name, value in msgspec.structs.asdict(row.batch).items() if value is not None}
        told = {
            **{"at": instant(row.at), "request": row.request, "position": row.position},
            **{"caller": row.caller, "format": row.form, "model": row.pin._asdict()},
            **{"inputs": inputs, "prediction": row.prediction, "measured": row.measured},
        }
        yield msgspec.json.encode(told).decode() + "\n"


def csv_lines(rows: Iterable[Journalled]) -> Iterator[str]:
    """A header, then a line for each prediction: what was answered, then the readings; warnings as `field kind`."""
    yield _line([*COLUMNS, *NAMES])
    for row in rows:
        p = row.prediction
        warned = "; ".join(f"{warning.field} {warning.kind}" for warning in p.warnings)
        yield _line(
            [
                *(instant(row.at), row.request, row.position, row.caller, row.form, *row.pin),
                *(p.id, p.yield_, p.lower, p.upper, warned, row.measured),
                *(getattr(row.batch, name) for name in NAMES),
            ]
        )


def _line(cells: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def moment(given: str, now: datetime | None = None) -> int:
    """A time as people give it, `7d`, `12h`, `30m` ago, `2026-11-01` or `2026-11-01T06:00:00+08:00`, in microseconds.

    Raises:
        SetupError: it is none of these.
    """
    unit = {"d": "days", "h": "hours", "m": "minutes"}.get(given[-1:])
    try:
        if unit and given[:-1].isdecimal():
            then = (now or datetime.now(UTC)) - timedelta(**{unit: int(given[:-1])})
        else:
            then = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        remedy = "write 7d, 12h or 30m (ago), 2026-11-01, or a time of ISO 8601"
        raise SetupError(f"'{given}' is no time", remedy) from None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return round(then.timestamp() * 1e6)


def instant(at: int) -> str:
    """Microseconds since 1970 as ISO 8601, UTC."""
    seconds, micros = divmod(at, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros).isoformat(timespec="microseconds")
