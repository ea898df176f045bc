"""The statements of a batch: many rows in one.

PostgreSQL gets one statement of constant text for any number of rows, which come as one JSON document: a statement a
row costs the server three times as much, and an array a column costs the driver as much again in escaping.
SQLite, which runs in this process, gets its statement once for each row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Text,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from plexus_scoring.model.job import JobKey
from plexus_scoring.stores.codec import encode
from plexus_scoring.stores.sql import rows, schema, upsert

Rows = Sequence[dict[str, Any]]
Condition = ColumnElement[bool]

_C = schema.jobs.c
_ACCOUNTS, _IDS, _WITH_BODY = "accounts", "ids", "with_body"


def _lock(accounts: Condition, ids: Condition, with_body: Condition) -> Any:
    """Return the statement that reads and locks jobs, always in the order of their keys.

    It may lock a job more than was asked for, of another of the accounts: two conditions that the primary key answers
    cost less than one over pairs.
    """
    body = case((with_body, _C.body), else_=null()).label("body")
    return (
        select(*rows.STATE_COLUMNS, body)
        .where(accounts, ids)
        .order_by(_C.account, _C.id)
        .with_for_update(of=schema.jobs)
    )


def _in(column: Column[Any], name: str) -> Condition:
    return column.in_(bindparam(name, expanding=True))


def _in_array(column: Column[Any], name: str) -> Condition:
    values: Any = bindparam(name, type_=ARRAY(column.type))
    return column == any_(values)


def _table_of_json(columns: Sequence[Any]) -> Any:
    """Return PostgreSQL's rows of a JSON array of objects. A NUL stays escaped: bodies are JSON within it."""
    values = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
    typed = (column(each.name, _plain(each.type)) for each in columns)
    return values.table_valued(*typed, name="v").render_derived(with_types=True)


def _plain(kind: Any) -> Any:
    return kind if isinstance(kind, Float | Integer) else Text()


_LOCK = _lock(_in(_C.account, _ACCOUNTS), _in(_C.id, _IDS), _in(_C.id, _WITH_BODY))
_LOCK_ARRAYS = _lock(
    _in_array(_C.account, _ACCOUNTS), _in_array(_C.id, _IDS), _in_array(_C.id, _WITH_BODY)
)

_UPDATE = (
    update(schema.jobs)
    .where(_C.account == bindparam("p_account"), _C.id == bindparam("p_id"))
    .values({name: bindparam(f"p_{name}") for name in rows.STATE})
)
_NEW = _table_of_json([_C.account, _C.id, *(_C[name] for name in rows.STATE)])
_UPDATE_JSON = (
    update(schema.jobs)
    .where(_C.account == _NEW.c.account, _C.id == _NEW.c.id)
    .values({name: _NEW.c[name] for name in rows.STATE})
)
_RESULTS = _table_of_json(list(schema.results.columns))
_INSERT_RESULTS = schema.results.insert().from_select(
    [column.name for column in schema.results.columns], select(_RESULTS)
)


def lock(connection: Connection, keys: Collection[JobKey], with_body: Collection[JobKey]) -> Any:
    """Lock jobs and return their states, at least, and the bodies of those `with_body`."""
    statement = _LOCK_ARRAYS if _is_postgresql(connection) else _LOCK
    values = {
        _ACCOUNTS: sorted({key.account for key in keys}),
        _IDS: [key.id for key in keys],
        _WITH_BODY: [key.id for key in with_body],
    }
    return connection.execute(statement, values)


def update_jobs(connection: Connection, states: Rows) -> None:
    """Write the states of jobs, each with its key."""
    if states and _is_postgresql(connection):
        connection.execute(_UPDATE_JSON, _json(states))
    elif states:
        connection.execute(_UPDATE, [_prefixed(row) for row in states])


def insert_results(connection: Connection, results: Rows) -> None:
    """Add results."""
    if results and _is_postgresql(connection):
        connection.execute(_INSERT_RESULTS, _json(results))
    elif results:
        connection.execute(schema.results.insert(), results)


def insert_jobs(connection: Connection, jobs: Rows) -> set[JobKey]:
    """Add jobs and return the keys of those that were not there."""
    if not jobs:
        return set()
    statement = upsert.insert_new(connection, schema.jobs).returning(_C.account, _C.id)
    return {rows.key_of(row) for row in connection.execute(statement, jobs)}


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _json(table: Rows) -> dict[str, str]:
    return {"rows": encode(table).decode()}


def _prefixed(row: dict[str, Any]) -> dict[str, Any]:
    return {f"p_{name}": value for name, value in row.items()}
