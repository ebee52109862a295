"""Answers that a repeated request gets again, by the key that it carries."""

import sqlalchemy as sa
from alembic import op

revision = "0003_idempotency"
down_revision = "0002_bias"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "idempotency",
        sa.Column("answer", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.UniqueConstraint("key", "first", name="idempotency_once"),
    )
