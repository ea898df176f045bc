"""What DynamoDB's answers mean, and calls that botocore sends twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from plexus_scoring.model.errors import (
    ConfigurationError,
    InvalidRequest,
    LeaseLost,
    StoreUnavailable,
)
from plexus_scoring.model.job import Claimed, JobStatus, Lease
from plexus_scoring.stores import dynamodb
from plexus_scoring.stores.dynamodb import rows
from tests.support.stores import FakeClock, key, new_job, result_of

LEASE = Lease(key=key(), token="t", expires_at=0.0, attempt=1)


def refusal(code, *, reasons=None, item=None):
    response = {"Error": {"Code": code, "Message": "why"}}
    if reasons is not None:
        response["CancellationReasons"] = [
            {"Code": reason, **({"Item": item} if item else {})} for reason in reasons
        ]
    elif item is not None:
        response["Item"] = item
    return ClientError(response, "Operation")


class Client:
    """A client whose calls answer, in turn, what they were told to."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []

    def __getattr__(self, name):
        def call(**arguments):
            self.calls.append((name, arguments))
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer(arguments) if callable(answer) else answer

        return call


@pytest.fixture
def open_stores():
    with ThreadPoolExecutor(1) as threads:
        yield lambda client: dynamodb.connect(
            "jobs", client=client, executor=threads, clock=FakeClock()
        )


@pytest.mark.parametrize(
    "error",
    [
        refusal("ProvisionedThroughputExceededException"),
        refusal("ThrottlingException"),
        refusal("InternalServerError"),
        refusal("AccessDeniedException"),
        refusal("ResourceNotFoundException"),
        refusal("ExpiredTokenException"),
        EndpointConnectionError(endpoint_url="https://x"),
        refusal("TransactionCanceledException", reasons=["None", "ThrottlingError"]),
    ],
)
async def test_what_may_pass_is_no_fault_of_the_job(open_stores, error):
    with pytest.raises(StoreUnavailable, match="jobs"):
        await open_stores(Client(*[error] * 5_000)).jobs.complete(LEASE, result_of("job-1"))


@pytest.mark.parametrize(
    "error",
    [
        refusal("ValidationException"),
        refusal("TransactionCanceledException", reasons=["ValidationError", "None"]),
    ],
)
async def test_refused_data_is_a_fault_of_the_request(open_stores, error):
    with pytest.raises(InvalidRequest):
        await open_stores(Client(error)).jobs.complete(LEASE, result_of("job-1"))


async def test_a_refused_condition_is_a_lost_lease(open_stores):
    error = refusal("TransactionCanceledException", reasons=["ConditionalCheckFailed", "None"])
    with pytest.raises(LeaseLost):
        await open_stores(Client(error)).jobs.complete(LEASE, result_of("job-1"))


async def test_a_conflict_of_transactions_is_waited_out(open_stores):
    conflict = refusal("TransactionCanceledException", reasons=["TransactionConflict", "None"])
    client = Client(conflict, refusal("TransactionConflictException"), {})
    await open_stores(client).jobs.complete(LEASE, result_of("job-1"))
    tokens = {arguments["ClientRequestToken"] for _, arguments in client.calls}
    assert len(client.calls) == 3
    assert len(tokens) == 1
    assert len(tokens.pop()) <= 36


async def test_a_conflict_that_does_not_end_is_unavailable(open_stores):
    client = Client(*[refusal("TransactionConflictException")] * 6)
    with pytest.raises(StoreUnavailable):
        await open_stores(client).jobs.renew(LEASE, lease_seconds=1)
    assert client.answers == []


def stored(values):
    """Return the item that a claim's own values would have left."""
    aliases = values["ExpressionAttributeValues"]
    by_name = {}
    for part in values["UpdateExpression"].removeprefix("SET ").split(", "):
        name, _, value = part.partition(" = ")
        by_name[name.removeprefix("#")] = aliases.get(value)
    return {
        **rows.job_key(key()),
        **{name: value for name, value in by_name.items() if value},
        "account": {"S": "default"},
        "created_at": {"N": "1"},
        "not_before": {"N": "0"},
        "attempt": {"N": "1"},
        "body": {"S": '{"id":"job-1","scorecard":"c","score":"s"}'},
    }


IN_PROGRESS = {
    "status": {"S": "IN_PROGRESS"},
    "lease_token": {"S": "another"},
    "lease_expires_at": {"N": "60"},
}


async def test_a_claim_that_was_sent_twice_is_ours(open_stores):
    def refuse(arguments):
        raise refusal("ConditionalCheckFailedException", item=stored(arguments))

    answer = await open_stores(Client(refuse)).jobs.claim(key("job-1"), lease_seconds=60)
    assert isinstance(answer, Claimed)
    assert answer.job.status is JobStatus.IN_PROGRESS


async def test_a_redrive_that_was_sent_twice_succeeds_once_a_worker_has_claimed_the_job(
    open_stores,
):
    def refuse(arguments):
        raise refusal("ConditionalCheckFailedException", item=stored(arguments) | IN_PROGRESS)

    job = await open_stores(Client(refuse)).jobs.redrive(key("job-1"))
    assert job.status is JobStatus.IN_PROGRESS


async def test_claiming_is_one_call_and_completing_is_one_call(open_stores):
    client = Client(lambda arguments: {"Attributes": stored(arguments)}, {})
    jobs = open_stores(client).jobs
    answer = await jobs.claim(key("job-1"), lease_seconds=60)
    await jobs.complete(answer.lease, result_of("job-1"))
    assert [name for name, _ in client.calls] == ["update_item", "transact_write_items"]


async def test_without_attachments_a_large_body_is_refused(open_stores):
    with pytest.raises(InvalidRequest, match="no attachments"):
        await open_stores(Client()).jobs.create(new_job(metadata={"x": "y" * 40_000}))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal("ResourceNotFoundException"), ConfigurationError),
        (refusal("AccessDeniedException"), ConfigurationError),
        (refusal("ThrottlingException"), StoreUnavailable),
        ({"Table": {"TableStatus": "CREATING"}}, StoreUnavailable),
        ({"Table": {"TableStatus": "ACTIVE", "KeySchema": []}}, ConfigurationError),
    ],
)
async def test_check_tells_set_up_from_outage(open_stores, answer, error):
    with pytest.raises(error, match="jobs"):
        await open_stores(Client(answer)).jobs.check()
