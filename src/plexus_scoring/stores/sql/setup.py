"""Bringing a database to this version's tables, and finding out whether it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text

from plexus_scoring.model.errors import ConfigurationError
from plexus_scoring.stores.sql import schema
from plexus_scoring.stores.sql.database import Database, parse_url

# Any fixed number: whoever upgrades holds this advisory lock.
_UPGRADE_LOCK = 7_239_117_452


def upgrade(url: str) -> str:
    """Bring the database to the newest version and return its name; several callers at once are safe.

    Raises StoreUnavailable, ConfigurationError.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _make_directory(Path(str(parsed.database)).resolve().parent)
    database = Database(url, writers=1, readers=1, prepare="off")
    config = _config()

    def work(connection: Connection) -> None:
        if not database.is_sqlite:
            # Neither a migration nor the wait for another's is a statement of a worker.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"))
        config.attributes["connection"] = connection
        _version(connection)
        command.upgrade(config, "head")

    try:
        database.transaction(work, True)  # noqa: FBT003  see there
    finally:
        database.engine.dispose()
    return str(newest_version())


def newest_version() -> str | None:
    """Return the version of the newest migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def check_schema(connection: Connection) -> None:
    """Raise ConfigurationError unless the tables are those of this version; refused where they are read-only."""
    there, wanted = _version(connection), newest_version()
    if there != wanted:
        raise ConfigurationError(
            f"the database is at version {there or 'none'}, this program needs {wanted}: "
            "run `plexus-scoring db upgrade`"
        )
    if connection.dialect.name == "postgresql":
        # A standby, and a session that outlived a failover, answer every question and take no write.
        connection.execute(select(schema.jobs.c.id).limit(0).with_for_update())


def _version(connection: Connection) -> str | None:
    """Return the database's version. Raises ConfigurationError for one that this program does not know."""
    there = MigrationContext.configure(connection).get_current_revision()
    known = [each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()]
    if there is not None and there not in known:
        raise ConfigurationError(
            f"the database is at version {there}, newer than this program's {known[0]}: install the "
            "plexus-scoring that it was upgraded with"
        )
    return there


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"PLEXUS_DATABASE_URL: directory {path} cannot be made: {error.strerror}"
        ) from error


def _config() -> Any:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
