"""Nothing is assumed of a session: a pooler gives each transaction another one, a failover leaves useless ones."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid

import psycopg
import pytest
from sqlalchemy import text

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.model.job import Claimed, JobStatus
from plexus_scoring.stores import sql
from plexus_scoring.stores.sql.database import Database
from tests.support.services import pgbouncer, postgresql
from tests.support.stores import key, new_job, result_of


@pytest.fixture(scope="module")
def server():
    with postgresql() as url:
        yield url


@pytest.fixture(scope="module")
def pooler(server):
    with pgbouncer(server, server_connections=4) as url:
        yield url


@pytest.fixture
def name(server):
    """A database of its own."""
    name = f"sessions_{uuid.uuid4().hex[:8]}"
    execute(server, f"CREATE DATABASE {name}")
    return name


@pytest.fixture
def direct(server, name):
    return f"{server.rpartition('/')[0]}/{name}"


@pytest.fixture
def pooled(pooler, name):
    return f"{pooler.rpartition('/')[0]}/{name}"


@pytest.fixture
async def database(direct):
    database = Database(direct)
    yield database
    await database.aclose()


# Unseen by the driver, which would forget them as well.
FORGET = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"


def execute(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def value_of(statement):
    return lambda connection: connection.execute(text(statement)).scalar_one()


async def test_300_jobs_of_three_workers_share_four_server_connections(pooled):
    """The table's row: connects without startup options, and 300 of 300 jobs."""
    sql.upgrade(pooled)
    workers = [sql.connect(pooled) for _ in range(3)]
    jobs = [f"job-{number:03}" for number in range(300)]
    await asyncio.gather(*(workers[0].jobs.create(new_job(job)) for job in jobs))

    async def work(worker, job):
        answer = await worker.jobs.claim(key(job), lease_seconds=60)
        if isinstance(answer, Claimed):
            await worker.jobs.renew(answer.lease, lease_seconds=60)
            await worker.jobs.complete(answer.lease, result_of(job))

    await asyncio.gather(*(work(worker, job) for job in jobs for worker in workers))
    done = await workers[0].jobs.list_jobs(JobStatus.COMPLETED, limit=400)
    for worker in workers:
        await worker.aclose()
    assert len(done.jobs) == 300


async def test_a_pooler_is_found_and_nothing_is_prepared_behind_it(pooled, direct):
    sql.upgrade(direct)
    said = {}
    for url in (pooled, direct):
        stores = sql.connect(url)
        said[url] = await stores.jobs.check()
        await stores.aclose()
    assert "through a connection pooler, without TLS, statements not prepared" in said[pooled]
    assert "directly, without TLS, statements prepared" in said[direct]


@pytest.mark.parametrize(
    ("prepare", "prepared"), [("on", "statements prepared"), ("off", "not prepared")]
)
async def test_the_setting_goes_before_what_is_found(direct, prepare, prepared):
    sql.upgrade(direct)
    stores = sql.connect(direct, prepare=prepare)
    assert prepared in await stores.jobs.check()
    await stores.aclose()


async def test_limits_hold_in_the_transaction_and_leave_the_session_as_it_was(pooled):
    """The next client of the server's connection, a migration for example, has limits of its own."""
    database = Database(pooled)
    inside = [
        await database.write(value_of(f"SHOW {name}"))
        for name in ("statement_timeout", "idle_in_transaction_session_timeout")
    ]
    await database.aclose()
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as other:
        after = other.execute("SHOW statement_timeout").fetchone()
    assert (inside, after) == (["20s", "30s"], ("0",))


async def test_sessions_that_stayed_read_only_after_a_failover_are_dropped(database, server, name):
    """The table's row: pooled sessions stay read-only, new ones can write."""
    execute(server, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await asyncio.gather(*(database.read(value_of("SELECT pg_sleep(0.01)::text")) for _ in "1234"))
    with pytest.raises(StoreUnavailable, match="read-only"):
        await database.write(lambda connection: connection.execute(text("CREATE TABLE t ()")))
    await asyncio.gather(*(database.read(value_of("SELECT pg_sleep(0.01)::text")) for _ in "1234"))
    execute(server, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await database.write(lambda connection: connection.execute(text("CREATE TABLE t ()")))


async def test_read_only_sessions_of_the_pooler_are_dropped_too(pooled, server, name):
    """The pooler keeps its server's sessions; one whose client leaves within a transaction is closed."""
    database = Database(pooled)
    execute(server, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await asyncio.gather(*(database.read(value_of("SELECT pg_sleep(0.01)::text")) for _ in "1234"))
    execute(server, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    for _ in range(4):  # server connections; each call tries three times
        with contextlib.suppress(StoreUnavailable):
            await database.write(lambda connection: connection.execute(text("CREATE TABLE t ()")))
            break
    assert await database.read(value_of("SELECT count(*) FROM t")) == 0
    await database.aclose()


async def test_a_database_that_only_reads_is_not_ready(direct, server, name):
    sql.upgrade(direct)
    execute(server, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    stores = sql.connect(direct)
    with pytest.raises(StoreUnavailable, match="read-only"):
        await stores.jobs.check()
    execute(server, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert "PostgreSQL" in await stores.jobs.check()
    await stores.aclose()


async def test_a_session_that_lost_its_prepared_statements_is_dropped(database):
    """A pooler that passes on its server's process id is found by what it does."""
    ask = text("SELECT CAST(:value AS text)")

    def read(connection):
        return connection.execute(ask, {"value": "x"}).scalar_one()

    for _ in range(3):
        await database.read(read)
    await database.read(lambda connection: connection.exec_driver_sql(FORGET))
    assert await database.read(read) == "x"
    assert database.pooled.found


async def test_tls_is_as_the_url_says(direct):
    database = Database(f"{direct}?sslmode=require")
    with pytest.raises(StoreUnavailable, match="SSL"):
        await database.read(value_of("SELECT 1"))
    await database.aclose()


async def test_connect_timeout_is_as_the_url_says(monkeypatch):
    """The server's port takes connections and says nothing."""
    seen = []
    connect = psycopg.Connection.connect.__func__

    def watch(cls, *args, **options):
        seen.append(options["connect_timeout"])
        return connect(cls, *args, **options)

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(watch))
    monkeypatch.setattr(psycopg, "connect", psycopg.Connection.connect)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        database = Database(f"postgresql://ann@127.0.0.1:{port}/jobs?connect_timeout=2")
        with pytest.raises(StoreUnavailable, match="timeout"):
            await database.read(value_of("SELECT 1"))
        await database.aclose()
    assert set(seen) == {"2"}
