"""A row for each answer instead of one for each prediction."""

from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

MOST = 1_000
"""Predictions of an answer, and rows that are read at a time."""

_FIELDS = ("at", "request", "caller", "format", "pin")

_ANSWER = sa.text(
    "INSERT INTO answer (id, at, request, first, batches, caller, format, pin, inputs, predictions) VALUES "
    "(:id, :at, :request, :first, :batches, :caller, :format, :pin, :inputs, :predictions)"
)
_ASKED = sa.text("INSERT INTO asked (batch, answer, position) VALUES (:batch, :answer, :position)")
_PAGE = sa.text("SELECT * FROM prediction WHERE id > :after ORDER BY id LIMIT :most")


class _Named(msgspec.Struct):
    id: str | None = None


def upgrade() -> None:
    """Makes the new tables, moves what the old one holds, and removes that."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "answer",
        sa.Column("id", number, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("batches", sa.Integer, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("pin", sa.Integer, sa.ForeignKey("pin.id"), nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("predictions", sa.Text, nullable=False),
    )
    op.create_index("answer_at", "answer", ["at"])
    op.create_table(
        "asked",
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("answer", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("batch", "answer", "position"),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    last = 0
    for last, rows in enumerate(_answers(connection), 1):
        _move(connection, last, rows)
    if connection.dialect.name == "postgresql" and last:
        connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('answer', 'id'), :last)"), {"last": last})
    op.drop_table("prediction")


def _answers(connection: sa.Connection) -> Iterator[list[Any]]:
    """The predictions of each request, in parts."""
    rows: list[Any] = []
    after = 0
    while page := connection.execute(_PAGE, {"after": after, "most": MOST}).all():
        for row in page:
            if rows and (len(rows) == MOST or not _follows(row, rows[-1])):
                yield rows
                rows = []
            rows.append(row)
        after = page[-1].id
    if rows:
        yield rows


def _follows(row: Any, last: Any) -> bool:
    same = all(getattr(row, name) == getattr(last, name) for name in _FIELDS)
    return same and row.position == last.position + 1


def _move(connection: sa.Connection, number: int, rows: list[Any]) -> None:
    told = {name: getattr(rows[0], name) for name in _FIELDS}
    inputs = f'{{"inputs":[{",".join(row.inputs for row in rows)}]}}'
    predictions = msgspec.json.encode([_prediction(row) for row in rows]).decode()
    told |= {"id": number, "first": rows[0].position, "batches": len(rows)}
    connection.execute(_ANSWER, told | {"inputs": inputs, "predictions": predictions})
    asked = [{"batch": row.batch, "answer": number, "position": row.position} for row in rows if row.batch is not None]
    if asked:
        connection.execute(_ASKED, asked)


def _prediction(row: Any) -> dict[str, Any]:
    name = msgspec.json.decode(row.inputs, type=_Named).id  # the column of ids holds no NUL
    warnings = msgspec.Raw((row.warnings or "[]").encode())
    return {"id": name, "yield": row._mapping["yield"], "lower": row.lower, "upper": row.upper, "warnings": warnings}
