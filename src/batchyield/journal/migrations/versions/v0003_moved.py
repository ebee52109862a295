"""A row for each answer, where each prediction had one: what was there is moved.

In PostgreSQL the old table stays, empty, for services of the version before that are still writing to it.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOST = 1_000
"""Predictions of an answer, rows that are read and answers that are written at a time."""

_FIELDS = ("at", "request", "caller", "format", "pin")

_ANSWER = sa.text(
    "INSERT INTO answer (id, at, request, first, batches, caller, format, pin, inputs, predictions) VALUES "
    "(:id, :at, :request, :first, :batches, :caller, :format, :pin, :inputs, :predictions)"
)
_ASKED = sa.text("INSERT INTO asked (batch, answer, position) VALUES (:batch, :answer, :position)")
_PAGE = sa.text("SELECT * FROM prediction WHERE id > :after ORDER BY id LIMIT :most")
_LAST = sa.text("SELECT coalesce(max(id), 0) FROM answer")
_NEXT = sa.text("SELECT nextval(pg_get_serial_sequence('answer', 'id')) FROM generate_series(1, :count)")


class _Named(msgspec.Struct):
    id: str | None = None


def upgrade() -> None:
    """Moves what the old table holds, and empties or removes it."""
    connection = op.get_bind()
    answers = _answers(connection)
    while some := list(islice(answers, MOST)):
        numbers = _numbers(connection, len(some))
        connection.execute(_ANSWER, [_answer(number, rows) for number, rows in zip(numbers, some, strict=True)])
        asked = [
            {"batch": row.batch, "answer": number, "position": row.position}
            for number, rows in zip(numbers, some, strict=True)
            for row in rows
            if row.batch is not None
        ]
        if asked:
            connection.execute(_ASKED, asked)
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("TRUNCATE prediction"))
    else:
        op.drop_table("prediction")


def _numbers(connection: sa.Connection, count: int) -> list[int]:
    if connection.dialect.name == "postgresql":
        return list(connection.execute(_NEXT, {"count": count}).scalars())
    last: int = connection.execute(_LAST).scalar_one()
    return list(range(last + 1, last + count + 1))


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


def _answer(number: int, rows: list[Any]) -> dict[str, Any]:
    told = {name: getattr(rows[0], name) for name in _FIELDS}
    inputs = f'{{"inputs":[{",".join(row.inputs for row in rows)}]}}'
    predictions = msgspec.json.encode([_prediction(row) for row in rows]).decode()
    told |= {"id": number, "first": rows[0].position, "batches": len(rows)}
    return told | {"inputs": inputs, "predictions": predictions}


def _prediction(row: Any) -> dict[str, Any]:
    name = msgspec.json.decode(row.inputs, type=_Named).id  # the column of ids holds no NUL
    warnings = msgspec.Raw((row.warnings or "[]").encode())
    return {"id": name, "yield": row._mapping["yield"], "lower": row.lower, "upper": row.upper, "warnings": warnings}
