"""The first schema of the journal, equal to `batchyield.journal.tables` of the same revision."""

import sqlalchemy as sa
from alembic import op

revision = "0001_initial"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "pin",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("md5", sa.Text, nullable=False),
        sa.UniqueConstraint("version", "revision", "md5", name="pin_once"),
    )
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
    op.create_table(
        "outcome",
        sa.Column("batch", sa.Text, primary_key=True),
        sa.Column("yield", sa.Double, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
    )
    op.create_table(
        "correction",
        sa.Column("id", number, primary_key=True),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("yield", sa.Double, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
    )
    op.create_index("correction_batch", "correction", ["batch"])
