"""A row for each answer, where each prediction had one: the new tables.

A service of the version before may still be writing to PostgreSQL: what it writes is handed on to the new tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

HAND_ON = """
CREATE FUNCTION prediction_handed_on() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE number bigint;
BEGIN
    INSERT INTO answer (at, request, first, batches, caller, format, pin, inputs, predictions)
    VALUES (
        NEW.at, NEW.request, NEW.position, 1, NEW.caller, NEW.format, NEW.pin,
        '{"inputs":[' || NEW.inputs || ']}',
        '[{"id":' || coalesce(to_json(NEW.batch)::text, 'null') || ',"yield":' || NEW.yield || ',"lower":' || NEW.lower
            || ',"upper":' || NEW.upper || ',"warnings":' || coalesce(NEW.warnings, '[]') || '}]'
    )
    RETURNING id INTO number;
    IF NEW.batch IS NOT NULL THEN
        INSERT INTO asked (batch, answer, position) VALUES (NEW.batch, number, NEW.position);
    END IF;
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER prediction_handed_on BEFORE INSERT ON prediction FOR EACH ROW EXECUTE FUNCTION prediction_handed_on()
"""


def upgrade() -> None:
    """Makes the new tables."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
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
    if op.get_bind().dialect.name == "postgresql":
        op.execute(HAND_ON)
        op.execute(TRIGGER)
