"""Predictions with their pins, and outcomes with their corrections."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the first tables."""
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
        "prediction",
        sa.Column("id", number, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("pin", sa.Integer, sa.ForeignKey("pin.id"), nullable=False),
        sa.Column("batch", sa.Text),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("yield", sa.Double, nullable=False),
        sa.Column("lower", sa.Double, nullable=False),
        sa.Column("upper", sa.Double, nullable=False),
        sa.Column("warnings", sa.Text),
    )
    op.create_index("prediction_at", "prediction", ["at"])
    op.create_index("prediction_batch", "prediction", ["batch"])
    op.create_table("outcome", sa.Column("batch", sa.Text, primary_key=True), *_told())
    op.create_table(
        "correction",
        sa.Column("id", number, primary_key=True),
        sa.Column("batch", sa.Text, nullable=False),
        *_told(),
    )
    op.create_index("correction_batch", "correction", ["batch"])


def _told() -> list["sa.Column[Any]"]:
    return [
        sa.Column("yield", sa.Double, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
    ]
