"""Alembic's entry: runs migrations on the connection that `upgrade` opened."""

from __future__ import annotations

from alembic import context

from plexus_scoring.stores.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
