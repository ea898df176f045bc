"""The engine `plexus` against the recorded contract of the package. NOT the package: see make test-plexus."""

import asyncio
import importlib.metadata
import io
import logging
import sys
import threading
import time
from decimal import Decimal

import pytest

from plexus_scoring.engines.plexus import PlexusEngine, package
from plexus_scoring.model.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DependencyUnmet,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    ScorecardError,
    ScoreDisabled,
    ScoreFailed,
)
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext, ScoringEngine
from plexus_scoring.telemetry.logs import configure_logging, job_scope
from tests.support.clock import ManualLimits
from tests.unit.plexus_engine.fake_package import PACKAGE, Result, Scorecard

CARD = """name: Card
key: card
scores:
- name: Greeting
  id: 1
  externalId: '42'
  class: LangGraphScore
  graph: []
- name: Tone
  id: 2
  class: TactusScore
  depends_on: {greeting: 'Yes'}
- name: Off
  id: 3
  class: TactusScore
  disabled: true
- name: Round
  id: 4
  class: TactusScore
  depends_on: [Trip]
- name: Trip
  id: 5
  class: TactusScore
  depends_on: [Round]
- name: Odd
  id: 6
  class: NoSuchScore
- name: Lost
  id: 7
  class: TactusScore
  depends_on: [Nobody]
- name: Unread
  id: 8
  class: "its YAML cannot be read: line 3"
"""
COST = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3, "llm_calls": 1, "total_cost": Decimal("0.5"),
        "components": [{"type": "api_call", "provider": None, "model": "m", "usd": 0.5}]}  # fmt: skip


@pytest.fixture(autouse=True)
def contract(monkeypatch):
    """The recorded package in the real one's place."""
    monkeypatch.setattr(package, "load", lambda _environ: PACKAGE)
    monkeypatch.setattr(package, "check", lambda: None)
    monkeypatch.setattr(Scorecard, "made", [])
    monkeypatch.setattr(Scorecard, "behaviour", None)
    return Scorecard


@pytest.fixture
async def engine():
    made = PlexusEngine()
    yield made
    await made.aclose()


def answers(contract, value="Yes", **changes):
    contract.behaviour = lambda card, **_: {"1": Result(value, **changes)}


async def score(engine, name="Greeting", *, card=CARD, **context):
    return await engine.score(
        ScoreContext(
            item=Item(id="i", text="a secret text", metadata={"a": 1}),
            scorecard=load_scorecard(card, file="card.yaml"),
            score=name,
            **context,
        )
    )


def test_is_an_engine(engine):
    assert isinstance(engine, ScoringEngine)


async def test_every_field_of_a_result_arrives(engine, contract):
    answers(
        contract, explanation="why", confidence=0.75, cost=COST, trace={"node_results": [{"n": 1}]}
    )
    outcome = await score(engine)
    assert (outcome.value, outcome.explanation, outcome.confidence) == ("Yes", "why", 0.75)
    assert (outcome.cost.total_cost, outcome.cost.components[0].usd) == (0.5, 0.5)
    assert outcome.trace == {"node_results": [{"n": 1}]}
    assert not outcome.undetermined


async def test_what_dependencies_cost_is_counted(engine, contract):
    contract.behaviour = lambda card, **_: {
        "1": [Result("Yes", cost=COST)],
        "2": [Result("Warm", explanation="x", cost=COST)],
    }
    outcome = await score(engine, "Tone")
    assert (outcome.cost.llm_calls, outcome.dependencies_cost.total_cost) == (1, 0.5)
    card = contract.made[0]
    assert [entry["name"] for entry in card.entries] == ["Tone", "Greeting"]
    assert card.entries[0]["depends_on"] == {"Greeting": "Yes"}


async def test_a_scorecard_is_made_once_for_a_version_and_never_fetches(engine, contract):
    answers(contract)
    for _ in range(3):
        await score(engine)
    (card,) = contract.made
    assert card.yaml_only is True
    assert isinstance(card.cloudwatch_logger, package.NoCloudWatch)
    assert card.cost_components == []
    await score(engine, card=CARD + "# another version\n")
    assert len(contract.made) == 2


@pytest.mark.parametrize("reference", ["Greeting", "greeting", "1", "42"])
async def test_a_score_is_found_by_its_names(engine, contract, reference):
    answers(contract)
    assert (await score(engine, reference)).value == "Yes"


@pytest.mark.parametrize(
    ("result", "error", "text"),
    [
        (Result("ERROR", error="RateLimitError: slow down"), EngineUnavailable, "slow down"),
        (Result("ERROR", error="x", exception_type="APIConnectionError"), EngineUnavailable, "x"),
        (Result("ERROR", error="ValueError: bad graph"), ScoreFailed, "bad graph"),
        (Result("ERROR", error="Workflow execution timed out after 300 seconds"), DeadlineExceeded, "300"),
        (Result("ERROR"), ScoreFailed, "no reason"),
        (Result("SKIPPED", explanation="unmet"), DependencyUnmet, "unmet"),
        (Result("DISABLED", error="is disabled"), ScoreDisabled, "disabled"),
        (Result("PAUSED"), ScoreFailed, "batch"),
        (None, ScoreFailed, "no result"),
    ],
)  # fmt: skip
async def test_what_is_no_value_is_an_error(engine, contract, result, error, text):
    contract.behaviour = lambda card, **_: {"1": result}
    with pytest.raises(error, match=text):
        await score(engine)


async def test_an_unknown_after_all_retries_is_undetermined(engine, contract):
    answers(contract, "unknown", explanation="Maximum retries reached")
    assert (await score(engine)).undetermined


async def test_an_exception_of_the_package_keeps_its_words(engine, contract):
    def fail(card, **_):
        raise KeyError("prompt")

    contract.behaviour = fail
    with pytest.raises(ScoreFailed, match="KeyError: 'prompt'"):
        await score(engine)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("Nobody", NotFound, "no score 'Nobody'"),
        ("Off", ScoreDisabled, "disabled"),
        ("Round", ScorecardError, "Round → Trip → Round"),
        ("Odd", ScorecardError, "NoSuchScore"),
        ("Unread", ScorecardError, "its YAML cannot be read: line 3"),
    ],
)
async def test_what_is_wrong_is_said_before_the_package_sees_it(
    engine, contract, name, error, text
):
    contract.behaviour = lambda card, **_: pytest.fail("the package was asked")
    with pytest.raises(error, match=text):
        await score(engine, name)


async def test_a_dependency_that_is_no_score_is_ignored_and_never_fetched(engine, contract, caplog):
    contract.behaviour = lambda card, **_: {"7": Result("Yes")}
    assert (await score(engine, "Lost")).value == "Yes"
    assert contract.made[0].entries[0]["depends_on"] == []
    assert "'Nobody', which is no score here" in caplog.text


async def test_an_item_without_text_is_refused(engine):
    with pytest.raises(InvalidRequest, match="no text"):
        await engine.score(
            ScoreContext(item=Item(id="i"), scorecard=load_scorecard(CARD), score="Greeting")
        )


@pytest.fixture
async def come(monkeypatch):
    """Return what makes a far deadline come, from any thread."""
    limits, loop = ManualLimits(monkeypatch), asyncio.get_running_loop()
    return lambda: loop.call_soon_threadsafe(limits.expire)


async def test_a_score_ends_at_its_deadline(engine, contract, come):
    ended = threading.Event()

    async def forever(card, **_):
        come()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    contract.behaviour = forever
    with pytest.raises(DeadlineExceeded):
        await score(engine, deadline=time.time() + 3_600)
    ended.wait()


async def test_a_thread_that_is_never_given_back_is_given_up(engine, contract, monkeypatch, come):
    monkeypatch.setattr("plexus_scoring.engines.plexus.loop._GRACE", 0.1)
    release = threading.Event()

    def blocked(card, **_):
        come()
        release.wait()

    contract.behaviour = blocked
    with pytest.raises(DeadlineExceeded):
        await score(engine, deadline=time.time() + 3_600)
    answers(contract)
    assert (await score(engine)).value == "Yes"
    release.set()


async def test_scores_run_at_the_same_time(engine, contract):
    barrier = asyncio.Barrier(3)

    async def meet(card, **_):
        await barrier.wait()
        return {"1": Result("Yes")}

    contract.behaviour = meet
    assert len(await asyncio.gather(*(score(engine) for _ in range(3)))) == 3


async def test_its_log_goes_to_the_job_and_its_text_nowhere_else(engine, contract, monkeypatch):
    stream, printed = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    kept, level = list(root.handlers), root.level
    monkeypatch.setattr(sys, "stdout", printed)
    configure_logging("INFO", stream=stream)
    try:
        answers(contract)
        with job_scope(request_id="r", scoring_job_id="j") as scope:
            await score(engine)
        sys.stdout.write("ours\n")
    finally:
        await engine.aclose()
        root.handlers[:] = kept
        root.setLevel(level)
    assert "the text is a secret text" in scope.text()
    assert "a debug print" in scope.text()
    assert "secret" not in stream.getvalue()
    assert printed.getvalue() == "ours\n"
    assert sys.stdout is printed


async def test_closing_ends_its_thread(contract):
    answers(contract)
    engine = PlexusEngine()
    await score(engine)
    assert any(thread.name == "plexus" for thread in threading.enumerate())
    await engine.aclose()
    await engine.aclose()
    assert not any(thread.name == "plexus" for thread in threading.enumerate())


def test_the_unrelated_package_is_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.undo()
    impostor = tmp_path / "plexus"
    impostor.mkdir()
    (impostor / "__init__.py").write_text("raise AssertionError('imported')")
    about = tmp_path / "plexus-0.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: plexus\nVersion: 0.9\nSummary: Something else\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.metadata.version("plexus") == "0.9"
    assert not package.is_installed()
    with pytest.raises(ConfigurationError, match=r"plexus 0\.9: Something else.* unrelated"):
        package.check()


def test_a_missing_package_is_said_to_be_missing(monkeypatch):
    monkeypatch.undo()
    if package.is_installed():
        pytest.skip("Plexus is installed here")
    with pytest.raises(ConfigurationError, match="not installed"):
        package.check()
