"""The tables of the journal; `migrations/` makes them, and a test holds the two together.

Times are microseconds since 1970 in UTC, yields are fractions, and JSON is text: what was answered is to come back as
it was written, whichever database holds it.
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

Id = BigInteger().with_variant(Integer, "sqlite")  # only that one counts up by itself there

pin = Table(
    "pin",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("md5", Text, nullable=False),
    UniqueConstraint("version", "revision", "md5", name="pin_once"),
)
"""Which model answered. A handful of rows, so that an answer needs four bytes for it."""

answer = Table(
    "answer",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),  # answered
    Column("request", Text, nullable=False),  # the X-Request-ID
    Column("first", Integer, nullable=False),  # position in the request of the first batch, from 0
    Column("batches", Integer, nullable=False),  # how many
    Column("caller", Text, nullable=False),  # name of the key; empty where there are none
    Column("format", Text, nullable=False),  # json or csv
    Column("pin", Integer, ForeignKey("pin.id"), nullable=False),
    Column("inputs", Text, nullable=False),  # JSON: {"inputs": [...]}, as it was sent, or without what was null
    Column("predictions", Text, nullable=False),  # JSON: [...], as it was answered
    Index("answer_at", "at"),
)
"""A request that was answered, or a thousand batches of a larger one.

One row holds many batches since it is written before the answer leaves: a row for each costs ten times as much.
"""

asked = Table(
    "asked",
    metadata,
    Column("batch", Text, nullable=False),  # its id, which outcomes are joined by
    Column("answer", BigInteger, nullable=False),  # no foreign key, which would need an index of its own to be checked
    Column("position", Integer, nullable=False),  # in the request, from 0
    PrimaryKeyConstraint("batch", "answer", "position"),
    sqlite_with_rowid=False,
)
"""Where a batch that has an id was answered."""

outcome = Table(
    "outcome",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("yield", Double, nullable=False),
    Column("at", BigInteger, nullable=False),  # told
    Column("request", Text, nullable=False),
    Column("caller", Text, nullable=False),
)
"""The measured yield of a batch as it was told last, whether or not it was predicted yet."""

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
"""What `outcome` said of a batch before it was corrected."""
