"""A real worker on a provider that refuses the account, that throttles, and that fails within a success."""

import asyncio
import json
import logging
import textwrap

import pytest

from plexus_scoring.model.job import JobKey, JobStatus, NewJob
from plexus_scoring.service.policy import Policy
from plexus_scoring.settings import Settings
from plexus_scoring.stores.sql import connect as connect_sql
from plexus_scoring.stores.sql.setup import upgrade
from plexus_scoring.worker.process import Worker
from tests.support.chat_server import ScriptedChatServer
from tests.support.memory_transport import memory_transport

JOBS = 20
SCORECARD = """
    name: card
    scores:
      - name: Greeting
        class: LangGraphScore
        model_provider: ChatOpenAI
        model_name: gpt-4o-mini
        output: {value: classification, explanation: explanation}
        graph:
          - name: ask
            class: YesOrNoClassifier
            user_message: "greeting? {{text}}"
"""
NO_CREDIT = {"status": 402, "error": {"message": "Insufficient Balance", "code": 402}}
WRONG_KEY = {"status": 401, "error": {"message": "bad key", "code": "invalid_api_key"}}
NO_DEPLOYMENT = {"status": 404, "error": {"message": "gone", "code": "DeploymentNotFound"}}
CREDIT_AS_400 = {"status": 400, "error": {"message": "Your credit balance is too low"}}
SLOW_DOWN = {"status": 429, "headers": {"Retry-After": "60000"}}


@pytest.fixture
async def rig(tmp_path, monkeypatch):
    """Return a function that runs a worker on a script until it has told `until`, and returns what it left."""
    monkeypatch.setattr(Policy, "refused_delay", lambda *_, **__: 0.05)
    catalog = tmp_path / "catalog"
    (catalog / "scorecards").mkdir(parents=True)
    (catalog / "items").mkdir()
    (catalog / "scorecards" / "card.yaml").write_text(textwrap.dedent(SCORECARD))
    (catalog / "items" / "call.txt").write_text("Agent: Hello.")
    url = f"sqlite:///{tmp_path}/jobs.db"
    upgrade(url)

    async def run(*replies, until):
        with ScriptedChatServer([{"when": "", "replies": list(replies)}]) as server:
            variables = server.environment() | {
                "PLEXUS_DATABASE_URL": url,
                "PLEXUS_CATALOG_DIR": str(catalog),
                "PLEXUS_ATTACHMENTS_DIR": str(tmp_path / "attachments"),
                "PLEXUS_HEALTH_HOST": "127.0.0.1",
                "PLEXUS_HEALTH_PORT": "0",
                "PLEXUS_WORKER_CONCURRENCY": "1",
                "PLEXUS_BREAKER_FAILURES": "3",
                "PLEXUS_BREAKER_SECONDS": "0.05" if until == "answers" else "3600",
                "PLEXUS_MODEL_RETRY_BASE_SECONDS": "0.001",
            }
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            settings = Settings.from_environment()
            store = connect_sql(url)
            transport = memory_transport(concurrency=1)
            worker = Worker(settings, transport)
            queue = transport.admin
            told = asyncio.Event()
            note, answer = worker.health.set_problem, queue.respond

            def problem(what, text):
                note(what, text)
                if until == "breaker" and what == "engine breaker" and text is not None:
                    told.set()

            async def respond(response):
                await answer(response)
                if until == "answers" and len(queue.responses) == JOBS:
                    told.set()

            monkeypatch.setattr(worker.health, "set_problem", problem)
            monkeypatch.setattr(queue, "respond", respond)
            for number in range(JOBS):
                job = NewJob(id=f"job-{number}", scorecard="card", score="Greeting", item_id="call")
                await store.jobs.create(job)
                await queue.send(json.dumps({"scoring_job_id": job.id}), request_id=job.id)
            running = asyncio.create_task(worker.run())
            await told.wait()
            ready = worker.health.ready()
            worker.stop()
            await running
            jobs = [
                await store.jobs.get(JobKey("default", f"job-{number}")) for number in range(JOBS)
            ]
            await store.jobs.aclose()
            return server, jobs, ready, queue

    return run


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (NO_CREDIT, "Insufficient Balance"),
        (WRONG_KEY, "the key is refused"),
        (NO_DEPLOYMENT, "DeploymentNotFound"),
        (CREDIT_AS_400, "credit balance is too low"),
    ],
)
async def test_a_refused_account_leaves_the_jobs_and_opens_the_breaker(rig, refusal, says, caplog):
    caplog.set_level(logging.INFO)
    server, jobs, (ready, state), queue = await rig(refusal, until="breaker")
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.PENDING, 0)}
    assert (queue.dead, queue.responses) == ({}, [])
    assert len(server.requests) < JOBS
    assert not ready
    assert says in state["problems"]["engine breaker"]
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert [line for line in warnings if says in line] == [warnings[0]]


async def test_all_jobs_are_done_once_the_account_is_paid(rig):
    _, jobs, _, queue = await rig(*[NO_CREDIT] * 7, "Yes", until="answers")
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.COMPLETED, 1)}
    assert {response.value for response in queue.responses} == {"yes"}


async def test_a_long_wait_costs_no_attempt(rig):
    _, jobs, (_, state), _ = await rig(SLOW_DOWN, until="breaker")
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.PENDING, 0)}
    assert "wants no call" in state["problems"]["engine breaker"]


async def test_an_error_in_the_middle_of_a_success_is_asked_again(rig):
    choice = {"finish_reason": "error", "error": {"code": 502, "message": "lost"}}
    broken = {"raw": json.dumps({"choices": [{**choice, "message": {"content": "Agent said No"}}]})}
    server, jobs, _, queue = await rig(broken, broken, "Yes", until="answers")
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.COMPLETED, 1)}
    assert {response.value for response in queue.responses} == {"yes"}
    assert len(server.requests) == JOBS + 2
