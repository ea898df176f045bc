"""Whatever comes in becomes a typed request or one clear refusal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.model.job import JobKey, NewJob
from plexus_scoring.model.messages import encode_request, parse_request, refused, well_formed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=12,
)
IDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20) | st.just(
    "default"
)
NAMES = [
    "scoring_job_id",
    "request_id",
    "scorecard",
    "score",
    "item",
    "text",
    "s3",
    "id",
    "account",
]
NEAR_MISSES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5)


def test_the_request_id_defaults_to_the_jobs():
    request = parse_request('{"scoring_job_id": "job-1", "colour": "red"}')
    assert (request.scoring_job_id, request.request_id) == ("job-1", "job-1")
    assert request.extra == {"colour": "red"}


INLINE = {"scorecard": "c", "score": "s", "item": {"text": "t"}}


@pytest.mark.parametrize("named", [{}, {"request_id": None}])
def test_a_correlation_id_names_the_answer_and_never_a_job(named):
    request = parse_request({"scoring_job_id": "job-1", **named}, correlation_id="c")
    assert (request.key, request.request_id) == (JobKey("default", "job-1"), "c")
    request = parse_request({"scoring_job_id": "job-1", "request_id": "r"}, correlation_id="c")
    assert request.request_id == "r"
    with pytest.raises(InvalidRequest, match="has no request_id"):
        parse_request({**INLINE, **named}, correlation_id="c")
    request = parse_request({**INLINE, **named, "scoring_job_id": "own"}, correlation_id="c")
    assert request.key == request.new.key == JobKey("default", "own")


@pytest.mark.parametrize("what", [{"scoring_job_id": "j"}, {**INLINE, "request_id": "j"}])
def test_a_message_without_an_account_belongs_to_its_queues(what):
    assert parse_request(what).key == JobKey("default", "j")
    assert parse_request(what, default_account="acme").key == JobKey("acme", "j")
    request = parse_request({**what, "account": "other"}, default_account="acme")
    assert request.key == JobKey("other", "j")
    assert request.new is None or request.new.key == request.key
    with pytest.raises(InvalidRequest, match="account"):
        parse_request({**what, "account": "a\0b"})


def test_a_name_is_the_same_however_its_accents_are_encoded():
    name = "Équipe Qualité"
    named = {**INLINE, "request_id": "r", "scorecard": name, "score": name}
    decomposed = {
        **named,
        **dict.fromkeys(("scorecard", "score"), unicodedata.normalize("NFD", name)),
    }
    assert parse_request(decomposed) == parse_request(named)


@given(IDS, IDS)
def test_a_message_for_a_stored_job_means_that_job(account, job_id):
    job = NewJob(id=job_id, account=account, scorecard="c", score="s")
    for default in ("default", "acme", account):
        body = encode_request(job)
        assert (json.loads(body).get("account") is None) == (account == "default")
        if account != "default" or default == "default":
            assert parse_request(body, default_account=default).key == job.key


def test_a_refused_message_is_answered_under_what_names_it():
    error = InvalidRequest("no").info()
    answer = refused(error, {"request_id": 7, "reply_to": "here"}, "c")
    assert (answer.request_id, answer.scoring_job_id, answer.reply_to) == ("c", None, "here")
    assert answer.body()["error"] == {"code": "invalid_request", "message": "no"}
    answer = refused(error, {"request_id": "r", "scoring_job_id": "j"}, "c", reply_to="there")
    assert (answer.request_id, answer.scoring_job_id, answer.reply_to) == ("r", "j", "there")
    assert refused(error, ["no object"], "c").request_id == "c"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "not JSON"),
        ("{", "line 1 column 2"),
        ("[]", "not an array"),
        ("null", "not null"),
        ("3", "not a number"),
        ("true", "not a boolean"),
        ("{}", "no scoring_job_id"),
        ('{"scoring_job_id": ""}', "scoring_job_id is empty"),
        ('{"scoring_job_id": "  "}', "scoring_job_id is empty"),
        ('{"scoring_job_id": null}', "no scoring_job_id"),
        ('{"scoring_job_id": 7}', "$.scoring_job_id"),
        ('{"scoring_job_id": "a\\u0000b"}', "not printable"),
        (json.dumps({"scoring_job_id": "x" * 600}), "longer than 512"),
        ("[" * 100_000, "nested too deeply"),
        ('{"scoring_job_id":"a","b":' + "[" * 100_000, "nested too deeply"),
        (b"\xff", "not UTF-8"),
        ('{"scoring_job_id":"a","b":' + "1" * 6_000 + "}", "too many digits"),
        ('{"scorecard":"c","score":"s"}', "no request_id"),
        ('{"request_id":"r","score":"s","item":{"id":"i"}}', "no scorecard"),
        ('{"request_id":"r","scorecard":"c","score":"s"}', "has no item"),
        ('{"request_id":"r","scorecard":"c","score":"s","item":{}}', "item is empty"),
        (
            (
                '{"request_id":"r","scorecard":"c","score":"s",'
                '"item":{"text":"t","s3":{"bucket":"b","key":"k"}}}'
            ),
            "both text and s3",
        ),
        (
            '{"request_id":"r","scorecard":"c","score":"s","item":{"s3":{"bucket":"b"}}}',
            "$.item.s3",
        ),
        (
            '{"request_id":"r","scorecard":"c","score":"s","item":{"text":"t","metadata":[]}}',
            "$.item.metadata",
        ),
    ],
)
def test_what_cannot_be_worked_on_is_refused_in_one_line(body, says):
    with pytest.raises(InvalidRequest, match=r"^the ") as refusal:
        parse_request(body)
    assert says in refusal.value.message
    assert "\n" not in refusal.value.message


@given(JSON | NEAR_MISSES)
def test_any_json_is_understood_or_refused(value):
    try:
        request = parse_request(json.dumps(value))
    except InvalidRequest:
        return
    assert request.scoring_job_id
    assert request.request_id


@given(st.binary() | st.text())
def test_any_bytes_are_understood_or_refused(body):
    with pytest.raises(InvalidRequest):
        parse_request(body)


def test_lone_surrogates_are_replaced_wherever_they_stand():
    body = (
        r'{"request_id":"r","scorecard":"c","score":"s",'
        r'"item":{"text":"a\ud800b","metadata":{"k\udfff":["\ud83d\ude00","\ud83d"]}}}'
    )
    item = parse_request(body).new.item
    assert item.text == "a\ufffdb"
    assert item.metadata == {"k\ufffd": ["😀", "\ufffd"]}
    item.digest()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", True),
        ("cc-" + "a" * 32 + "-" + "b" * 16 + "-01-later", True),
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01\n", False),
        ("00-" + "0" * 32 + "-" + "0" * 16 + "-00", False),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", False),
        ("00-" + "a" * 32 + "-" + "0" * 16 + "-01", False),
        ("ff-" + "a" * 32 + "-" + "b" * 16 + "-01", False),
        ("\ud800", False),
        ("\x00", False),
        ("x" * 300_000, False),
    ],
)
def test_a_traceparent_that_is_none_is_ignored(given, kept):
    request = parse_request({"scoring_job_id": "a", "traceparent": given})
    assert request.traceparent == (given if kept else None)


@given(st.text(st.characters()))
def test_well_formed_text_is_utf8_and_keeps_what_was_right(text):
    fixed = well_formed(text)
    fixed.encode()
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert fixed == text
