"""INSERT … ON CONFLICT, which SQLite and PostgreSQL share but SQLAlchemy spells once for each."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(connection: Connection, table: Table) -> Any:
    """Return an INSERT that passes over rows whose key exists."""
    return _insert(connection, table).on_conflict_do_nothing()


def replace(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Insert a row or replace the one with its primary key."""
    key = [column.name for column in table.primary_key]
    statement = _insert(connection, table)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=key,
            set_={name: statement.excluded[name] for name in row if name not in key},
        ),
        row,
    )


def _insert(connection: Connection, table: Table) -> Any:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table)
