"""What the bias update reads and writes in the journal: the newest measured batches, and its states by digest."""

from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from batchyield.journal.database import Database
from batchyield.journal.queries import JournalledPrediction, read_answers, split_ids
from batchyield.journal.tables import asked, bias_state, correction, outcome
from batchyield.plant.features import id_number

NEWEST_OUTCOMES = 300
"""Outcomes, reported last, whose change makes a new state necessary."""

MAX_CANDIDATES, MAX_BATCHES = 10_000, 400
"""Outcomes, reported last, that are searched for the latest batches; and batches that are read with their inputs."""

_SAVE = text(
    "INSERT INTO bias_state (digest, at, content) VALUES (:digest, :at, :content) "
    "ON CONFLICT (digest) DO UPDATE SET at = excluded.at"
)


class OutcomesVersion(NamedTuple):
    """A value that changes with every new, corrected and withdrawn outcome; `outcomes` are (batch, yield, time)."""

    corrections: int
    outcomes: tuple[tuple[str, float, int], ...]


def read_outcomes_version(connection: Connection) -> OutcomesVersion:
    """Return the version of the outcomes; a few hundred rows through an index."""
    corrections = connection.execute(select(func.coalesce(func.max(correction.c.id), 0))).scalar_one()
    return OutcomesVersion(corrections, tuple(_newest_outcomes(connection, NEWEST_OUTCOMES)))


def read_measured_batches(connection: Connection) -> list[JournalledPrediction]:
    """Return the latest measured batches that were predicted, each with its newest prediction, by any model.

    The latest are those with the greatest number in their id, then those reported last.
    """
    newest = _newest_outcomes(connection, MAX_CANDIDATES)
    newest.sort(key=lambda row: (-_number(row[0]), -row[2], row[0]))
    ids = [row[0] for row in newest[:MAX_BATCHES]]
    position: dict[str, tuple[int, int]] = {}
    for some in split_ids(ids):
        query = select(asked.c.batch, asked.c.answer, asked.c.position).where(asked.c.batch.in_(some))
        for batch, answer_id, at in connection.execute(query):
            position[batch] = max(position.get(batch, (0, 0)), (answer_id, at))
    wanted = set(position.values())
    rows = read_answers(connection, sorted({answer_id for answer_id, _ in wanted}))
    return [row for row in rows if (row.answer, row.position) in wanted and row.measured is not None]


def save_state(database: Database, digest: str, content: bytes, at: int) -> None:
    """Write a state of the bias update, or that it is still in use, `at` microseconds since 1970, UTC."""
    with database.write_transaction() as connection:
        connection.execute(_SAVE, {"digest": digest, "at": at, "content": content.decode()})


def read_state(connection: Connection, digest: str) -> bytes | None:
    """Return the content of a state, or None if the journal has none of that digest."""
    content = connection.execute(select(bias_state.c.content).where(bias_state.c.digest == digest)).scalar()
    return None if content is None else str(content).encode()


def read_newest_state(connection: Connection) -> bytes | None:
    """Return the content of the state that was last known to be in use, of any model; None without one."""
    newest = select(bias_state.c.content).order_by(bias_state.c.at.desc(), bias_state.c.digest).limit(1)
    content = connection.execute(newest).scalar()
    return None if content is None else str(content).encode()


def _newest_outcomes(connection: Connection, limit: int) -> list[tuple[str, float, int]]:
    columns = select(outcome.c.batch, outcome.c["yield"], outcome.c.at)
    query = columns.order_by(outcome.c.at.desc(), outcome.c.batch.desc()).limit(limit)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def _number(batch: str) -> float:
    number = id_number(batch)
    return number if number == number else -1.0
