"""A TactusScore gives the same in Plexus itself and in ours, where Plexus is installed: `make test-plexus`."""

import json
import os

import pytest

from plexus_scoring.engines.plexus.build import build_plexus_engine, build_tactus_runner
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.errors import ScoreFailed
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from plexus_scoring.settings import Settings
from tests.support.chat_server import ScriptedChatServer
from tests.support.portable import ScriptedModel

PYTHON = os.environ.get("PLEXUS_PYTHON")
pytestmark = [
    pytest.mark.skipif(
        PYTHON is None,
        reason="NOT RUN: TactusScores in Plexus itself (make test-plexus PLEXUS_SRC=checkout)",
    ),
    pytest.mark.timeout(900),
]
MODEL = """
default_model "openai/gpt-4o-mini-2024-07-18"
ClassifyProcedure {
  classes = {"YES", "NO"},
  system_message = [[Say whether the agent greets.]],
  user_message = [[Transcript: {{ text }}, agent {{ metadata.other_data.agent }}]]
}
"""


def procedure(body):
    return f"""
Procedure {{
  input = {{ text = field.string{{required = true}}, metadata = field.object{{}}, results = field.array{{}} }},
  output = {{ value = field.string{{required = true}}, explanation = field.string{{}}, confidence = field.string{{}} }},
  function(input) {body} end
}}
"""


def lua(code, *, name="Lua", **keys):
    return {"name": name, "id": name, "class": "TactusScore", "code": code, **keys}


BEFORE = lua(procedure('return { value = "Before", explanation = "e" }'), name="Before")
CASES = {
    "plain": [lua(procedure('return { value = input.text, explanation = "e", confidence = "high" }'))],
    "number": [lua(procedure('return { value = "x", confidence = "0.25" }'))],
    "metadata": [lua(procedure("return { value = input.metadata.other_data.agent .. #input.metadata.schools }"))],
    "all metadata": [
        lua(procedure('local n = 0 for _ in pairs(input.metadata) do n = n + 1 end return { value = "" .. n }'))
    ],
    "results": [BEFORE, lua(procedure("return { value = input.results[1].value }"), depends_on=["Before"])],
    "no results": [lua(procedure("return { value = tostring(input.results) == 'nil' and 'none' or 'some' }"))],
    "model": [lua(MODEL)],
    "processors": [
        lua(
            procedure("return { value = input.text }"),
            data={"processors": [{"class": "AddUnknownSpeakerIdentifiersTranscriptFilter"}]},
        )
    ],
}  # fmt: skip
METADATA = {"other_data": '{"agent": "Ann"}', "schools": "[1, 2]", "plain": "x"}


async def score(engine, scores):
    source = json.dumps({"name": "Card", "key": "card", "scores": scores})
    item = Item(id="i", text="hello, this is Ann", metadata=METADATA)
    return await engine.score(
        ScoreContext(item=item, scorecard=load_scorecard(source), score="Lua")
    )


@pytest.fixture(scope="module")
def both():
    """Both engines' parts, of one module: Plexus takes a quarter of a minute to import."""
    with ScriptedChatServer([{"when": "Ann", "replies": ["YES\nShe greets."]}]) as server:
        environ = {"PLEXUS_ACCOUNT_KEY": "default", **server.environment()}
        yield Settings(plexus_python=PYTHON), environ


async def test_values_explanations_confidences_and_costs_agree(both):
    plexus = build_plexus_engine(*both)
    ours = PortableEngine(ScriptedModel(), tactus=build_tactus_runner(*both))
    try:
        for name, scores in CASES.items():
            theirs, here = await score(plexus, scores), await score(ours, scores)
            for field in ("value", "explanation", "confidence", "cost"):
                assert getattr(here, field) == getattr(theirs, field), (name, field)
        broken = [lua(procedure('error("boom")'))]
        with pytest.raises(ScoreFailed, match="must return 'value'"):
            await score(plexus, broken)
        with pytest.raises(ScoreFailed, match="boom"):
            await score(ours, broken)
    finally:
        await plexus.aclose()
        await ours.aclose()
