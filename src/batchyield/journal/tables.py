"""Tables of the journal; a test compares them with those that `migrations/` creates.

Times are microseconds since 1970 in UTC, yields are fractions, and JSON is stored as text, so that every database
returns it exactly as it was written.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite assigns ids to this type only

pin = Table(
    "pin",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("md5", Text, nullable=False),
    UniqueConstraint("version", "revision", "md5", name="pin_once"),
)
"""Models that answered: a few rows, so that an answer needs four bytes for its model."""

answer = Table(
    "answer",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),  # time of the response
    Column("request", Text, nullable=False),  # the X-Request-ID
    Column("first", Integer, nullable=False),  # position in the request of the first batch, from 0
    Column("batches", Integer, nullable=False),  # number of batches
    Column("caller", Text, nullable=False),  # name of the API key; empty without keys
    Column("format", Text, nullable=False),  # json or csv
    Column("pin", Integer, ForeignKey("pin.id"), nullable=False),
    Column("inputs", Text, nullable=False),  # JSON: {"inputs": [...]}, as sent, or without nulls
    Column("predictions", Text, nullable=False),  # JSON: [...], as answered
    Index("answer_at", "at"),
)
"""An answered request, or up to a thousand batches of a larger one.

A row holds many batches because it is written before the response is sent: a row for each costs ten times as much.
"""

asked = Table(
    "asked",
    metadata,
    Column("batch", Text, nullable=False),  # its id, the key of `outcome`
    Column("answer", BigInteger, nullable=False),  # no foreign key: its check would need an index
    Column("position", Integer, nullable=False),  # in the request, from 0
    PrimaryKeyConstraint("batch", "answer", "position"),
    sqlite_with_rowid=False,
)
"""Predictions of a batch, for batches with an id."""

outcome = Table(
    "outcome",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("yield", Double, nullable=False),
    Column("at", BigInteger, nullable=False),  # time of the report
    Column("request", Text, nullable=False),
    Column("caller", Text, nullable=False),
)
"""The yield reported last for a batch, whether or not the batch was predicted."""

correction = Table(
    "correction",
    metadata,
    Column("id", Id, primary_key=True),
    Column("batch", Text, nullable=False),
    Column("yield", Double, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Index("correction_batch", "batch"),
)
"""Yields in `outcome` before they were corrected."""
