"""Runs the migrations on the connection that `run_migrations` passes."""

from alembic import context

from batchyield.journal.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
