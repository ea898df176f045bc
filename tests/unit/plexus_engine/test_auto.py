"""PLEXUS_SCORING_ENGINE=auto: who is asked."""

import pytest

from plexus_scoring.engines.auto import AutoEngine
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.item import Item
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from tests.support.portable import ScriptedModel

CARD = """name: Card
scores:
- name: Portable
  class: KeywordClassifier
  keywords: [hello]
- name: Tactus
  class: TactusScore
  code: x
- name: After
  class: KeywordClassifier
  keywords: [hello]
  depends_on: [Tactus]
- name: Files
  class: KeywordClassifier
  keywords: [hello]
  item: {class: DeepgramInputSource}
"""


class Plexus:
    def __init__(self, *, installed):
        self.installed = installed
        self.asked = []
        self.closed = False

    async def holds_plexus(self):
        return self.installed

    async def score(self, context):
        self.asked.append(context.score)
        return ScoreOutcome(value="of Plexus")

    async def aclose(self):
        self.closed = True


class Lua:
    """Runs every procedure as one that says yes."""

    async def run(self, name, code, context, deadline):
        return {"ok": {"success": True, "output": {"value": "of Lua"}, "calls": []}}

    async def aclose(self):
        pass


def make(*, installed=True, tactus=None):
    plexus = Plexus(installed=installed)
    portable = PortableEngine(ScriptedModel(), tactus=tactus)
    return AutoEngine(portable, plexus), plexus


async def score(engine, name):
    card = load_scorecard(CARD, file="card.yaml")
    item = Item(id="i", text="hello")
    return (await engine.score(ScoreContext(item=item, scorecard=card, score=name))).value


async def test_the_portable_engine_goes_first():
    engine, plexus = make()
    assert await score(engine, "Portable") != "of Plexus"
    assert plexus.asked == []


@pytest.mark.parametrize("name", ["Tactus", "After", "Files"])
async def test_plexus_scores_what_the_portable_engine_does_not_run(name):
    engine, plexus = make()
    assert await score(engine, name) == "of Plexus"
    assert plexus.asked == [name]
    await engine.aclose()
    assert plexus.closed


@pytest.mark.parametrize(("name", "value"), [("Tactus", "of Lua"), ("After", "True")])
async def test_lua_runs_without_plexus_beside_what_the_portable_engine_runs(name, value):
    engine, plexus = make(installed=False, tactus=Lua())
    assert await score(engine, name) == value
    assert plexus.asked == []


@pytest.mark.parametrize(
    ("name", "text"), [("Tactus", "TactusScore"), ("Files", "DeepgramInputSource")]
)
async def test_without_plexus_the_class_is_named(name, text):
    engine, _ = make(installed=False)
    with pytest.raises(ScorecardError, match=text):
        await score(engine, name)
