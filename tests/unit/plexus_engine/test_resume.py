"""Which checkpoints a graph keeps, goes on from and gives up. NOT LangGraph: see make test-plexus."""

import asyncio
from types import SimpleNamespace

import pytest

from plexus_scoring.engines.plexus import PlexusEngine, package, resume
from plexus_scoring.engines.plexus import loop as loop_thread
from plexus_scoring.model.errors import EngineUnavailable, ScoreFailed
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from tests.support.clock import HANG_SECONDS
from tests.support.stores import key
from tests.unit.plexus_engine.fake_package import PACKAGE, Result, Scorecard

CARD = """name: Card
scores:
- name: Greeting
  id: 1
  class: LangGraphScore
  graph: []
"""


class Saver:
    """Keeps the newest checkpoint of each thread."""

    def __init__(self):
        self.kept = {}
        self.broken = False

    async def aput(self, config, checkpoint, metadata, new_versions):
        if self.broken:
            raise OSError("gone")
        self.kept[config["configurable"]["thread_id"]] = (checkpoint, metadata)
        return config

    async def aget_tuple(self, config):
        kept = self.kept.get(config["configurable"]["thread_id"])
        if kept is None:
            return None
        return SimpleNamespace(parent_config=None, checkpoint=kept[0], metadata=kept[1])

    async def alist(self, config):
        found = await self.aget_tuple(config)
        if found is not None:
            yield found

    async def adelete_thread(self, thread):
        if self.broken:
            raise OSError("gone")
        self.kept.pop(thread, None)


class App:
    """A compiled graph of two steps, each with a paid call."""

    output_channels = ("value",)

    def __init__(self, score):
        self.score = score
        self.checkpointer = None

    async def aget_state(self, config):
        kept = self.checkpointer.kept.get(config["configurable"]["thread_id"])
        if kept is None:
            return SimpleNamespace(created_at=None, next=(), values={})
        done = kept[0]["steps"]
        return SimpleNamespace(
            created_at="then",
            next=("one", "two")[done:],
            values={"value": "Yes", "text": "secret"},
        )

    async def ainvoke(self, state, *, config):
        done = 0 if state is not None else (await self.aget_state(config)).next.index("two") + 1
        for step in range(done, 2):
            self.score.calls += 1
            if step == self.score.fails_at:
                raise self.score.error
            await self.checkpointer.aput(config, {"steps": step + 1}, {"step": step}, {})
        return {"value": "Yes"}


class GraphScore:
    """The package's graph score, as far as `teach` and costs go."""

    parameters = SimpleNamespace(name="Greeting", model_dump_json=lambda: "{}")
    fails_at, error = None, None

    def __init__(self):
        self.calls = 0

    async def build_compiled_workflow(self):
        return App(self)

    def get_accumulated_costs(self):
        return {"llm_calls": self.calls, "total_tokens": 3 * self.calls}


@pytest.fixture
def saver():
    return Saver()


@pytest.fixture
def engine(monkeypatch, saver):
    class Graph(GraphScore):
        pass

    async def scored(_card, **_):
        score = Graph()
        app = await score.build_compiled_workflow()
        try:
            value = (await app.ainvoke({}, config={"thread_id": "the package's own"}))["value"]
        except ConnectionError:
            return {"1": Result("ERROR", exception_type="RateLimitError", error="slow down")}
        except ValueError:
            return {"1": Result("ERROR", error="never")}
        return {"1": Result(value, cost=score.get_accumulated_costs())}

    resume.teach(Graph)
    resume.teach(Graph)
    monkeypatch.setattr(package, "load", lambda _: PACKAGE)
    monkeypatch.setattr(package, "check", lambda: None)
    monkeypatch.setattr(PACKAGE, "graph_class", Graph)
    monkeypatch.setattr(Scorecard, "behaviour", scored)

    async def opened(self):
        if self.saver is None:
            self.use(saver)

    monkeypatch.setattr(resume.Checkpointer, "open", opened)
    engine = PlexusEngine(checkpointer_uri="postgresql://nowhere")
    engine.graph = Graph
    return engine


async def score(engine, job_id="job-1"):
    card = load_scorecard(CARD)
    return await engine.score(
        ScoreContext(item=Item(id="i", text="t"), scorecard=card, score="Greeting", job=key(job_id))
    )


def fail(engine, step, error):
    engine.graph.fails_at, engine.graph.error = step, error


async def test_a_score_that_ends_leaves_no_checkpoints(engine, saver):
    outcome = await score(engine)
    assert (outcome.value, outcome.cost.llm_calls) == ("Yes", 2)
    assert saver.kept == {}
    await engine.aclose()


async def test_a_retried_attempt_goes_on_and_tells_all_costs(engine, saver):
    fail(engine, 1, ConnectionError())
    for _ in range(2):
        with pytest.raises(EngineUnavailable):
            await score(engine)
    assert len(saver.kept) == 1
    fail(engine, None, None)
    outcome = await score(engine)
    # The first step once, the second three times: also the calls since the last checkpoint were written down.
    assert (outcome.cost.llm_calls, outcome.cost.total_tokens) == (4, 12)
    assert saver.kept == {}
    await engine.aclose()


async def test_another_jobs_costs_are_its_own(engine):
    fail(engine, 1, ConnectionError())
    with pytest.raises(EngineUnavailable):
        await score(engine)
    fail(engine, None, None)
    assert (await score(engine, "job-2")).cost.llm_calls == 2
    await engine.aclose()


async def test_a_graph_that_ended_is_not_run_again(engine, saver):
    await score(engine)
    thread = resume.thread_of(key("job-1").text, GraphScore.parameters)
    spent = {"plexus_scoring_cost": {"llm_calls": 2, "total_tokens": 6}}
    saver.kept[thread] = ({"steps": 2}, spent)
    fail(engine, 0, AssertionError("run again"))
    outcome = await score(engine)
    assert (outcome.value, outcome.cost.llm_calls) == ("Yes", 2)
    await engine.aclose()


async def test_a_failure_that_stays_gives_the_checkpoints_up(engine, saver):
    fail(engine, 1, ValueError())
    with pytest.raises(ScoreFailed):
        await score(engine)
    assert saver.kept == {}
    await engine.aclose()


async def test_checkpoints_that_cannot_be_removed_do_not_end_the_job(engine, saver, caplog):
    await score(engine)
    saver.broken = True

    async def plain(self):
        app = App(self)
        app.checkpointer = Saver()
        return resume.ResumingGraph(app, self, engine._checkpointer, key("job-1").text)

    engine.graph.build_compiled_workflow = plain
    assert (await score(engine)).value == "Yes"
    assert "checkpoints left over" in caplog.text
    await engine.aclose()


async def test_a_cancelled_attempt_writes_its_costs_down_before_it_is_gone(
    engine, saver, monkeypatch
):
    monkeypatch.setattr(resume, "_LAST_WRITE_SECONDS", HANG_SECONDS)
    monkeypatch.setattr(loop_thread, "_GRACE", HANG_SECONDS)
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Hangs(App):
        async def ainvoke(self, state, *, config):
            await self.checkpointer.aput(config, {"steps": 1}, {"step": 0}, {})
            self.score.calls += 5
            loop.call_soon_threadsafe(reached.set)
            await asyncio.Event().wait()

    class Slow(Saver):
        async def aget_tuple(self, config):
            for _ in range(10):
                await asyncio.sleep(0)
            return await super().aget_tuple(config)

    async def hanging(self):
        app = Hangs(self)
        app.checkpointer = slow
        return resume.ResumingGraph(app, self, engine._checkpointer, key("job-1").text)

    slow = Slow()
    await score(engine)
    engine._checkpointer.use(slow)
    engine.graph.build_compiled_workflow = hanging
    attempt = asyncio.create_task(score(engine))
    await reached.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    ((_, metadata),) = slow.kept.values()
    assert metadata["plexus_scoring_cost"]["llm_calls"] == 5
    await engine.aclose()
