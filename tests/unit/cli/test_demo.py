import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from plexus_scoring.cli import demo, output
from plexus_scoring.local.demo import charts
from plexus_scoring.local.demo.audit import Counts, Stored, audit
from plexus_scoring.local.demo.examples import LONG_ITEM, load_examples
from plexus_scoring.local.demo.gateway import Gateway
from plexus_scoring.local.demo.plan import Entry, Mishap, make_plan
from plexus_scoring.local.demo.report import render
from plexus_scoring.local.demo.run import DemoRun
from plexus_scoring.local.demo.traffic import Outbox, expected
from plexus_scoring.model.errors import ErrorInfo
from plexus_scoring.model.job import JobStatus, NewJob, ScoringJob
from plexus_scoring.model.result import AttachmentKeys, ScoreResult, result_id_of
from tests.support.stores import key


def entry(job_id, mishap=Mishap.NONE, deliveries=1):
    job = NewJob(id=job_id, scorecard="c", score="S", item_id="i")
    return Entry(id=job_id, body=f"ask {job_id}", mishap=mishap, job=job, deliveries=deliveries)


def job(job_id, status=JobStatus.COMPLETED, attempt=1):
    return ScoringJob(
        id=job_id,
        scorecard="c",
        score="S",
        status=status,
        created_at=1.0,
        updated_at=2.0,
        started_at=1.5,
        completed_at=2.0,
        attempt=attempt,
        last_error=ErrorInfo(code="x", message="why") if status is JobStatus.FAILED else None,
    )


def result(job_id):
    return ScoreResult(
        id=result_id_of(key(job_id)),
        job_id=job_id,
        scorecard="c",
        score="S",
        value="Yes <b>",
        created_at=2.0,
        attachments=AttachmentKeys(trace=f"{job_id}/trace", log=f"{job_id}/log"),
    )


POISON = Entry(id="poison", body="{", mishap=Mishap.POISON)
DEAD = {"reason_code": "invalid_request", "reason": "not JSON"}


def world(**changes):
    """Return a plan of five, and stores and queues in which all went well."""
    plan = [
        entry("good"),
        entry("twice", Mishap.DUPLICATE, deliveries=2),
        entry("flaky", Mishap.FLAKY),
        entry("unmet", Mishap.UNMET),
        POISON,
    ]
    done = ("good", "twice", "flaky")
    stored = Stored(
        jobs={
            **{one: job(one) for one in done},
            "flaky": job("flaky", attempt=2),
            "unmet": job("unmet", JobStatus.FAILED),
        },
        results={one: [result(one)] for one in done},
        attachments=frozenset(f"{one}/{kind}" for one in done for kind in ("trace", "log")),
        scored=Counter(done),
        left_on_queue=0,
    )
    outbox = Outbox(
        responses={
            **{one: [{"status": "success", "value": "Yes"}] for one in done},
            "twice": [{"status": "success", "value": "Yes"}] * 2,
            "unmet": [{"status": "error"}],
        },
        dead_letters={POISON.body: [DEAD]},
    )
    for name, value in changes.items():
        target = stored if hasattr(stored, name) else outbox
        object.__setattr__(target, name, value)
    return plan, stored, outbox


def demo_run():
    return DemoRun(
        audit=audit(*world()),
        real_model=False,
        start_seconds=1.0,
        work_seconds=2.0,
        processes=1,
        model_requests=2,
        began_at=0.0,
    )


def test_a_sound_run():
    verdict = audit(*world())
    assert verdict.sound
    assert verdict.problems == ()
    assert verdict.counts == Counts(
        submitted=5, completed=3, failed=1, dead_lettered=1, lost=0, duplicated=0, retries=1
    )


def test_the_counts_are_the_json_that_is_promised():
    assert list(msgspec.to_builtins(audit(*world()).counts)) == [
        "submitted",
        "completed",
        "failed",
        "dead_lettered",
        "lost",
        "duplicated",
        "retries",
    ]


def spoil_result(stored, outbox):
    del stored.results["good"]


def spoil_response(stored, outbox):
    del outbox.responses["good"]


def spoil_job(stored, outbox):
    stored.jobs["good"] = job("good", JobStatus.IN_PROGRESS)


def spoil_poison(stored, outbox):
    outbox.dead_letters.clear()


def spoil_reason(stored, outbox):
    outbox.dead_letters[POISON.body] = [{}]


@pytest.mark.parametrize(
    "spoil", [spoil_result, spoil_response, spoil_job, spoil_poison, spoil_reason]
)
def test_what_is_lost_is_found(spoil):
    plan, stored, outbox = world()
    spoil(stored, outbox)
    verdict = audit(plan, stored, outbox)
    assert (verdict.counts.lost, verdict.sound) == (1, False)
    counts = verdict.counts
    parts = counts.completed + counts.failed + counts.dead_lettered + counts.lost
    assert counts.submitted == parts


def double_result(stored, outbox):
    stored.results["good"].append(result("good"))


def double_work(stored, outbox):
    stored.scored["twice"] = 2


def double_answer(stored, outbox):
    outbox.responses["twice"] = [{"status": "success", "value": one} for one in ("Yes", "No")]


def double_letter(stored, outbox):
    outbox.dead_letters[POISON.body].append(DEAD)


@pytest.mark.parametrize("spoil", [double_result, double_work, double_answer, double_letter])
def test_what_is_doubled_is_found(spoil):
    plan, stored, outbox = world()
    spoil(stored, outbox)
    verdict = audit(plan, stored, outbox)
    assert (verdict.counts.duplicated, verdict.sound) == (1, False)


def miss_retry(stored, outbox):
    stored.jobs["flaky"] = job("flaky")


def miss_attachment(stored, outbox):
    object.__setattr__(stored, "attachments", stored.attachments - {"good/log"})


def miss_answer(stored, outbox):
    outbox.responses["twice"].pop()


def leave_message(stored, outbox):
    object.__setattr__(stored, "left_on_queue", 1)


def add_stranger(stored, outbox):
    stored.results["stranger"] = [result("stranger")]


def complete_unmet(stored, outbox):
    stored.jobs["unmet"] = job("unmet")
    stored.results["unmet"] = [result("unmet")]
    outbox.responses["unmet"] = [{"status": "success"}]


@pytest.mark.parametrize(
    "spoil",
    [miss_retry, miss_attachment, miss_answer, leave_message, add_stranger, complete_unmet],
)
def test_a_mishap_that_ends_otherwise_than_planned_is_a_problem(spoil):
    plan, stored, outbox = world()
    spoil(stored, outbox)
    verdict = audit(plan, stored, outbox)
    assert (verdict.counts.lost, verdict.counts.duplicated, verdict.sound) == (0, 0, False)


def test_the_plan_has_every_mishap_and_more_than_forty_items():
    examples = load_examples()
    plan = make_plan(examples, bucket="b", real_model=False)
    assert {one.mishap for one in plan} == set(Mishap)
    assert len({one.job.item_id for one in plan if one.job}) > 40
    assert len({one.id for one in plan}) == len(plan)
    counts = expected(plan)
    assert counts["responses"] == len(plan) - 3
    assert len(make_plan(examples, bucket="b", real_model=True)) > len(plan)


def test_the_examples_are_of_many_kinds():
    items = {item.id: item.text for item in load_examples().items}
    assert len(items) > 40
    assert len(items[LONG_ITEM].encode()) > 400 * 1024
    assert items["call-empty"] == ""
    text = "".join(items.values())
    for character in ("ä", "ש", "ع", "河", "👩🏽‍💻", "тоска"):
        assert character in text


class Page(HTMLParser):
    """What a page refers to, and what it says."""

    def __init__(self):
        super().__init__()
        self.references = []
        self.tags = Counter()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.references += [value for name, value in attributes if name in {"src", "href"}]


def test_the_report_stands_alone_and_shows_what_it_was_given_as_text():
    html = render(demo_run())
    page = Page()
    page.feed(html)
    assert page.references == []
    assert page.tags["svg"] >= 3
    assert "url(" not in html
    assert "Yes <b>" not in html
    assert "Yes &lt;b&gt;" in html
    assert "Nothing lost, nothing duplicated" in html


def test_a_phone_gets_the_figures_of_the_wide_charts():
    html = render(demo_run())
    assert html.count('<dl class="narrow">') == html.count('<div class="scroll wide">') == 2
    assert 'Yes &lt;b&gt; <span class="muted">3</span>' in html
    assert (
        '<td class="number" data-label="attempts">' in html
    )  # a row is a card without its headers


def test_the_axes_say_what_they_count_and_the_marks_do_not_collide():
    shape = charts.histogram([150.0] * 98 + [4_000.0] * 2)
    assert all(f">{text}<" in shape for text in ("jobs", "0", "50", "100", "median 150 ms"))
    rows = re.findall(r'y="([0-9.]+)">(?:median|p95) ', shape)
    assert len(set(rows)) == 2
    assert "≥ 200 ms" in shape  # the outlier does not stretch the axis
    assert all(f">{text}<" in charts.cumulative([1.0, 2.0]) for text in ("jobs", "2", "2.0 s"))


@pytest.mark.parametrize("columns", [60, 160])
def test_the_outcome_fits_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setattr(
        output, "console", lambda **_: Console(width=columns, highlight=False, file=sys.stdout)
    )
    monkeypatch.setattr(demo, "console", output.console)
    demo._show(demo_run(), Path("report.html"))
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= columns
    for word in ("dead-lettered", "not JSON", "submitted", "Nothing lost"):
        assert word in told  # whole, not folded


def test_charts_survive_any_data():
    assert charts.histogram([]) == charts.cumulative([]) == charts.cost_bars([]) == ""
    assert "median 5 ms" in charts.histogram([5.0])
    assert "<svg" in charts.histogram([0.0, 1e6])
    assert "<svg" in charts.cumulative([0.0])
    bars = charts.stacked_bars([("<label>", Counter({"<value>": 3, "b": 1}))])
    assert "<label>" not in bars
    assert "<value>" not in bars


def test_the_gateway_fails_once_and_then_stands_in():
    with Gateway("outage", {}) as gateway:
        body = json.dumps({"model": "m", "messages": [{"content": "an outage"}]}).encode()
        status, headers, answer = gateway.answer("/v1/chat/completions", body)
        assert (status, headers) == (200, {})
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer)
        status, _, answer = gateway.answer("/v1/chat/completions", body)
        assert status == 200
        assert json.loads(answer)["choices"][0]["message"]["content"].endswith("\nWeak")
        assert (gateway.requests, gateway.refused, gateway.real) == (2, 1, False)
    with Gateway("outage", {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}) as gateway:
        assert gateway.real
        answer = gateway.answer("/v1/chat/completions", b'{"messages": []}')
        assert answer[0] == 502
