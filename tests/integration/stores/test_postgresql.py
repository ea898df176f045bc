"""How long PostgreSQL may take: one that answers no more holds neither threads nor a process's end; a migration may."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest
from sqlalchemy import text

from plexus_scoring.model.errors import StoreUnavailable
from plexus_scoring.stores.sql import postgresql as postgresql_module
from plexus_scoring.stores.sql import setup
from plexus_scoring.stores.sql.database import Database
from tests.support.clock import HANG_SECONDS
from tests.support.services import postgresql

NO_ANSWER = text("SELECT pg_sleep(100000)")


@pytest.fixture
def patient_server(monkeypatch):
    """The server must not be the one that ends a statement."""
    monkeypatch.setattr(postgresql_module, "BEGIN", "BEGIN")


@pytest.fixture(scope="module")
def url():
    with postgresql() as url:
        yield url
        with psycopg.connect(
            url, autocommit=True
        ) as connection:  # the server waits for its sleepers
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )


def one(connection):
    return connection.execute(text("SELECT 1")).scalar_one()


@pytest.mark.usefixtures("patient_server")
@pytest.mark.parametrize("call", ["read", "write"])
async def test_a_transaction_without_an_answer_frees_its_thread(url, call):
    database = Database(url, writers=1, readers=1, unanswered_seconds=0.2)
    run = getattr(database, call)
    with pytest.raises(StoreUnavailable):
        await run(lambda connection: connection.execute(NO_ANSWER))
    database._lines._limit = HANG_SECONDS  # a busy machine may answer late
    assert await run(one) == 1
    await database.aclose()


@pytest.mark.usefixtures("patient_server")
async def test_closing_ends_what_gets_no_answer(url):
    database = Database(url, writers=1, readers=1)
    begun = threading.Event()

    def work(connection):
        begun.set()
        connection.execute(NO_ANSWER)

    call = asyncio.create_task(database.read(work))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    await database.aclose()
    await asyncio.to_thread(database._read_threads.shutdown)


def test_an_upgrade_may_take_as_long_as_it_needs(url, monkeypatch):
    """Also to wait for another one: a worker's limits are for a worker's statements."""
    limits = []

    def migrate(config, _revision):
        connection = config.attributes["connection"]
        limits.append(connection.execute(text("SHOW statement_timeout")).scalar_one())

    monkeypatch.setattr(setup.command, "upgrade", migrate)
    setup.upgrade(url)
    assert limits == ["0"]


@pytest.mark.usefixtures("patient_server")
async def test_a_transaction_that_was_slow_to_get_a_connection_is_looked_after_too(
    url, monkeypatch
):
    """The look comes round while the thread still connects, and finds nothing under way."""
    database = Database(url, writers=1, readers=1, unanswered_seconds=0.2)
    looked = threading.Event()
    look = database._lines._look

    def look_and_tell():
        look()
        looked.set()

    def connect_after_a_look():
        looked.wait()
        return connect()

    connect = database.engine.connect
    monkeypatch.setattr(database._lines, "_look", look_and_tell)
    monkeypatch.setattr(database.engine, "connect", connect_after_a_look)
    with pytest.raises(StoreUnavailable):
        await database.read(lambda connection: connection.execute(NO_ANSWER))
    await database.aclose()
