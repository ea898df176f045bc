"""Jobs, results and checkpoints are keyed by their account as well.

PostgreSQL changes its tables in place. SQLite cannot change a primary key, so its tables are made again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_TIME = sa.Float(53)
_ACCOUNT = "(SELECT jobs.account FROM jobs WHERE jobs.id = {table}.job_id)"


def upgrade() -> None:
    """Add the account to three primary keys, and to the index of reusable results."""
    # Whose they are nobody can tell without their job; losing an answer that was paid for costs money only.
    op.execute("DELETE FROM checkpoints WHERE job_id NOT IN (SELECT id FROM jobs)")
    op.drop_index("results_by_content", "results")
    if op.get_bind().dialect.name == "sqlite":
        _remake()
    else:
        _alter()
    reusable = sa.text("memo_key IS NOT NULL")
    op.create_index(
        "results_by_content",
        "results",
        ["account", "memo_key", "created_at"],
        postgresql_where=reusable,
        sqlite_where=reusable,
    )


def _alter() -> None:
    for table in ("results", "checkpoints"):
        op.add_column(table, sa.Column("account", _ID))
        account = _ACCOUNT.format(table=table)
        op.execute(f"UPDATE {table} SET account = coalesce({account}, 'default')")  # noqa: S608  own names
        op.alter_column(table, "account", nullable=False)
    op.drop_constraint("results_job_id_key", "results")
    op.create_unique_constraint("results_by_job", "results", ["account", "job_id"])
    for table, key in (
        ("jobs", ["account", "id"]),
        ("results", ["account", "id"]),
        ("checkpoints", ["account", "job_id", "name_digest"]),
    ):
        op.drop_constraint(f"{table}_pkey", table)
        op.create_primary_key(f"{table}_pkey", table, key)


def _remake() -> None:
    """Fill results and checkpoints from the old tables first: they look into the jobs."""
    op.drop_index("checkpoints_by_age", "checkpoints")
    _replace("results", _results(), account=_ACCOUNT.format(table="old"))
    _replace("checkpoints", _checkpoints(), account=_ACCOUNT.format(table="old"))
    op.create_index("checkpoints_by_age", "checkpoints", ["created_at"])
    op.drop_index("jobs_by_account", "jobs")
    op.drop_index("jobs_open", "jobs")
    _replace("jobs", _jobs(), account="old.account")
    op.create_index("jobs_by_account", "jobs", ["account", "status", "updated_at", "id"])
    still_open = sa.text("status IN ('PENDING', 'IN_PROGRESS')")
    op.create_index("jobs_open", "jobs", ["created_at", "id"], sqlite_where=still_open)


def _replace(table: str, columns: list[sa.schema.SchemaItem], *, account: str) -> None:
    made = op.create_table(f"{table}_new", *columns)
    names = [column.name for column in made.columns]
    values = [f"coalesce({account}, 'default')" if n == "account" else f"old.{n}" for n in names]
    op.execute(
        f"INSERT INTO {table}_new ({', '.join(names)}) SELECT {', '.join(values)} FROM {table} AS old"  # noqa: S608
    )
    op.drop_table(table)
    op.rename_table(f"{table}_new", table)


def _jobs() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("account", _ID, primary_key=True),
        sa.Column("id", _ID, primary_key=True),
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
    ]


def _results() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("account", _ID, primary_key=True),
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("memo_key", _ID),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("account", "job_id", name="results_by_job"),
    ]


def _checkpoints() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("account", _ID, primary_key=True),
        sa.Column("job_id", _ID, primary_key=True),
        sa.Column("name_digest", _ID, primary_key=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    ]
