"""Alembic runs this for each migration, on the connection that ``kato_tasks.adapters.sql.schema`` has opened."""

from __future__ import annotations

from alembic import context

from kato_tasks.adapters.sql.tables import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite, too: its transaction was begun by us, and not by the driver
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
