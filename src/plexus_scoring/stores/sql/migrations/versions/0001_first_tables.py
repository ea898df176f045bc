"""The first tables: jobs, results, items, scorecards, checkpoints.

A migration says what it did on its day and never changes; `schema.py` says what the tables are now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_TIME = sa.Float(53)


def upgrade() -> None:
    """Create everything."""
    _create_jobs()
    _create_results()
    _create_catalog()
    op.create_table(
        "checkpoints",
        sa.Column("job_id", _ID, primary_key=True),
        sa.Column("name_digest", _ID, primary_key=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    )
    op.create_index("checkpoints_by_age", "checkpoints", ["created_at"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("account", _ID, nullable=False),
        sa.Column("status", _ID, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("completed_at", _TIME),
        sa.Column("lease_token", _ID),
        sa.Column("lease_expires_at", _TIME),
        sa.Column("last_error", sa.Text()),
        sa.Column("result_id", _ID),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("jobs_by_account", "jobs", ["account", "status", "updated_at", "id"])
    still_open = sa.text("status IN ('PENDING', 'IN_PROGRESS')")
    op.create_index(
        "jobs_open",
        "jobs",
        ["created_at", "id"],
        postgresql_where=still_open,
        sqlite_where=still_open,
    )


def _create_results() -> None:
    op.create_table(
        "results",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_id", _ID, nullable=False, unique=True),
        sa.Column("memo_key", _ID),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    reusable = sa.text("memo_key IS NOT NULL")
    op.create_index(
        "results_by_content",
        "results",
        ["memo_key", "created_at"],
        postgresql_where=reusable,
        sqlite_where=reusable,
    )


def _create_catalog() -> None:
    op.create_table(
        "items",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("owner", _ID, primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "scorecards",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("owner", _ID, primary_key=True),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "scorecard_versions",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("owner", _ID, primary_key=True),
        sa.Column("version", _ID, primary_key=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "scorecard_names",
        sa.Column("name_digest", _ID, primary_key=True),
        sa.Column("owner", _ID, primary_key=True),
        sa.Column("scorecard_id", _ID, primary_key=True),
    )
    op.create_index("scorecard_names_by_scorecard", "scorecard_names", ["scorecard_id", "owner"])
