"""Stores that processes share: claimers that know nothing of each other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import uuid

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from plexus_scoring.model.job import JobStatus
from plexus_scoring.stores import dynamodb, sql
from tests.conformance.conftest import empty_database
from tests.support.stores import new_job

JOBS = 30
WORKERS = 2

# Claims everything it can, some by polling, and completes it. Prints the ids it completed.
WORKER = """
import asyncio, json, sys
from plexus_scoring.model.job import Claimed
from plexus_scoring.stores import dynamodb, sql
from tests.support.stores import key, result_of

async def main(backend, place, count):
    if backend == "dynamodb":
        import boto3
        url, table = place.split(" ")
        client = boto3.client("dynamodb", region_name="eu-central-1", endpoint_url=url,
                              aws_access_key_id="testing", aws_secret_access_key="testing")
        stores = dynamodb.connect(table, client=client, threads=4)
    else:
        stores = sql.connect(place)
    print("ready", flush=True)
    sys.stdin.readline()
    done = []

    async def one(job_id):
        answer = await stores.jobs.claim(key(job_id), lease_seconds=60)
        if isinstance(answer, Claimed):
            await stores.jobs.complete(answer.lease, result_of(job_id))
            done.append(job_id)

    await asyncio.gather(*(one(f"job-{n:02}") for n in range(count)))
    while (claimed := await stores.jobs.claim_oldest(lease_seconds=60)) is not None:
        await stores.jobs.complete(claimed.lease, result_of(claimed.job.id))
        done.append(claimed.job.id)
    await stores.aclose()
    print(json.dumps(done), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer", "dynamodb"])
def place(request, tmp_path, monkeypatch):
    """Where the processes meet: the adapter's name, what to give a worker, and a store of our own."""
    if request.param != "dynamodb":
        url = empty_database(request, request.param, tmp_path)
        yield request.param, url, sql.connect(url)
        return
    # moto checks a condition and writes without a lock: one request at a time makes it keep AWS's promise.
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.port}"
    client = boto3.client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    name = f"jobs-{uuid.uuid4()}"
    dynamodb.create_table(client, name)
    yield "dynamodb", f"{url} {name}", dynamodb.connect(name, client=client, threads=4)
    server.shutdown()
    thread.join()
    server.server_close()


def run_workers(backend, address):
    """Start the workers, let them go at once, and return what each of them completed."""
    command = [sys.executable, "-c", WORKER, backend, address, str(JOBS - 10)]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(WORKERS)
        ]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [json.loads(worker.communicate()[0]) for worker in workers]


async def test_no_job_is_done_twice_or_forgotten(place):
    backend, address, stores = place
    for number in range(JOBS):
        await stores.jobs.create(new_job(f"job-{number:02}"))
    done = await asyncio.to_thread(run_workers, backend, address)
    together = sorted(job_id for ids in done for job_id in ids)
    assert together == [f"job-{number:02}" for number in range(JOBS)]
    page = await stores.jobs.list_jobs(JobStatus.COMPLETED, limit=100)
    assert len(page.jobs) == JOBS
    assert {job.attempt for job in page.jobs} == {1}
    await stores.aclose()
