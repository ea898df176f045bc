"""The engine `plexus` and its host process, with a stand-in for Plexus. The real one: see make test-plexus."""

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plexus_scoring.engines.plexus import process
from plexus_scoring.engines.plexus.build import build_plexus_engine
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
from plexus_scoring.settings import Settings
from plexus_scoring.telemetry.logs import configure_logging, job_scope
from tests.support import plexus_hosts

ROOT = Path(__file__).parents[3]
CARD = """name: Card
key: card
scores:
- {name: Greeting, id: 1, externalId: '42', class: LangGraphScore, graph: []}
- {name: Tone, id: 2, class: TactusScore, does: tell, depends_on: {greeting: 'Yes'}}
- {name: 'Off', id: 3, class: TactusScore, disabled: true}
- {name: Round, id: 4, class: TactusScore, depends_on: [Trip]}
- {name: Trip, id: 5, class: TactusScore, depends_on: [Round]}
- {name: Odd, id: 6, class: NoSuchScore}
- {name: Lost, id: 7, class: TactusScore, depends_on: [Nobody], does: tell}
- {name: Unread, id: 8, class: "its YAML cannot be read: line 3"}
- {name: Keys, id: 9, class: TactusScore, does: tell, mapping: {2: a, 1.5: b, true: c, null: d}, most: .inf}
- {name: Meet, id: 10, class: TactusScore, does: meet}
- {name: Wait, id: 11, class: TactusScore, does: wait}
- {name: Hang, id: 12, class: TactusScore, does: hang}
- {name: Crash, id: 13, class: TactusScore, does: crash}
- {name: Grow, id: 14, class: TactusScore, does: grow, bytes: 3000000000}
- {name: Bad, id: 15, class: TactusScore, does: raise, error: KeyError, said: prompt}
- {name: Skipped, id: 16, class: TactusScore, does: raise, error: Skipped, said: a condition}
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return str(plexus_hosts.stand_in_plexus(tmp_path_factory.mktemp("plexus") / "environment"))


def make(python, environ=None, **settings):
    return build_plexus_engine(Settings(plexus_python=str(python), **settings), environ or {})


@pytest.fixture
async def engine(python):
    made = make(python, {"PLEXUS_ACCOUNT_KEY": "acme"})
    yield made
    await made.aclose()


async def score(
    engine, name="Greeting", *, card=CARD, text="a secret text", files=("f",), **context
):
    return await engine.score(
        ScoreContext(
            item=Item(id="i", text=text, metadata={"a": 1}, external_id="x", attached_files=files),
            scorecard=load_scorecard(card, file="card.yaml"),
            score=name,
            **context,
        )
    )


async def told(engine, name="Lost", **context):
    return json.loads((await score(engine, name, **context)).explanation)


async def begun(engine, name):
    """Start a score, and wait until it has said that it runs."""
    with job_scope() as scope:
        task = asyncio.create_task(score(engine, name))
    while "begun" not in scope.text():
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    return task, scope


def test_is_an_engine(engine):
    assert isinstance(engine, ScoringEngine)


async def test_every_field_of_a_result_arrives(engine):
    outcome = await score(engine)
    assert (outcome.value, outcome.explanation, outcome.confidence) == ("Yes", "why", 0.75)
    assert (outcome.cost.total_cost, outcome.cost.components[0].usd) == (0.5, 0.5)
    assert outcome.trace == {"node_results": [{"n": 1}]}
    assert not outcome.undetermined


async def test_an_item_arrives_whole(engine):
    seen = await told(engine, text="half a pair \ud83d, and a \N{SNOWMAN}")
    assert seen["item"] == ["i", "x", ["f"], {"a": 1}]
    assert seen["modality"] == "Production"


async def test_a_scorecard_s_keys_and_numbers_stay_what_they_are(engine):
    entry = (await told(engine, "Keys"))["entry"]
    assert "{2: 'a', 1.5: 'b', True: 'c', None: 'd'}" in entry
    assert "'most': inf" in entry


async def test_a_scorecard_is_made_once_for_a_version_and_never_fetches(engine):
    seen = [await told(engine) for _ in range(3)]
    assert [one["asked"] for one in seen] == [1, 2, 3]
    assert {one["yaml_only"] for one in seen} == {True}
    assert {one["spent"] for one in seen} == {1}
    assert (seen[0]["cloudwatch"], seen[0]["tokens"]) == ("NoCloudWatch", 0)
    assert (await told(engine, card=CARD + "# another version\n"))["asked"] == 1


async def test_a_scorecard_that_the_host_has_dropped_is_sent_again(engine):
    for number in range(33):
        await score(engine, card=CARD + f"# version {number}\n")
    assert (await score(engine, card=CARD + "# version 0\n")).value == "Yes"


@pytest.mark.parametrize("reference", ["Greeting", "greeting", "1", "42"])
async def test_a_score_is_found_by_its_names(engine, reference):
    assert (await score(engine, reference)).value == "Yes"


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("Nobody", NotFound, "no score 'Nobody'"),
        ("Off", ScoreDisabled, "disabled"),
        ("Round", ScorecardError, "Round → Trip → Round"),
        ("Odd", ScorecardError, r"card.yaml: score 'Odd': Plexus has no class 'NoSuchScore'"),
        ("Unread", ScorecardError, "its YAML cannot be read: line 3"),
        ("Bad", ScoreFailed, "KeyError: 'prompt'"),
        ("Skipped", DependencyUnmet, "a condition"),
    ],
)
async def test_what_is_no_value_is_an_error(engine, name, error, text):
    with pytest.raises(error, match=text):
        await score(engine, name)


async def test_a_dependency_that_is_no_score_is_ignored_and_never_fetched(engine, caplog):
    assert "'depends_on': []" in (await told(engine))["entry"]
    assert "'Nobody', which is no score here" in caplog.text


async def test_an_item_without_text_is_refused(engine):
    with pytest.raises(InvalidRequest, match="no text"):
        await engine.score(
            ScoreContext(item=Item(id="i"), scorecard=load_scorecard(CARD), score="Greeting")
        )


async def test_scores_run_at_the_same_time_in_one_process(engine):
    assert len(await asyncio.gather(*(score(engine, "Meet") for _ in range(3)))) == 3


async def test_a_score_ends_at_its_deadline_and_its_process_goes_on(engine):
    pid = (await told(engine))["pid"]
    with job_scope() as scope, pytest.raises(DeadlineExceeded):
        await score(engine, "Wait", deadline=time.time() + 0.5)
    assert "it was cancelled" in scope.text()
    assert (await told(engine))["pid"] == pid


async def test_cancelling_a_score_stops_it(engine):
    task, scope = await begun(engine, "Wait")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "it was cancelled" in scope.text()


async def test_a_score_that_never_stops_is_ended_with_its_process(engine, monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    await score(engine)
    other, _ = await begun(engine, "Wait")
    task, _ = await begun(engine, "Hang")
    host = await engine.load()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(EngineUnavailable, match="did not stop"):
        await other
    assert not host.alive
    assert (await score(engine)).value == "Yes"
    assert (await engine.load()).pid != host.pid


async def test_a_crash_gives_its_jobs_back_and_the_next_one_finds_a_new_process(engine):
    other, _ = await begun(engine, "Wait")
    with pytest.raises(EngineUnavailable, match="Plexus host ended") as raised:
        await score(engine, "Crash")
    assert raised.value.retryable
    with pytest.raises(EngineUnavailable):
        await other
    assert (await score(engine)).value == "Yes"


async def test_memory_is_limited_where_that_is_asked_for(python):
    engine = make(python, plexus_host_memory_mb=1024)
    with pytest.raises(ScoreFailed, match="MemoryError"):
        await score(engine, "Grow")
    await engine.aclose()


@pytest.mark.parametrize("isolation", ["bubblewrap", "none"])
async def test_it_gets_nothing_of_the_service_but_what_is_listed(python, isolation, monkeypatch):
    if isolation == "bubblewrap":
        plexus_hosts.require_bubblewrap()
    monkeypatch.setenv("PLEXUS_DATABASE_URL", "postgresql://a:secret@b/c")
    given = {
        "PLEXUS_ACCOUNT_KEY": "acme", "PLEXUS_API_KEY": "secret", "OPENAI_API_KEY": "sk", "MINE": "yes",
        "PLEXUS_DATABASE_URL": "secret",
    }  # fmt: skip
    engine = make(
        python, given, plexus_host_variables="MINE, YOURS", plexus_host_isolation=isolation
    )
    files = ("/etc/passwd", str(ROOT / "pyproject.toml"))
    seen = await told(engine, files=files)
    await engine.aclose()
    named = {"PLEXUS_ACCOUNT_KEY", "OPENAI_API_KEY", "MINE"}
    assert named <= set(seen["environ"])
    assert "secret" not in json.dumps(seen["environ"])
    assert seen["cwd"] == []
    if isolation == "bubblewrap":
        assert seen["sees"] == []
        assert seen["processes"] <= 3
    else:
        assert seen["sees"] == list(files)


async def test_its_log_goes_to_the_job_and_its_text_nowhere_else(engine, monkeypatch):
    stream, printed = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    kept, level = list(root.handlers), root.level
    monkeypatch.setattr(sys, "stdout", printed)
    configure_logging("INFO", stream=stream)
    try:
        with job_scope(request_id="r", scoring_job_id="j") as scope:
            await score(engine)
    finally:
        await engine.aclose()
        root.handlers[:] = kept
        root.setLevel(level)
    assert "INFO root: the text is a secret text" in scope.text()
    assert "plexus.stdout: a debug print" in scope.text()
    assert "secret" not in stream.getvalue()
    (warning,) = [line for line in stream.getvalue().splitlines() if "a warning of Plexus" in line]
    assert json.loads(warning)["scoring_job_id"] == "j"
    assert printed.getvalue() == ""


async def test_two_processes_share_jobs_where_two_are_allowed(python):
    engine = make(python, plexus_hosts=2)
    task, _ = await begun(engine, "Wait")
    first, second = await told(engine), await told(engine)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    pids = {host.pid for host in engine._pool._hosts}
    await engine.aclose()
    assert len(pids) == 2
    assert first["asked"] == 1
    assert second["asked"] == 2


async def test_closing_ends_the_process(python):
    engine = make(python)
    host = await engine.load()
    await engine.aclose()
    await engine.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(host.pid, 0)
    assert not os.path.exists(host._directory)  # noqa: ASYNC240, PTH110


OWNER = """
import asyncio, sys
from plexus_scoring.engines.plexus.build import build_plexus_engine
from plexus_scoring.settings import Settings
async def main():
    settings = Settings(plexus_python=sys.argv[1], plexus_host_isolation=sys.argv[2])
    host = await build_plexus_engine(settings, {}).load()
    print(host.pid, flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


@pytest.mark.parametrize("isolation", ["auto", "none"])
def test_no_process_is_left_when_the_service_is_killed(python, isolation):
    command = [sys.executable, "-c", OWNER, python, isolation]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        children = plexus_hosts.descendants(pid)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    while any(plexus_hosts.runs(process) for process in (pid, *children)):
        time.sleep(0.02)


async def test_the_unrelated_package_is_refused_by_name(tmp_path):
    python = plexus_hosts.make_environment(tmp_path / "environment")
    impostor = tmp_path / "plexus"
    impostor.mkdir()
    (impostor / "__init__.py").write_text("raise AssertionError('imported')")
    plexus_hosts.add_package(python, impostor, version="0.9", summary="Something else")
    engine = make(python)
    assert not await engine.holds_plexus()
    with pytest.raises(ConfigurationError, match=r"plexus 0\.9: Something else.* unrelated"):
        await score(engine)
    await engine.aclose()


async def test_a_missing_package_is_said_to_be_missing(tmp_path):
    python = plexus_hosts.make_environment(tmp_path / "environment")
    engine = make(python)
    assert not await engine.holds_plexus()
    with pytest.raises(ConfigurationError, match=r"not installed for .*PLEXUS_PYTHON"):
        await score(engine)
    await engine.aclose()


async def test_a_plexus_that_cannot_be_imported_says_why(tmp_path):
    python = plexus_hosts.stand_in_plexus(tmp_path / "environment")
    (module,) = tmp_path.rglob("plexus/Scorecard.py")
    module.write_text("import a_package_that_is_missing")
    engine = make(python)
    with pytest.raises(ConfigurationError, match=r"No module named 'a_package_that_is_missing'"):
        await score(engine)
    await engine.aclose()


async def test_an_interpreter_that_does_not_start_says_why(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 3\n")
    broken.chmod(0o755)
    engine = make(broken, plexus_host_isolation="none")
    with pytest.raises(ConfigurationError, match=r"no such library; check PLEXUS_PYTHON"):
        await score(engine)


async def test_an_import_that_takes_longer_than_a_job_goes_on_for_the_next(tmp_path):
    python = plexus_hosts.stand_in_plexus(tmp_path / "environment")
    (module,) = tmp_path.rglob("plexus/scores/LangGraphScore.py")
    gate = module.with_name("gate")
    module.write_text(
        f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n"
    )
    engine = make(python)
    with pytest.raises(EngineUnavailable, match="still importing"):
        await score(engine, deadline=time.time() + 0.5)
    gate.touch()
    assert (await score(engine)).value == "Yes"
    await engine.aclose()
