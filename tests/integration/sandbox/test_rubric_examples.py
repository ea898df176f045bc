"""The rubrics of examples/, whole: the engine, the sandbox, and a scripted model for what a model judges."""

import json
import pathlib

import pytest

from plexus_scoring.engines.models.router import ModelRouter
from plexus_scoring.engines.models.settings import ModelSettings
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard import Scorecard, content_version
from plexus_scoring.ports import ScoreContext
from tests.support.chat_server import ScriptedChatServer
from tests.support.sandbox import require_confinement

RUBRICS = pathlib.Path(__file__).parents[3] / "examples" / "rubrics"


def judged(**points):
    return json.dumps({name: {"reason": "So it is.", "score": p} for name, p in points.items()})


@pytest.fixture
async def score():
    rules = [
        {"when": "Northwick", "replies": [judged(content=9, structure=8, language=9)]},
        {
            "when": "",
            "replies": ["I would rather not.", judged(content=2, structure=1, language=4)],
        },
    ]
    with ScriptedChatServer(rules) as server:
        engine = PortableEngine(ModelRouter(ModelSettings.from_environment(server.environment())))

        async def score_it(card, name, submission):
            source = (RUBRICS / f"{card}.yaml").read_text()
            item = json.loads((RUBRICS / "submissions" / f"{submission}.json").read_text())
            return await engine.score(
                ScoreContext(
                    item=Item(id=item["id"], text=item["text"], metadata=item["metadata"]),
                    scorecard=Scorecard(
                        id=card, name=card, source=source, version=content_version(source)
                    ),
                    score=name,
                )
            )

        yield score_it
        await engine.aclose()


@pytest.fixture
def _confined():
    require_confinement()


@pytest.mark.usefixtures("_confined")
async def test_a_good_program(score):
    outcome = await score("word-count", "Word count", "word-count-good")
    assert outcome.value == "100"
    assert outcome.metadata["threshold"] == "excellent"


@pytest.mark.usefixtures("_confined")
async def test_a_hasty_program(score):
    outcome = await score("word-count", "Word count", "word-count-hasty")
    breakdown = outcome.metadata["breakdown"]
    assert (breakdown["correctness"], breakdown["documentation"]) == (0.8, 0.0)
    assert outcome.metadata["threshold"] == "pass"
    assert "3 of 4 tests passed; failed: case and punctuation printed" in outcome.explanation


@pytest.mark.usefixtures("_confined")
async def test_a_copied_program(score):
    outcome = await score("word-count", "Word count", "word-count-copied")
    assert outcome.value == "0"
    assert outcome.metadata["breakdown"]["correctness"] == 1.0
    assert outcome.metadata["capped_by"] == ["originality"]
    assert "word-count-good" in outcome.explanation


async def test_an_argued_essay_costs_one_call(score):
    outcome = await score("essay", "Essay", "essay-argued")
    assert (outcome.value, outcome.metadata["threshold"]) == ("90", "A")
    assert outcome.cost.llm_calls == 1
    assert outcome.cost.total_cost > 0
    assert outcome.explanation.startswith("Overall Score: 90/100 (A)\n")


async def test_a_thin_essay_whose_first_judgement_was_none(score):
    outcome = await score("essay", "Essay grade", "essay-thin")
    assert outcome.value == "E"
    assert outcome.cost.llm_calls == 2
