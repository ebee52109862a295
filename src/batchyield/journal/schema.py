"""The tables of the journal; `migrations/` makes them, and a test holds the two together.

Times are microseconds since 1970 in UTC, yields are fractions, and JSON is text: what was answered is to come back as
it was written, whichever database holds it.
"""

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

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
"""Which model answered. A handful of rows, so that a prediction needs four bytes for it."""

prediction = Table(
    "prediction",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),  # answered
    Column("request", Text, nullable=False),  # the X-Request-ID
    Column("position", Integer, nullable=False),  # in the request, from 0
    Column("caller", Text, nullable=False),  # name of the key; empty where there are none
    Column("format", Text, nullable=False),  # json or csv
    Column("pin", Integer, ForeignKey("pin.id"), nullable=False),
    Column("batch", Text),  # the batch's id, which outcomes are joined by
    Column("inputs", Text, nullable=False),  # the batch as it was decoded, as JSON without what was null
    Column("yield", Double, nullable=False),
    Column("lower", Double, nullable=False),
    Column("upper", Double, nullable=False),
    Column("warnings", Text),  # JSON, null where there are none
    Index("prediction_at", "at"),
    Index("prediction_batch", "batch"),
)

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
