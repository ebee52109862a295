"""Tables of the journal; a test compares them with those that `migrations/` creates.

Times are microseconds since 1970 in UTC, yields are fractions, and JSON is stored as text, so that every database
returns it exactly as it was written.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite assigns ids to this type only

pin = sa.Table(
    "pin",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("md5", sa.Text, nullable=False),
    sa.UniqueConstraint("version", "revision", "md5", name="pin_once"),
)
"""Models that answered: a few rows, so that an answer needs four bytes for its model."""

answer = sa.Table(
    "answer",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),  # time of the response
    sa.Column("request", sa.Text, nullable=False),  # the X-Request-ID
    sa.Column("first", sa.Integer, nullable=False),  # position in the request of the first batch, from 0
    sa.Column("batches", sa.Integer, nullable=False),  # number of batches
    sa.Column("caller", sa.Text, nullable=False),  # name of the API key; empty without keys
    sa.Column("format", sa.Text, nullable=False),  # json or csv
    sa.Column("pin", sa.Integer, sa.ForeignKey("pin.id"), nullable=False),
    sa.Column("inputs", sa.Text, nullable=False),  # JSON: {"inputs": [...]}, as sent, or without nulls
    sa.Column("predictions", sa.Text, nullable=False),  # JSON: [...], as answered
    sa.Index("answer_at", "at"),
)
"""An answered request, or up to a thousand batches of a larger one.

A row holds many batches because it is written before the response is sent: a row for each costs ten times as much.
"""

asked = sa.Table(
    "asked",
    metadata,
    sa.Column("batch", sa.Text, nullable=False),  # its id, the key of `outcome`
    sa.Column("answer", sa.BigInteger, nullable=False),  # no foreign key: its check would need an index
    sa.Column("position", sa.Integer, nullable=False),  # in the request, from 0
    sa.PrimaryKeyConstraint("batch", "answer", "position"),
    sqlite_with_rowid=False,
)
"""Predictions of a batch, for batches with an id."""

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("answer", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False),  # digest of the caller, the request's target and its Idempotency-Key
    sa.Column("first", sa.Integer, nullable=False),  # as in the answer
    sa.UniqueConstraint("key", "first", name="idempotency_once"),
)
"""Answers of requests that carried an `Idempotency-Key`; a table of its own, so that no other request pays for it."""

outcome = sa.Table(
    "outcome",
    metadata,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("yield", sa.Double, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),  # time of the report
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("measured_at", sa.BigInteger),  # as the report says; null if it does not
    sa.Index("outcome_at", "at"),
)
"""The yield reported last for a batch, whether or not the batch was predicted."""

correction = sa.Table(
    "correction",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("batch", sa.Text, nullable=False),
    sa.Column("yield", sa.Double, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("measured_at", sa.BigInteger),
    sa.Index("correction_batch", "batch"),
)
"""Yields in `outcome` before they were corrected or withdrawn."""

bias_state = sa.Table(
    "bias_state",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),  # as answers name it
    sa.Column("at", sa.BigInteger, nullable=False),  # when it was last known to be in use
    sa.Column("content", sa.Text, nullable=False),  # JSON: `serving.bias.BiasState`
    sa.Index("bias_state_at", "at"),
)
"""States of the bias update, each written before the first answer that uses it."""
