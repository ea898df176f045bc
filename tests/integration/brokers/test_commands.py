"""The operators' commands on a real broker and a real database, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import Claimed, JobStatus, NewJob
from plexus_scoring.stores.sql import connect, upgrade
from plexus_scoring.transports import rabbitmq_topology
from plexus_scoring.transports.rabbitmq import reason_headers
from plexus_scoring.transports.rabbitmq_connection import persistent
from tests.support.stores import key
from tests.support.transport_rigs import RabbitRig


@pytest.fixture
async def rig():
    rig = RabbitRig()
    await rabbitmq_topology.declare(rig.connection, rig.topology)
    yield rig
    await rig.aclose()


@pytest.fixture
def command(rig, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PLEXUS_")} | {
        "PLEXUS_STORE": "sql",
        "PLEXUS_DATABASE_URL": f"sqlite:///{tmp_path}/jobs.db",
        "PLEXUS_SCORING_MODE": "mock",
        "PLEXUS_TRANSPORT": "rabbitmq",
        "PLEXUS_RABBITMQ_URL": rig.url,
        "PLEXUS_RABBITMQ_REQUEST_QUEUE": rig.topology.request,
        "PLEXUS_RABBITMQ_RESPONSE_QUEUE": rig.topology.response,
    }

    def run(*arguments, code=0, **changed):
        ended = subprocess.run(
            [sys.executable, "-c", "from plexus_scoring.cli import main; main()", *arguments],
            env=environment | changed,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        return ended

    return run


async def dead_letter(rig, body, code):
    reason = ErrorInfo(code=code, message="line 3: no such class")
    await rig.connection.publish(
        body.encode(),
        persistent(message_id=code, headers=reason_headers(reason, rig.topology.request)),
        routing_key="",
        exchange=rig.topology.dead_exchange,
    )


async def test_dead_letters_are_seen_chosen_and_redriven_with_their_jobs(rig, command, tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    upgrade(url)
    stores = connect(url)
    await stores.jobs.create(NewJob(id="j1", scorecard="c", score="s", item=Item(id="i", text="t")))
    claimed = await stores.jobs.claim(key("j1"), lease_seconds=60)
    assert isinstance(claimed, Claimed)
    await stores.jobs.fail(claimed.lease, ErrorInfo(code="scorecard_error", message="no"))
    await dead_letter(rig, '{"scoring_job_id": "j1"}', "scorecard_error")
    await dead_letter(rig, "{", "invalid_request")

    listed = json.loads(command("dlq", "list", "--format", "json").stdout)
    assert {row["reason_code"] for row in listed} == {"scorecard_error", "invalid_request"}
    shown = json.loads(command("dlq", "show", "scorecard_error", "--format", "json").stdout)
    assert shown["body"] == {"scoring_job_id": "j1"}

    # Who sees a part only is told so: the others may be those that were asked for.
    for part in (("list",), ("redrive", "--reason", "scorecard_error", "--dry-run")):
        assert "--limit" in command("dlq", *part, "--limit", "1").stderr
        assert "--limit" not in command("dlq", *part).stderr

    choose = ("dlq", "redrive", "--reason", "scorecard_error")
    assert "would move" in command(*choose, "--dry-run").stdout
    tried = json.loads(command(*choose, "--dry-run", "--format", "json").stdout)
    assert (tried["dry_run"], tried["moved"]) == (True, 0)
    assert [row["reason_code"] for row in tried["messages"]] == ["scorecard_error"]
    assert "no dead message nobody" in command("dlq", "redrive", "--id", "nobody", code=2).stderr
    counts = json.loads(command("queue", "stats", "--format", "json").stdout)
    assert (counts["waiting"], counts["dead"]) == (0, 2)

    command("dlq", "redrive")  # the malformed one stays
    counts = json.loads(command("queue", "stats", "--format", "json").stdout)
    assert (counts["waiting"], counts["dead"]) == (1, 1)
    job = await stores.jobs.get(key("j1"))
    assert job is not None
    assert job.status is JobStatus.PENDING

    held = command("sweep", "--older-than", "0")  # the table's row: its message still waits
    assert held.stdout == ""
    assert "still holds 1 messages" in held.stderr
    sweep = ("sweep", "--older-than", "0", "--force")
    assert command(*sweep).stdout.split() == ["j1"]
    assert "--limit" in command(*sweep, "--limit", "1").stderr
    assert json.loads(command(*sweep, "--format", "json").stdout) == {"put_back": ["j1"]}
    await stores.aclose()


async def test_operators_work_for_one_account_at_a_time(rig, command, tmp_path):
    url = f"sqlite:///{tmp_path}/jobs.db"
    upgrade(url)
    stores = connect(url)
    for account in ("one", "two"):
        await stores.jobs.create(NewJob(id="same", account=account, scorecard="c", score="s"))
        claimed = await stores.jobs.claim(key("same", account), lease_seconds=60)
        await stores.jobs.fail(claimed.lease, ErrorInfo(code="x", message="no"))
    await dead_letter(rig, '{"scoring_job_id": "same", "account": "one"}', "not_found")

    stays = command("dlq", "redrive", "--account", "two")
    assert "names account 'one'" in stays.stderr
    command("dlq", "redrive")
    jobs = [await stores.jobs.get(key("same", account)) for account in ("one", "two")]
    assert [job.status for job in jobs] == [JobStatus.PENDING, JobStatus.FAILED]

    sweep = ("sweep", "--older-than", "0", "--force")
    assert command(*sweep, "--account", "two").stdout.split() == []
    assert command(*sweep).stdout.split() == ["same"]
    async with rig.connection.temporary_channel() as channel:
        sent = [await channel.basic_get(rig.topology.request) for _ in range(2)]
    assert {json.loads(bytes(message.body))["account"] for message in sent} == {"one"}
    await stores.aclose()


async def test_dead_letters_can_be_discarded_and_a_wrong_filter_is_told(rig, command):
    """The table's rows: poison does not stay for ever; `--reason not_fund` is no success."""
    for number in range(3):
        await dead_letter(rig, f"{{{number}", "invalid_request")
    await dead_letter(rig, "{", "score_failed")
    for part in (("list",), ("redrive",), ("purge",)):
        ended = command("dlq", *part, "--reason", "not_fund", code=1)
        assert "no dead message has the reason code not_fund" in ended.stderr
    assert "reason code  score_failed" in command("dlq", "show", "score_failed").stdout
    assert "would discard" in command("dlq", "discard", "score_failed", "--dry-run").stdout
    assert "1 discarded" in command("dlq", "discard", "score_failed").stderr
    assert "no dead message nobody" in command("dlq", "discard", "nobody", code=2).stderr
    purge = ("dlq", "purge", "--reason", "invalid_request")
    assert "3 would be discarded" in command(*purge, "--dry-run").stderr
    assert (await rig.admin.stats()).dead == 3
    done = json.loads(command(*purge, "--format", "json").stdout)
    assert (done["dry_run"], done["discarded"], len(done["messages"])) == (False, 3, 3)
    assert (await rig.admin.stats()).dead == 0
    command("dlq", "list")  # an empty queue is no mistake


async def test_a_redriven_job_takes_its_dead_letter_away(rig, command, tmp_path):
    """The table's row: the job COMPLETED, and its dead letter stayed."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    upgrade(url)
    stores = connect(url)
    for name in ("j1", "j2"):
        await stores.jobs.create(NewJob(id=name, scorecard="c", score="s"))
        claimed = await stores.jobs.claim(key(name), lease_seconds=60)
        await stores.jobs.fail(claimed.lease, ErrorInfo(code="score_failed", message="no"))
        await dead_letter(rig, json.dumps({"scoring_job_id": name}), name)
    await stores.aclose()
    command("jobs", "redrive", "j1")
    left = [message.reason_code async for message in rig.admin.dead_letters(10)]
    assert left == ["j2"]
    assert (await rig.admin.stats()).waiting == 1
    assert "no FAILED job" in command("jobs", "redrive", "--all", "--code", "typo", code=1).stderr


async def test_submit_refuses_what_is_not_there(rig, command, tmp_path):
    """The table's row: an unknown scorecard or score, or a queue with a typing mistake; no job is made of it."""
    upgrade(f"sqlite:///{tmp_path}/jobs.db")
    (tmp_path / "card.yaml").write_text(
        "name: Calls\nkey: calls\nscores:\n- name: Greeting\n  class: KeywordClassifier\n  keywords: [hi]\n"
    )
    (tmp_path / "item.txt").write_text("hi")
    submit = ("submit", "--item", "item.txt", "--score")
    assert "'cals'" in command(*submit, "Greeting", "--scorecard", "cals", code=2).stderr
    unknown = command(*submit, "Greting", "--scorecard", "card.yaml", code=2)
    assert "it has Greeting" in unknown.stderr
    typo = {"PLEXUS_RABBITMQ_REQUEST_QUEUE": f"{rig.topology.request}-typo"}
    missing = command(*submit, "Greeting", "--scorecard", "calls", code=2, **typo)
    assert (
        f"{rig.topology.request}-typo (PLEXUS_RABBITMQ_REQUEST_QUEUE) does not exist"
        in missing.stderr
    )
    assert json.loads(command("jobs", "list", "--format", "json").stdout)["jobs"] == []
    command(*submit, "greeting", "--scorecard", "calls")
    command(*submit, "Greting", "--scorecard", "cals", "--force")
    assert (await rig.admin.stats()).waiting == 2


def test_a_broker_that_refuses_us_has_no_unknown_counts(rig, command):
    wrong = rig.url.replace("guest:guest", "guest:wrong")
    assert "refused" in command("queue", "stats", code=1, PLEXUS_RABBITMQ_URL=wrong).stderr
    elsewhere = rig.url.replace("/?", "/elsewhere?")
    answer = command("queue", "stats", code=4, PLEXUS_RABBITMQ_URL=elsewhere).stderr
    assert "virtual host" in answer
    assert len(answer.splitlines()) == 1


@pytest.mark.parametrize("broken", ["password", "port"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("queue", "stats"),
        ("dlq", "list"),
        ("submit", "--scorecard", "x", "--score", "y", "--item-id", "z"),
        ("submit", "--scorecard", "x", "--score", "y", "--item-id", "z", "--item-id", "w"),
    ],
)
def test_a_broker_that_refuses_is_one_line(rig, command, tmp_path, broken, arguments):
    upgrade(f"sqlite:///{tmp_path}/jobs.db")
    wrong = urlsplit(rig.url)
    host = f"guest:wrong@{wrong.hostname}:{wrong.port}" if broken == "password" else "127.0.0.1:1"
    if arguments[0] == "submit":
        catalog = tmp_path / "catalog" / "scorecards"
        catalog.mkdir(parents=True)
        text = "name: x\nscores: [{name: y, class: KeywordClassifier, keywords: [a]}]"
        (catalog / "x.yaml").write_text(text)
    ended = command(
        *arguments,
        code=1 if broken == "password" else 4,
        PLEXUS_RABBITMQ_URL=f"amqp://{host}/",
        **({"PLEXUS_CATALOG_DIR": str(tmp_path / "catalog")} if arguments[0] == "submit" else {}),
    )
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "rabbitmq" in ended.stderr.lower()
    assert "wrong@" not in ended.stderr


def test_a_worker_with_a_wrong_password_ends_with_one_line(rig, command, tmp_path):
    upgrade(f"sqlite:///{tmp_path}/jobs.db")
    wrong = urlsplit(rig.url)
    url = f"amqp://guest:wrong@{wrong.hostname}:{wrong.port}/"
    ended = command("worker", code=1, PLEXUS_RABBITMQ_URL=url, PLEXUS_HEALTH_PORT="0")
    told = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(told) == 1
    assert "PLEXUS_RABBITMQ_URL" in told[0]
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "RuntimeWarning" not in ended.stderr
    assert '"level": "INFO", "logger": "alembic' not in ended.stderr
