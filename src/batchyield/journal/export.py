"""The journal as JSON lines, or as CSV for a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from batchyield.batch import NAMES
from batchyield.journal.moments import instant
from batchyield.journal.read import Journalled

COLUMNS = (
    "at", "request", "position", "caller", "format", "version", "revision", "md5",
    "id", "yield", "lower", "upper", "warnings", "measured",
)  # fmt: skip


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
