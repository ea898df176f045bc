"""SQS → event source mapping → awslambdaric → handler → engine → DynamoDB and S3 → response queue."""

import json
import uuid

import pytest

from plexus_scoring.model.item import Item, ObjectRef
from plexus_scoring.model.job import JobStatus, NewJob
from plexus_scoring.model.result import result_id_of
from plexus_scoring.model.scorecard_yaml import load_scorecard

pytestmark = pytest.mark.usefixtures("scorecard")


def new_job(text="one two three", score="Words", **changes):
    job_id = f"job-{uuid.uuid4()}"
    item = Item(id=f"item-of-{job_id}", text=text)
    values = {"scorecard": "e2e", "score": score, "item": item, "account": "local"} | changes
    return NewJob(id=job_id, request_id=job_id, **values)


def request(job):
    return {"scoring_job_id": job.id}


def test_a_job_is_scored_stored_and_answered(service):
    job = new_job()
    service.create(job)
    service.send(request(job))
    (response,) = service.wait_for_responses({job.id: 1})[job.id]
    result_id = result_id_of(job.key)
    cost = response.pop("cost")
    assert response == {
        "request_id": job.id,
        "scoring_job_id": job.id,
        "status": "success",
        "version": 1,
        "score_result_id": result_id,
        "value": "3",
        "explanation": "3 words",
        "confidence": None,
        "attachments": {
            "trace": f"scoreresults/{result_id}/trace.json",
            "log": f"scoreresults/{result_id}/log.txt",
        },
    }
    assert cost["total_cost"] == 0.0

    stored = service.job(job.id)
    assert (stored.status, stored.attempt) == (JobStatus.COMPLETED, 1)
    assert service.result(result_id).value == "3"
    trace = json.loads(service.object(response["attachments"]["trace"]))
    assert trace["node_results"][0]["output"]["classification"] == "3"
    log = service.object(response["attachments"]["log"]).decode()
    assert "claimed" in log
    assert "one two three" not in log


def test_a_job_may_come_inline_with_its_message(service):
    request_id = f"inline-{uuid.uuid4()}"
    body = {
        "request_id": request_id,
        "scorecard": "e2e",
        "score": "Words",
        "item": {"text": "a b \u0000 \ud83d"},
    }
    service.send(body)
    (response,) = service.wait_for_responses({request_id: 1})[request_id]
    assert (response["status"], response["value"]) == ("success", "4")
    assert service.job(request_id).status is JobStatus.COMPLETED


def test_text_in_the_bucket_and_text_above_the_tables_limit(service):
    environment = service.deployment.environment()
    bucket = environment["AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME"]
    service.s3.put_object(Bucket=bucket, Key="inbox/a.txt", Body="vier Wörter sind hier".encode())
    by_reference = new_job(item=Item(id="a", s3=ObjectRef(bucket, "inbox/a.txt")))
    long = new_job(text="word " * 120_000)
    service.create(by_reference, long)
    service.send(request(by_reference), request(long))
    responses = service.wait_for_responses({by_reference.id: 1, long.id: 1})
    assert responses[by_reference.id][0]["value"] == "4"
    assert responses[long.id][0]["value"] == "120000"


def test_an_unmet_dependency_is_answered_and_is_nobodys_fault(service):
    job = new_job(score="Long")
    service.create(job)
    service.send(request(job))
    (response,) = service.wait_for_responses({job.id: 1})[job.id]
    assert response["status"] == "error"
    assert response["error"]["code"] == "dependency_unmet"
    service.wait_until_idle()
    assert all(body != json.dumps(request(job)) for body, _ in service.dead_letters)


def test_ten_deliveries_of_one_job_give_one_result_and_equal_answers(service):
    job = new_job(text="counted once only")
    service.create(job)
    service.send(*[request(job)] * 10)
    responses = service.wait_for_responses({job.id: 10})[job.id]
    assert all(response == responses[0] for response in responses)
    assert service.times_scored(job.id) == 1
    assert service.job(job.id).attempt == 1


def test_in_a_batch_only_what_is_not_done_comes_again(service, model):
    good = [new_job(text=f"good {number}") for number in range(8)]
    flaky = new_job(text="fails once", score="Opinion")
    service.create(*good, flaky)
    poison = f"not JSON {uuid.uuid4()}"
    asked = len(model.requests)
    service.send(poison, request(flaky), *map(request, good))
    responses = service.wait_for_responses({job.id: 1 for job in [*good, flaky]})
    reason = service.wait_for_dead_letter(poison)
    service.wait_until_idle()
    assert reason["reason_code"] == "invalid_request"
    assert responses[flaky.id][0]["value"] == "Yes"
    assert service.job(flaky.id).attempt == 2
    assert len(model.requests) - asked == 2
    for job in good:
        # One answer each: the batch's failures did not bring the others back.
        assert len(service.responses[job.id]) == 1
        assert service.times_scored(job.id) == 1


def test_a_job_that_always_fails_ends_after_its_attempts_with_its_reason(service):
    job = new_job(text="fails always", score="Opinion")
    service.create(job)
    service.send(request(job))
    (response,) = service.wait_for_responses({job.id: 1})[job.id]
    reason = service.wait_for_dead_letter(json.dumps(request(job)))
    assert response["error"]["code"] == reason["reason_code"] == "engine_unavailable"
    assert "after 2 attempts" in reason["reason"]
    stored = service.job(job.id)
    assert (stored.status, stored.attempt, stored.result_id) == (JobStatus.FAILED, 2, None)


def test_a_job_whose_provider_is_down_waits_and_is_charged_for_nothing(service):
    job = new_job(text="the provider is down", score="Opinion")
    service.create(job)
    service.send(request(job))
    (response,) = service.wait_for_responses({job.id: 1})[job.id]
    assert response["value"] == "Yes"
    stored = service.job(job.id)
    assert (stored.status, stored.attempt) == (JobStatus.COMPLETED, 1)


BAD_CARDS = {
    "bad-class": "key: bad-class\nscores:\n- {name: A, class: NoSuchClass}\n",
    "bad-cycle": (
        "key: bad-cycle\nscores:\n"
        "- {name: A, class: KeywordClassifier, keywords: [x], depends_on: [A]}\n"
    ),
}


def test_bad_input_of_every_kind_is_dead_lettered_with_its_reason(service):
    for source in BAD_CARDS.values():
        card = load_scorecard(source)
        service.run(lambda app, card=card: app.catalog.put_scorecard(card))
    jobs = {
        "scorecard_error": [new_job(scorecard=name, score="A") for name in BAD_CARDS],
        "not_found": [
            new_job(scorecard="absent"),
            new_job(score="Absent"),
            new_job(item=None, item_id="absent"),
            new_job(item=Item(id="gone", s3=ObjectRef("no-such-bucket", "key"))),
        ],
        "invalid_request": [new_job(item=None)],
    }
    service.create(*(job for group in jobs.values() for job in group))
    wanted = {json.dumps(request(job)): code for code, group in jobs.items() for job in group}
    mark = uuid.uuid4().hex
    wanted |= {
        f"plainly wrong {mark}": "invalid_request",
        f'["{mark}"]': "invalid_request",
        json.dumps({"hello": mark}): "invalid_request",
        json.dumps({"scoring_job_id": "", "mark": mark}): "invalid_request",
        json.dumps({"scoring_job_id": 7, "mark": mark}): "invalid_request",
        "[" * 50_000 + mark: "invalid_request",
        json.dumps({"scoring_job_id": f"unknown-{mark}"}): "not_found",
        json.dumps({"request_id": mark, "scorecard": "e2e", "score": "Words"}): "invalid_request",
        "x" * 1_000_000 + mark: "invalid_request",
    }
    for body in wanted:  # together they would be more than one request may hold
        service.send(body)
    reasons = {body: service.wait_for_dead_letter(body) for body in wanted}
    assert {body: reason["reason_code"] for body, reason in reasons.items()} == wanted
    assert all(reason["reason"] and reason["source"] for reason in reasons.values())
    service.wait_until_idle()
    for group in jobs.values():
        for job in group:
            assert service.job(job.id).status is JobStatus.FAILED
            assert [one["status"] for one in service.responses[job.id]] == ["error"]


def test_the_sweeper_brings_back_a_job_whose_message_got_lost(service):
    job = new_job(text="nobody sent me")
    service.create(job)
    swept = []
    while not swept:  # a job must have waited for 0.1 s
        answer = json.loads(service.deployment.invoke("sweeper").payload)
        assert "scoring_job_ids" in answer, answer
        swept += answer["scoring_job_ids"]
    assert swept == [job.id]
    (response, *_) = service.wait_for_responses({job.id: 1})[job.id]
    assert response["value"] == "3"
    service.wait_until_idle()
    assert service.times_scored(job.id) == 1
