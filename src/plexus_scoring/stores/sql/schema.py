"""The tables. Migrations (``migrations/versions``) bring a database here; a test holds the two together.

As in the other stores, columns are what conditions, orders and look-ups need; the rest is a JSON document in
`body`, whose NULs are escaped, so that PostgreSQL takes every text.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

metadata = MetaData()

# Ids sort by their bytes everywhere, whatever the database's locale.
_ID = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_TIME = Float(53)

jobs = Table(
    "jobs",
    metadata,
    Column("account", _ID, primary_key=True),
    Column("id", _ID, primary_key=True),
    Column("status", _ID, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("not_before", _TIME, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", _TIME),
    Column("completed_at", _TIME),
    Column("lease_token", _ID),
    Column("lease_expires_at", _TIME),
    Column("last_error", Text),
    Column("result_id", _ID),
    Column("body", Text, nullable=False),
    Index("jobs_by_account", "account", "status", "updated_at", "id"),
    Index(
        "jobs_open",
        "created_at",
        "id",
        postgresql_where=text("status IN ('PENDING', 'IN_PROGRESS')"),
        sqlite_where=text("status IN ('PENDING', 'IN_PROGRESS')"),
    ),
)

results = Table(
    "results",
    metadata,
    Column("account", _ID, primary_key=True),
    Column("id", _ID, primary_key=True),
    Column("job_id", _ID, nullable=False),
    Column("memo_key", _ID),
    Column("created_at", _TIME, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("account", "job_id", name="results_by_job"),
    Index(
        "results_by_content",
        "account",
        "memo_key",
        "created_at",
        postgresql_where=text("memo_key IS NOT NULL"),
        sqlite_where=text("memo_key IS NOT NULL"),
    ),
)

# `owner` is the account, or empty for what belongs to all.
items = Table(
    "items",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("owner", _ID, primary_key=True),
    Column("body", Text, nullable=False),
)

scorecards = Table(
    "scorecards",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("owner", _ID, primary_key=True),
    Column("updated_at", _TIME, nullable=False),
    Column("version", Text, nullable=False),
    Column("body", Text, nullable=False),
)

scorecard_versions = Table(
    "scorecard_versions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("owner", _ID, primary_key=True),
    Column("version", _ID, primary_key=True),
    Column("created_at", _TIME, nullable=False),
    Column("body", Text, nullable=False),
)

# What a scorecard answers to, by SHA-256: a name may be longer than an index entry.
scorecard_names = Table(
    "scorecard_names",
    metadata,
    Column("name_digest", _ID, primary_key=True),
    Column("owner", _ID, primary_key=True),
    Column("scorecard_id", _ID, primary_key=True),
    Index("scorecard_names_by_scorecard", "scorecard_id", "owner"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("account", _ID, primary_key=True),
    Column("job_id", _ID, primary_key=True),
    Column("name_digest", _ID, primary_key=True),
    Column("created_at", _TIME, nullable=False),
    Column("name", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Index("checkpoints_by_age", "created_at"),
)
