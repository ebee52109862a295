"""Time of measurement of outcomes, and the states of the bias update."""

import sqlalchemy as sa
from alembic import op

revision = "0002_bias"
down_revision = "0001_initial"


def upgrade() -> None:
    """Add the columns, the index for the newest outcomes, and the table."""
    op.add_column("outcome", sa.Column("measured_at", sa.BigInteger))
    op.add_column("correction", sa.Column("measured_at", sa.BigInteger))
    op.create_index("outcome_at", "outcome", ["at"])
    op.create_table(
        "bias_state",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("bias_state_at", "bias_state", ["at"])
