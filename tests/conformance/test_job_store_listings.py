"""Listings of the JobStore port: pages, cursors, stranded jobs."""

from __future__ import annotations

import base64
import shutil

import pytest

from plexus_scoring.model.errors import ErrorInfo, InvalidRequest
from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobStatus
from tests.support.stores import START, claimed, key, new_job, result_of

ERROR = ErrorInfo(code="x", message="y")


async def pages(jobs, status, **options):
    """Return the ids of all pages, page by page."""
    found, cursor = [], None
    while True:
        page = await jobs.list_jobs(status, cursor=cursor, **options)
        found.append([job.id for job in page.jobs])
        cursor = page.cursor
        if cursor is None:
            return found


async def test_jobs_are_listed_by_account_and_status_in_the_order_of_change(jobs, clock):
    for number in range(6):
        await jobs.create(new_job(f"job-{number}", account="ab"[number % 2]))
        clock.advance(1)
    for number in (4, 2):
        clock.advance(1)
        lease = (await claimed(jobs, key(f"job-{number}", "a"))).lease
        await jobs.complete(lease, result_of(lease.key))
    await claimed(jobs, key("job-3", "b"))
    assert await pages(jobs, JobStatus.PENDING, account="a") == [["job-0"]]
    assert await pages(jobs, JobStatus.PENDING, account="b") == [["job-1", "job-5"]]
    assert await pages(jobs, JobStatus.IN_PROGRESS, account="b") == [["job-3"]]
    assert await pages(jobs, JobStatus.COMPLETED, account="a") == [["job-4", "job-2"]]
    assert await pages(jobs, JobStatus.FAILED, account="a") == [[]]
    assert await pages(jobs, JobStatus.PENDING) == [[]]
    listed = (await jobs.list_jobs(JobStatus.COMPLETED, account="a")).jobs[0]
    assert listed == await jobs.get(key("job-4", "a"))


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_pages_hold_every_job_once(jobs, clock, oldest_first):
    ids = [f"job-{number:02}" for number in range(11)]
    for position, job_id in enumerate(ids):
        clock.advance(0 if position % 3 else 0.25)  # some at the same time
        await jobs.create(new_job(job_id))
    found = await pages(jobs, JobStatus.PENDING, limit=4, oldest_first=oldest_first)
    assert [len(page) for page in found if page] == [4, 4, 3]
    flat = [job_id for page in found for job_id in page]
    assert sorted(flat) == ids
    times = [(await jobs.get(key(job_id))).updated_at for job_id in flat]
    assert times == sorted(times, reverse=not oldest_first)


async def test_a_job_that_moves_on_between_pages_disturbs_no_other(jobs, clock):
    for number in range(6):
        await jobs.create(new_job(f"job-{number}"))
        clock.advance(1)
    first = await jobs.list_jobs(JobStatus.PENDING, limit=3)
    await claimed(jobs, "job-2")  # the one that the cursor names
    await claimed(jobs, "job-4")
    second = await jobs.list_jobs(JobStatus.PENDING, limit=3, cursor=first.cursor)
    assert [job.id for job in second.jobs] == ["job-3", "job-5"]


async def test_a_cursor_fits_its_own_listing_only(jobs):
    for number in range(3):
        await jobs.create(new_job(f"job-{number}"))
    cursor = (await jobs.list_jobs(JobStatus.PENDING, limit=1)).cursor
    for options in ({"account": "other"}, {"oldest_first": False}):
        with pytest.raises(InvalidRequest, match="cursor"):
            await jobs.list_jobs(JobStatus.PENDING, limit=1, cursor=cursor, **options)
    with pytest.raises(InvalidRequest, match="cursor"):
        await jobs.list_jobs(JobStatus.FAILED, cursor=cursor)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "not base64!", "é", "\ud800", base64.b64encode(b"[1,2]").decode(),
     base64.urlsafe_b64encode(b'["0", 1e999, "x"]').decode(), "A" * 10_000],
)  # fmt: skip
async def test_a_cursor_of_ones_own_making_is_refused(jobs, cursor):
    with pytest.raises(InvalidRequest, match="cursor"):
        await jobs.list_jobs(JobStatus.PENDING, cursor=cursor)


async def test_stranded_jobs_are_those_that_nobody_comes_for(jobs, clock):
    await jobs.create(new_job("forgotten"))
    await jobs.create(new_job("delayed"))
    await jobs.release((await claimed(jobs, "delayed")).lease, delay=1_000, counted=True)
    await jobs.create(new_job("dead worker", account="other"))
    await claimed(jobs, key("dead worker", "other"), lease_seconds=100)
    await jobs.create(new_job("at work"))
    await claimed(jobs, "at work", lease_seconds=1_000)
    await jobs.create(new_job("done"))
    await jobs.complete((await claimed(jobs, "done")).lease, result_of("done"))
    await jobs.create(new_job("failed"))
    await jobs.fail((await claimed(jobs, "failed")).lease, ERROR)
    assert await jobs.list_stranded(pending_older_than=300) == ()
    clock.advance(290)
    await jobs.create(new_job("fresh"))
    clock.advance(10)

    async def stranded(**options):
        return [job.id for job in await jobs.list_stranded(pending_older_than=300, **options)]

    assert sorted(await stranded()) == ["dead worker", "forgotten"]
    assert await stranded(account="other") == ["dead worker"]
    assert await stranded(account="default") == ["forgotten"]
    assert len(await stranded(limit=1)) == 1
    clock.advance(1_000)
    assert sorted(await stranded()) == [
        "at work",
        "dead worker",
        "delayed",
        "forgotten",
        "fresh",
    ]


async def test_stranded_jobs_come_oldest_first(jobs, clock):
    for number in range(12):
        await jobs.create(new_job(f"job-{number:02}"))
        clock.advance(1)
    clock.advance(60)
    found = await jobs.list_stranded(pending_older_than=0, limit=5)
    assert [job.created_at for job in found] == [START + number for number in range(5)]


async def test_a_stranded_job_is_found_whatever_became_of_its_large_body(jobs, clock, tmp_path):
    await jobs.create(new_job("large", item=Item(id="i", text="x" * 300_000)))
    await jobs.create(new_job("small"))
    shutil.rmtree(tmp_path / "overflow", ignore_errors=True)  # where DynamoDB's large bodies lie
    clock.advance(60)
    found = await jobs.list_stranded(pending_older_than=0)
    assert {job.id for job in found} == {"large", "small"}
