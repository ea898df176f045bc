"""TactusScores for real: the package `tactus`, and a scripted model server where a procedure asks one."""

import asyncio
import json
import time
from pathlib import Path

import pytest
import pytest_asyncio

from plexus_scoring.engines.plexus.build import build_tactus_runner
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.errors import (
    BudgetExceeded,
    ConfigurationError,
    DeadlineExceeded,
    DependencyUnmet,
    EngineUnavailable,
    ScorecardError,
    ScoreFailed,
)
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from plexus_scoring.settings import Settings
from plexus_scoring.telemetry.logs import job_scope
from tests.support import plexus_hosts
from tests.support.chat_server import Script, ScriptedChatServer
from tests.support.portable import ScriptedModel

pytestmark = [
    pytest.mark.timeout(300),  # its imports take ten seconds of CPU
    pytest.mark.asyncio(loop_scope="module"),
]
MODEL = """
default_model "openai/gpt-4o-mini-2024-07-18"
ClassifyProcedure {
  classes = {"YES", "NO"},
  system_message = [[Say whether the agent greets.]],
  user_message = [[Transcript: {{ text }}, agent {{ metadata.other_data.agent }}]]
}
"""
AGENT = """
local judge = Agent {
  model = "openai/gpt-4o-mini-2024-07-18",
  system_prompt = "You judge.",
}
Procedure {
  input = { text = field.string{required = true} },
  output = { value = field.string{required = true} },
  function(input)
    local answer = judge({message = "Judge: " .. input.text})
    return { value = answer.output.value }
  end
}
"""


def procedure(body):
    """Return a procedure of this body."""
    return f"""
Procedure {{
  input = {{ text = field.string{{required = true}}, metadata = field.object{{}}, results = field.array{{}} }},
  output = {{ value = field.string{{required = true}}, explanation = field.string{{}}, confidence = field.string{{}} }},
  function(input)
    {body}
  end
}}
"""


def card(*scores):
    return json.dumps({"name": "Card", "scores": list(scores)})


def lua(body, *, name="Lua", **keys):
    return {"name": name, "class": "TactusScore", "code": procedure(body), **keys}


@pytest.fixture(scope="module")
def python():
    return plexus_hosts.require_tactus()


@pytest.fixture(scope="module")
def server():
    with ScriptedChatServer() as running:
        yield running


def make(python, environ=None, **settings):
    runner = build_tactus_runner(Settings(plexus_python=python, **settings), environ or {})
    return PortableEngine(ScriptedModel(), trust_code=False, tactus=runner)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(python, server):
    """One for all: its imports take seconds."""
    made = make(python, server.environment(), plexus_tactus_memory_mb=256)
    yield made
    await made.aclose()


async def score(engine, source, name="Lua", *, text="hello", metadata=None, **context):
    return await engine.score(
        ScoreContext(
            item=Item(id="i", text=text, metadata=metadata or {}),
            scorecard=load_scorecard(source, file="card.yaml"),
            score=name,
            **context,
        )
    )


async def test_a_procedure_scores(engine):
    body = """
    local found = string.find(input.text, "hello") ~= nil
    return { value = found and "Yes" or "No", explanation = "looked for hello", confidence = "very high" }"""
    outcome = await score(engine, card(lua(body)))
    assert (outcome.value, outcome.explanation, outcome.confidence) == (
        "Yes",
        "looked for hello",
        0.95,
    )
    assert outcome.cost.llm_calls == 0
    assert outcome.metadata == {"engine": "tactus"}


async def test_metadata_s_json_comes_as_tables(engine):
    body = "return { value = input.metadata.other_data.agent .. #input.metadata.schools .. input.metadata.plain }"
    metadata = {"other_data": '{"agent": "Ann"}', "schools": "[1, 2]", "plain": "{no json"}
    assert (await score(engine, card(lua(body)), metadata=metadata)).value == "Ann2{no json"


async def test_it_sees_the_results_of_scores_that_the_portable_engine_runs(engine):
    before = {"name": "Before", "class": "KeywordClassifier", "keywords": ["hello"]}
    after = lua("return { value = input.results[1].value }", depends_on=["Before"])
    assert (await score(engine, card(before, after))).value == "True"


async def test_its_conditions_and_processors_are_the_portable_engine_s(engine):
    before = {"name": "Before", "class": "KeywordClassifier", "keywords": ["hello"]}
    after = lua("return { value = 'x' }", depends_on={"Before": "False"})
    with pytest.raises(DependencyUnmet):
        await score(engine, card(before, after))


async def test_what_it_logs_is_in_the_job_s_log(engine):
    with job_scope() as scope:
        await score(engine, card(lua('Log.info("a line") return { value = "x" }')))
    assert "a line" in scope.text()


async def test_a_value_that_is_none_of_its_classes_is_a_value_and_a_warning(engine, caplog):
    outcome = await score(engine, card(lua("return { value = 'Z' }", valid_classes=["A"])))
    assert outcome.value == "Z"
    assert "none of its valid_classes" in caplog.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('error("boom")', "boom"),
        ("return { explanation = 'x' }", "missing required output: value"),
        ("this is no lua", "syntax error"),
        ('return { value = tostring(python.eval("1 + 1")) }', "field 'eval'"),
        ('return { value = tostring(python.builtins.len("x")) }', "field 'builtins'"),
        ('return { value = tostring(io.open("/etc/passwd")) }', "global 'io'"),
    ],
)
async def test_what_gives_no_value_fails_and_says_why(engine, body, text):
    with pytest.raises(ScoreFailed, match=text):
        await score(engine, card(lua(body)))


async def test_a_score_without_code_is_a_wrong_scorecard(engine):
    with pytest.raises(ScorecardError, match="has no `code`"):
        await score(engine, card({"name": "Lua", "class": "TactusScore"}))


async def test_an_endless_loop_ends_at_the_deadline_and_the_others_go_on(engine):
    await score(engine, card(lua("return { value = 'x' }")))
    endless = asyncio.create_task(
        score(engine, card(lua("while true do end")), deadline=time.time() + 3)
    )
    assert (await score(engine, card(lua("return { value = 'x' }")))).value == "x"
    with pytest.raises(DeadlineExceeded, match="deadline"):
        await endless
    assert (await score(engine, card(lua("return { value = 'x' }")))).value == "x"


async def test_a_procedure_that_eats_memory_fails_alone(engine):
    body = (
        'local t = {} for i = 1, 1e9 do t[i] = string.rep("x", 1e6) .. i end return { value = "x" }'
    )
    eating, other = await asyncio.gather(
        score(engine, card(lua(body))),
        score(engine, card(lua("return { value = 'x' }"))),
        return_exceptions=True,
    )
    assert isinstance(eating, ScoreFailed), eating
    assert other.value == "x"


async def test_no_score_meets_what_another_left_behind(engine):
    leave = 'leftover = "here" File.write("leftover", "here") return { value = "x" }'
    look = "return { value = tostring(leftover) }"
    await score(engine, card(lua(leave)))
    assert (await score(engine, card(lua(look)))).value == "nil"


async def test_it_reads_no_file_of_the_service(engine):
    for path in ("/etc/passwd", str(Path(__file__)), "/proc/self/environ", "../../etc/hosts"):
        with pytest.raises(ScoreFailed):
            await score(engine, card(lua(f'return {{ value = File.read("{path}") }}')))


@pytest.mark.parametrize(
    "reach",
    [
        "File.base_path",  # a pathlib.Path: read_text() of any file
        "File.base_path.joinpath('/etc/hosts')",
        "Procedure.execution_context",
        "Procedure.lua_sandbox",
        "Procedure.runtime_factory().openai_api_key",
        "python.as_attrgetter(File).base_path",
        "require('tactus.io.file').read.__globals__",
    ],
)
async def test_lua_reaches_no_object_behind_tactus_s_own(engine, reach):
    with pytest.raises(ScoreFailed, match=r"not allowed|no attribute|may not"):
        await score(engine, card(lua(f"return {{ value = tostring({reach}) }}")))


async def test_lua_changes_no_object_of_the_host(engine):
    with pytest.raises(ScoreFailed, match="may not"):
        await score(engine, card(lua('File.base_path = "/" return { value = "x" }')))


async def test_lua_sees_no_environment(python):
    made = make(python, {"OPENAI_API_KEY": "sk-canary"}, plexus_tactus_memory_mb=256)
    try:
        for name in ("OPENAI_API_KEY", "PATH"):
            found = await score(
                made, card(lua(f'return {{ value = tostring(os.getenv("{name}")) }}'))
            )
            assert found.value == "nil"
    finally:
        await made.aclose()


@pytest.mark.parametrize("field", ["value", "explanation"])
async def test_a_text_without_end_is_no_result(engine, field):
    body = f'local r = {{ value = "x" }} r.{field} = string.rep("x", 2000000) return r'
    with pytest.raises(BudgetExceeded, match="1,000,000 characters"):
        await score(engine, card(lua(body)))


async def test_a_host_that_is_killed_gives_its_jobs_back(engine):
    await score(engine, card(lua("return { value = 'x' }")))
    (host,) = engine._tactus._pool._hosts
    endless = asyncio.create_task(score(engine, card(lua("while true do end"))))
    while not host.busy:
        await asyncio.sleep(0.01)
    await host.kill("a test said so")
    with pytest.raises(EngineUnavailable, match="a test said so"):
        await endless
    assert (await score(engine, card(lua("return { value = 'x' }")))).value == "x"


def scripted(server, *rules):
    server.script = Script(rules)
    server.requests.clear()


async def test_a_procedure_asks_a_model_and_tells_what_it_cost(engine, server):
    scripted(server, {"when": "Ann", "replies": ["YES\nShe says hello."]})
    source = card({"name": "Lua", "class": "TactusScore", "tactus_code": MODEL})
    outcome = await score(engine, source, metadata={"other_data": '{"agent": "Ann"}'})
    assert outcome.value == "YES"
    assert "She says hello." in outcome.explanation
    (request,) = server.requests
    assert request.model == "gpt-4o-mini-2024-07-18"
    assert "Transcript: hello, agent Ann" in request.messages[-1]["content"]
    (component,) = outcome.cost.components
    assert (component.provider, component.model) == ("openai", "gpt-4o-mini-2024-07-18")
    assert component.prompt_tokens > 0
    assert outcome.cost.total_cost == pytest.approx(
        0.15e-6 * component.prompt_tokens + 0.6e-6 * component.completion_tokens
    )


async def test_an_agent_asks_a_model(engine, server):
    scripted(server, {"when": "Judge: hello", "replies": ['{"value": "Good"}']})
    source = card({"name": "Lua", "class": "TactusScore", "code": AGENT})
    assert (await score(engine, source)).value == "Good"


async def test_a_model_that_is_busy_is_asked_again_later(engine, server):
    scripted(server, {"when": "", "replies": [{"status": 429}]})
    source = card({"name": "Lua", "class": "TactusScore", "code": MODEL})
    with pytest.raises(EngineUnavailable, match="RateLimitError"):
        await score(engine, source, metadata={"other_data": "{}"})


async def test_an_environment_without_tactus_says_so(tmp_path):
    python = plexus_hosts.make_environment(tmp_path / "environment")
    runner = build_tactus_runner(Settings(plexus_python=str(python)), {})
    engine = PortableEngine(ScriptedModel(), tactus=runner)
    with pytest.raises(ConfigurationError, match=r"tactus is not installed for .*tactus.txt"):
        await score(engine, card(lua("return { value = 'x' }")))
    await engine.aclose()
