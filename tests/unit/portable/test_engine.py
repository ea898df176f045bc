"""The engine on whole scorecards, with a scripted model in place of a server."""

import asyncio
import json
import threading
import time
import unicodedata

import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from plexus_scoring.engines.auto import AutoEngine
from plexus_scoring.engines.mock import MockEngine
from plexus_scoring.engines.models import turns
from plexus_scoring.engines.models.base import ChatReply, TokenLogprob
from plexus_scoring.engines.models.limiter import FLOW
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.engines.portable.ledger import Budget
from plexus_scoring.engines.portable.scorecard import ReadyScorecard
from plexus_scoring.model.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    DependencyUnmet,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    ProviderBusy,
    ScorecardError,
    ScoreDisabled,
    ScoreFailed,
)
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext, ScoringEngine
from plexus_scoring.telemetry import names, tracing
from tests.support.clock import ManualLimits
from tests.support.portable import ScriptedModel, score, scorecard_of
from tests.support.stores import key


def classifier(name="ask", classes=("Yes", "No"), **keys):
    return {
        "name": name,
        "class": "Classifier",
        "valid_classes": list(classes),
        "system_message": "Judge.",
        "user_message": f"{name}: {{{{text}}}}",
        **keys,
    }


def graph(name, *nodes, **keys):
    keys.setdefault("output", {"value": "classification", "explanation": "explanation"})
    return {"name": name, "graph": list(nodes), **keys}


def keyword(name, word="hello", **keys):
    return {"name": name, "class": "KeywordClassifier", "keywords": [word], **keys}


async def test_an_unknown_after_the_last_retry_is_the_value_and_is_undetermined():
    model = ScriptedModel(["perhaps"])
    outcome = await score(scorecard_of(graph("Q", classifier(maximum_retry_count=2))), model=model)
    assert (outcome.value, outcome.undetermined) == ("unknown", True)
    assert len(model.requests) == 3
    assert "This is attempt 2 of 2" in model.prompts[-1]


async def test_an_answer_that_is_unknown_is_determined():
    text = scorecard_of(graph("Q", classifier(classes=["known", "unknown"])))
    outcome = await score(text, model=ScriptedModel(["unknown"]))
    assert (outcome.value, outcome.undetermined) == ("unknown", False)


async def test_a_number_out_of_range_is_no_and_undetermined():
    node = {
        "name": "n",
        "class": "NumericClassifier",
        "user_message": "{{text}}",
        "numeric_min": 0,
        "numeric_max": 5,
    }
    outcome = await score(
        scorecard_of({"name": "N", "graph": [node]}), model=ScriptedModel(["It is 7."])
    )
    assert (outcome.value, outcome.undetermined) == ("No", True)
    assert outcome.explanation == "Number 7 is outside the valid range [0, 5]."


CUT = {"cut": "the answer was cut (length)", "finish_reason": "length"}
WITHHELD = {"text": "", "withheld": "the model refused to answer (refusal)", "refusal": "I won't."}


def reply(text="Yes", **fields):
    return ChatReply(**{"text": text, "model": "gpt-4o-mini"} | fields)


async def test_a_cut_answer_keeps_its_value_and_is_undetermined():
    outcome = await score(
        scorecard_of(graph("Q", classifier())), model=ScriptedModel([reply(**CUT)])
    )
    assert (outcome.value, outcome.undetermined) == ("Yes", True)
    assert outcome.undetermined_reason == "ask: the answer was cut (length)"


async def test_a_whole_answer_after_a_cut_one_is_determined():
    model = ScriptedModel([reply("well, I", **CUT), "Yes"])
    outcome = await score(scorecard_of(graph("Q", classifier())), model=model)
    assert (outcome.value, outcome.undetermined, outcome.undetermined_reason) == (
        "Yes",
        False,
        None,
    )


@pytest.mark.parametrize(
    ("node", "calls", "value"),
    [
        (
            {"class": "Classifier", "valid_classes": ["Yes", "No"], "maximum_retry_count": 2},
            3,
            "unknown",
        ),
        ({"class": "YesOrNoClassifier", "maximum_retry_count": 3}, 3, "unknown"),
        (
            {
                "class": "MultiClassClassifier",
                "valid_classes": ["Yes", "No"],
                "maximum_retry_count": 3,
            },
            3,
            "unknown",
        ),
        ({"class": "NumericClassifier"}, 1, "No"),
    ],
    ids=lambda given: given.get("class") if isinstance(given, dict) else None,
)
async def test_a_withheld_answer_is_asked_for_again_and_gives_no_value(node, calls, value):
    node = {"name": "ask", "system_message": "Judge.", "user_message": "{{text}}"} | node
    output = {} if node["class"] == "NumericClassifier" else {"value": "classification"}
    model = ScriptedModel([reply(**WITHHELD)])
    outcome = await score(scorecard_of(graph("Q", node, output=output)), model=model)
    assert len(model.requests) == calls
    assert (outcome.value, outcome.undetermined) == (value, True)
    assert outcome.undetermined_reason == "ask: the model refused to answer (refusal)"
    assert outcome.trace["answers"][0]["refusal"] == "I won't."


async def test_a_withheld_answer_may_be_answered_the_second_time():
    node = {"name": "ask", "class": "YesOrNoClassifier", "user_message": "{{text}}"}
    model = ScriptedModel([reply(**WITHHELD), "Yes"])
    outcome = await score(scorecard_of(graph("Q", node)), model=model)
    assert (outcome.value, outcome.undetermined) == ("yes", False)


async def test_a_cut_explanation_leaves_the_value_determined():
    node = {
        "name": "ask",
        "class": "YesOrNoClassifier",
        "user_message": "{{text}}",
        "explanation_message": "Why?",
    }
    model = ScriptedModel(["Yes", reply("Because", **CUT)])
    outcome = await score(scorecard_of(graph("Q", node)), model=model)
    assert (outcome.value, outcome.explanation, outcome.undetermined) == ("yes", "Because", False)
    assert outcome.trace["answers"] == [
        {"node_name": "ask", "undetermined": "the answer was cut (length)"}
    ]


async def test_reasoning_is_kept_in_the_trace():
    model = ScriptedModel([reply(reasoning="2 or 3?", reasoning_tokens=5)])
    outcome = await score(scorecard_of(graph("Q", classifier())), model=model)
    assert not outcome.undetermined
    assert outcome.trace["answers"] == [
        {"node_name": "ask", "reasoning": "2 or 3?", "reasoning_tokens": 5}
    ]


async def test_waiting_for_a_turn_until_the_deadline_is_no_fault_of_the_jobs():
    class Busy(ScriptedModel):
        async def chat(self, request, *, deadline=None):
            with turns.waiting():
                await asyncio.Event().wait()

    with pytest.raises(ProviderBusy, match="no turn at the provider"):
        await score(
            scorecard_of(graph("Q", classifier())), model=Busy(), deadline=time.time() + 0.1
        )


async def test_a_second_node_starts_with_its_own_retries():
    model = ScriptedModel(["eh", "Yes", "eh", "No"])
    text = scorecard_of(
        graph("Q", classifier("a", maximum_retry_count=1), classifier("b", maximum_retry_count=1))
    )
    assert (await score(text, model=model)).value == "No"
    assert [len(request.messages) for request in model.requests] == [2, 4, 2, 4]


@pytest.mark.parametrize(
    ("returned", "value", "explanation"),
    [
        ("value=True, metadata={}", "True", ""),
        ("value=5, metadata={'explanation': 7}", "5", "7"),
        ("value='x', metadata=None", "x", ""),
    ],
)
async def test_code_may_return_what_is_no_text(returned, value, explanation):
    code = f"def score(p, i):\n    return Score.Result(parameters=p, {returned})\n"
    node = {"name": "n", "class": "LogicalClassifier", "code": code}
    outcome = await score(scorecard_of(graph("Q", node)))
    assert (outcome.value, outcome.explanation or "") == (value, explanation)


async def test_fields_that_a_logical_node_sets_reach_the_next_prompt():
    model = ScriptedModel(["Yes"])
    node = {
        "name": "n",
        "class": "LogicalNode",
        "code": "def execute(context):\n    return {'campaign': 'Autumn'}\n",
    }
    ask = classifier(user_message="{{campaign}}?")
    await score(scorecard_of(graph("Q", node, ask)), model=model)
    assert model.prompts == ["Autumn?"]


async def test_a_classifier_takes_an_input_alias():
    model = ScriptedModel(["Yes"])
    quote = {
        "name": "quote",
        "class": "Extractor",
        "user_message": "{{text}}",
        "trust_model_output": True,
    }
    ask = classifier(input={"passage": "extracted_text"}, user_message="In {{passage}}?")
    await score(scorecard_of(graph("Q", quote, ask)), model=model)
    assert model.prompts[-1] == "In Yes?"


async def test_classes_of_symbols_do_not_hang():
    text = scorecard_of(graph("Q", classifier(classes=["+", "-"])))
    assert (await score(text, model=ScriptedModel(["I would say + here"]))).value == "+"


async def test_a_graph_that_goes_in_a_circle_ends_with_a_clear_error():
    node = {
        "name": "n",
        "class": "FuzzyMatchClassifier",
        "data_paths": ["text"],
        "targets": {"target": "x", "threshold": 100},
        "edge": {"node": "n", "output": {"seen": "classification"}},
    }
    last = classifier("last")
    with pytest.raises(BudgetExceeded, match="go in a circle"):
        await score(scorecard_of(graph("Q", node, last)))


async def test_validation_is_enforced():
    text = scorecard_of(
        graph("Q", classifier(), validation={"value": {"valid_classes": ["No", "NA"]}})
    )
    with pytest.raises(ScoreFailed, match="the value is none of No, NA"):
        await score(text, model=ScriptedModel(["Yes"]))


async def test_the_final_explanation_may_be_validated_by_pattern():
    rules = {"explanation": {"patterns": ["^[A-Z]"], "maximum_length": 10}}
    text = scorecard_of(graph("Q", classifier(), validation=rules))
    assert (await score(text, model=ScriptedModel(["Yes"]))).value == "Yes"
    with pytest.raises(ScoreFailed, match="matches no pattern"):
        await score(text, model=ScriptedModel(["yes"]))


async def test_a_model_that_cannot_answer_now_ends_the_job_for_a_retry():
    text = scorecard_of(graph("A", classifier()), keyword("B", depends_on=["A"]))
    with pytest.raises(EngineUnavailable):
        await score(text, model=ScriptedModel([EngineUnavailable("busy", retry_after=3)]))


async def test_a_dependency_that_failed_is_error_to_its_dependents():
    text = scorecard_of(graph("A", classifier()), keyword("B", depends_on={"A": "ERROR"}))
    outcome = await score(text, model=ScriptedModel([ScoreFailed("refused")]))
    assert outcome.value == "True"


async def test_unmet_disabled_unknown_and_missing(caplog):
    text = scorecard_of(
        keyword("A", disabled=True),
        keyword("B", depends_on={"A": {"operator": "in", "value": ["True"]}}),
        keyword("C", depends_on=["a"]),
        keyword("D", depends_on=["Nobody"]),
    )
    with pytest.raises(ScoreDisabled):
        await score(text, "A")
    with pytest.raises(DependencyUnmet, match="'A' is 'DISABLED'"):
        await score(text, "B")
    assert (await score(text, "C")).value == "True"
    assert (await score(text, "D")).value == "True"
    assert "depends on 'Nobody', which is no score of this scorecard" in caplog.text
    with pytest.raises(NotFound, match="it has A, B, C, D"):
        await score(text, "E")


async def test_a_cycle_is_refused():
    text = scorecard_of(keyword("A", depends_on=["B"]), keyword("B", depends_on=["A"]))
    with pytest.raises(ScorecardError, match=r"A → B → A|B → A → B"):
        await score(text)


async def test_a_score_that_fails_to_compile_does_not_trouble_its_neighbours():
    text = scorecard_of({"name": "Bad", "class": "Nonsense"}, keyword("Good"))
    assert (await score(text, "Good")).value == "True"
    with pytest.raises(ScorecardError, match=r"card.yaml:4:3: .*Nonsense"):
        await score(text, "Bad")


async def test_tactus_names_what_it_needs():
    text = scorecard_of({"name": "Lua", "class": "TactusScore", "code": "x"}, keyword("K"))
    with pytest.raises(ScorecardError, match=r"package tactus.*PLEXUS_PYTHON"):
        await score(text, "Lua")
    engine = PortableEngine(ScriptedModel())
    card = load_scorecard(text)
    assert engine.supports(card, "Lua") == ["TactusScore"]
    assert engine.supports(card, "K") == []


async def test_independent_scores_run_at_the_same_time_and_once():
    running = 0
    most = 0

    class Slow(ScriptedModel):
        async def chat(self, request, *, deadline=None):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            running -= 1
            return await super().chat(request, deadline=deadline)

    model = Slow(["Yes"])
    names = ["A", "B", "C"]
    text = scorecard_of(
        graph("Root", classifier("root")),
        *(graph(name, classifier(name.lower()), depends_on=["Root"]) for name in names),
        graph("End", classifier("end"), depends_on=[*names, "Root"]),
    )
    outcome = await score(text, model=model)
    assert outcome.value == "Yes"
    assert len(model.requests) == 5
    assert most == 3
    assert outcome.cost.llm_calls == 1
    assert outcome.dependencies_cost.llm_calls == 4


async def test_budgets_end_a_job():
    text = scorecard_of(graph("A", classifier("a")), graph("B", classifier("b"), depends_on=["A"]))
    for budget, word in (
        (Budget(calls=1), "1 model calls"),
        (Budget(tokens=5), "5 tokens"),
        (Budget(usd=1e-9), "USD"),
    ):
        engine = PortableEngine(ScriptedModel(["Yes"]), budget=budget)
        with pytest.raises(BudgetExceeded, match=word):
            await score(text, engine=engine)


async def test_a_model_that_never_answers_ends_at_the_deadline():
    class Never(ScriptedModel):
        async def chat(self, request, *, deadline=None):
            await asyncio.Event().wait()

    text = scorecard_of(graph("A", classifier()))
    with pytest.raises(DeadlineExceeded):
        await score(text, model=Never(), deadline=time.time() + 0.01)
    engine = PortableEngine(Never(), budget=Budget(seconds=0.01))
    with pytest.raises(BudgetExceeded, match=r"0.01 s"):
        await score(text, engine=engine)


class Kept:
    """Checkpoints in memory."""

    def __init__(self):
        self.values = {}

    async def load(self, job):
        return dict(self.values)

    async def save(self, job, name, value):
        self.values[name] = value


async def test_a_retried_job_does_not_pay_again():
    text = scorecard_of(graph("A", classifier("a")), graph("B", classifier("b"), depends_on=["A"]))
    kept = Kept()
    first = ScriptedModel(["Yes", EngineUnavailable("busy")])
    with pytest.raises(EngineUnavailable):
        await score(text, model=first, job=key("job"), checkpoints=kept)
    second = ScriptedModel(["No"])
    outcome = await score(text, model=second, job=key("job"), checkpoints=kept, attempt=2)
    assert outcome.value == "No"
    assert [request.messages[-1].content[:2] for request in second.requests] == ["b:"]
    assert outcome.dependencies_cost.llm_calls == 1


async def test_the_same_question_asked_twice_is_answered_twice():
    kept = Kept()
    text = scorecard_of(graph("A", classifier("a", maximum_retry_count=0), classifier("a2")))
    model = ScriptedModel(["Yes"])
    await score(text, model=model, job=key("job"), checkpoints=kept)
    assert len(kept.values) == 2


async def test_broken_checkpoints_cost_money_but_not_the_job():
    class Broken(Kept):
        async def load(self, job):
            raise OSError("gone")

        async def save(self, job, name, value):
            raise OSError("gone")

    text = scorecard_of(graph("A", classifier()))
    assert (await score(text, job=key("j"), checkpoints=Broken())).value == "Yes"
    junk = Kept()
    await score(text, job=key("j"), checkpoints=junk)
    junk.values = dict.fromkeys(junk.values, b"junk")
    assert (await score(text, job=key("j"), checkpoints=junk)).value == "Yes"


async def test_items_that_cannot_be_scored():
    card = load_scorecard(scorecard_of(keyword("K")))
    engine = PortableEngine(ScriptedModel())
    with pytest.raises(InvalidRequest, match="no text"):
        await engine.score(ScoreContext(item=Item(id="i"), scorecard=card, score="K"))
    wrong = Item(id="i", text="x", metadata=["a list"])
    with pytest.raises(InvalidRequest, match="metadata"):
        await engine.score(ScoreContext(item=wrong, scorecard=card, score="K"))


@pytest.mark.parametrize(
    "text", ["", "\0", "שלום hello", "\U0001f469‍\U0001f680 hello", "a" * 100_000]
)
async def test_odd_texts(text):
    outcome = await score(scorecard_of(keyword("K")), item=text)
    assert outcome.value == ("True" if "hello" in text else "False")


async def test_scores_are_found_by_any_of_their_names():
    text = scorecard_of(keyword("K", id=7, key="the-key", externalId=42))
    for reference in ("K", "k", "7", "the-key", "42"):
        assert (await score(text, reference)).value == "True"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_a_score_is_found_however_its_accents_are_encoded(form):
    text = scorecard_of(keyword("Équipe", key="clé"))
    for reference in ("Équipe", "ÉQUIPE", "clé"):
        assert (await score(text, unicodedata.normalize(form, reference))).value == "True"


@pytest.mark.parametrize("written", ["007", "1e3", "0x1F", "1_000", ".5", "2024-01-01", "1.50"])
async def test_a_class_that_looks_like_a_number_keeps_its_written_text(written):
    text = f"""
id: 0045
name: Numbers
model_name: gpt-4o-mini
model_provider: ChatOpenAI
graph:
- name: ask
  class: Classifier
  valid_classes: [{written}, other]
  user_message: "{{{{text}}}}"
  conditions: [{{value: {written}, node: end, output: {{seen: {written}}}}}]
- name: missed
  class: LogicalClassifier
  code: "def score(p, i): return Score.Result(value='missed')"
- name: end
  class: LogicalNode
  weight: {written}
  code: "def execute(context): return {{'note': context['state'].seen}}"
output: {{value: classification, explanation: note}}
"""
    outcome = await score(text, "Numbers", model=ScriptedModel([f"It is {written}"]))
    assert (outcome.value, outcome.explanation) == (written, written)
    assert json.loads(msgspec.json.encode(outcome.trace))
    assert (await score(text, "0045", model=ScriptedModel(["other"]))).value == "missed"


async def test_usd_are_those_of_every_model_that_was_asked():
    node = {
        "name": "q",
        "class": "YesOrNoClassifier",
        "user_message": "{{text}}",
        "explanation_message": "Why {{classification}}?",
        "explanation_model": {"model_provider": "ChatOpenAI", "model_name": "gpt-4o"},
    }
    model = ScriptedModel(["Yes", "Because."])
    outcome = await score(scorecard_of(graph("Q", node)), model=model)
    assert outcome.explanation == "Because."
    assert [part.model for part in outcome.cost.components] == ["gpt-4o-mini", "gpt-4o"]
    assert outcome.cost.total_cost == pytest.approx(
        sum(part.usd for part in outcome.cost.components)
    )
    assert model.prompts[-1] == "Why yes?"


async def test_a_regex_that_backtracks_for_ever_is_stopped(monkeypatch):
    monkeypatch.setattr("plexus_scoring.engines.portable.regexes.MAX_SECONDS", 0.05)
    text = scorecard_of(keyword("K", {"regex": r"(a|a)*b(a|aa)+$(x+x+)+y"}))
    with pytest.raises(BudgetExceeded, match="simplify it"):
        await score(text, item="a" * 60 + "b" + "a" * 60 + "x" * 80)


@pytest.mark.parametrize(
    "pattern",
    [
        "a{1000000}",
        "(?:(?:(?:a{1000}){1000}){1000}){1000}",
        "((?:x[)]{1000}){1000}){1000}",
        "(?x)(?:x {1000} ) {1000} # y",
        "(?#[)(?:x{1000}){1000}(?#])",
        "(?:x|" * 2_000 + ")" * 2_000,
        "x|" * 20_000,
    ],
)
async def test_a_regex_that_is_too_large_to_compile_is_refused(pattern):
    with pytest.raises(ScorecardError, match=r"too large a|is no regular expression"):
        await score(scorecard_of(keyword("K", {"regex": pattern})))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\(\d{3}\)|\d{3})[- ]\d{3}-\d{4}",
        r"\b[A-Z]{2}\d{2}(?: ?\d{4}){4} ?\d{2}\b",
        r"(\w+ ){2,400}end",
    ],
)
async def test_a_regex_with_counts_is_found(pattern):
    text = scorecard_of(keyword("K", {"regex": pattern}))
    item = "call (555) 123-4567 or DE89 3704 0044 0532 0130 00 at the end"
    assert (await score(text, item=item)).value == "True"


async def test_composite_scores_follow_their_tree():
    text = scorecard_of(
        {
            "name": "Refund",
            "class": "CompositeScore",
            "model_provider": "ChatOpenAI",
            "model_name": "gpt-4o-mini",
            "elements": [
                {"name": "Asked", "class": "KeywordClassifier", "keywords": ["refund"]},
                {"name": "Polite", "class": "LangGraphScore", **graph("Polite", classifier())},
            ],
            "decision_tree": {
                "element": "Asked",
                True: {
                    "element": "Polite",
                    "yes": "yes",
                    "No": {"value": "No", "explanation": "Rude."},
                },
                "otherwise": "na",
            },
        }
    )
    asked = "I want a refund."
    assert (await score(text, item=asked, model=ScriptedModel(["Yes"]))).value == "Yes"
    rude = await score(text, item=asked, model=ScriptedModel(["No"]))
    assert (rude.value, rude.explanation, rude.cost.llm_calls) == ("No", "Rude.", 1)
    quiet = ScriptedModel()
    assert (await score(text, item="Bye.", model=quiet)).value == "NA"
    assert quiet.requests == []


async def test_confidence_of_a_class():
    tokens = (
        TokenLogprob("I", -0.1, (("I", -0.1),)),
        TokenLogprob(" Yes", -0.7, ((" Yes", -0.6931471805599453), ("yes", -1.3862943611198906))),
    )
    reply = ChatReply(text="I Yes", model="m", logprobs=tokens)
    curve = {
        "method": "isotonic_regression",
        "raw_confidence": [0.0, 1.0],
        "calibrated_confidence": [0.0, 0.5],
    }
    text = scorecard_of(graph("Q", classifier(confidence=True)))
    assert (await score(text, model=ScriptedModel([reply]))).confidence == pytest.approx(0.75)
    text = scorecard_of(graph("Q", classifier(confidence=True, confidence_calibration=curve)))
    assert (await score(text, model=ScriptedModel([reply]))).confidence == pytest.approx(0.375)
    model = ScriptedModel(["Yes"])
    assert (await score(text, model=model)).confidence is None
    assert model.requests[0].logprobs == 10


async def test_mock_mode_is_deterministic_and_reads_nothing():
    engine = MockEngine()
    assert isinstance(engine, ScoringEngine)
    card = load_scorecard(scorecard_of(keyword("K")))
    values = set()
    for number in range(20):
        context = ScoreContext(item=Item(id="i", text=f"t{number}"), scorecard=card, score="none")
        first, second = await engine.score(context), await engine.score(context)
        assert first == second
        assert first.trace is None
        values.add(first.value)
    assert values == {"Yes", "No"}


async def test_closing_the_engine_closes_the_models():
    model = ScriptedModel()
    engine = PortableEngine(model)
    assert isinstance(engine, ScoringEngine)
    await engine.aclose()
    assert model.closed


async def test_an_items_own_explanation_is_stored_but_dependents_see_the_graphs():
    model = ScriptedModel(["Yes"])
    second = classifier("b", user_message="{{results['A'].explanation}}")
    text = scorecard_of(graph("A", classifier("a")), graph("B", second, depends_on=["A"]))
    outcome = await score(text, model=model, metadata={"explanation": "from the item"})
    assert outcome.explanation == "from the item"
    assert model.prompts[-1] == "Yes"


async def test_an_explanation_that_the_scores_own_code_gave_is_stored():
    code = "def score(p, i): return Score.Result(value='Yes', metadata={'explanation': 'from the code'})"
    coded = {"name": "logic", "class": "LogicalClassifier", "code": code}
    outcome = await score(scorecard_of(graph("A", coded)), metadata={"explanation": "the item's"})
    assert outcome.explanation == "from the code"
    text = scorecard_of(graph("A", coded, classifier("b")))
    outcome = await score(text, model=ScriptedModel(["No"]), metadata={"explanation": "the item's"})
    assert outcome.explanation == "the item's"


CONDITION = {"value": "Maybe", "node": "END", "output": {"value": "Fail", "explanation": "why"}}


@pytest.mark.parametrize(
    "first",
    [
        {
            "name": "n",
            "class": "LogicalNode",
            "code": "def execute(context): return {'value': 'set'}",
        },
        {
            "name": "n",
            "class": "FuzzyMatchClassifier",
            "data_paths": ["metadata.absent"],
            "targets": {"target": "x", "threshold": 90},
        },
        classifier("n", maximum_retry_count=1),
    ],
)
@pytest.mark.parametrize("output", [{"value": "value"}, {"note": "value"}])
async def test_dependents_see_error_where_plexus_lowers_a_classification_that_is_none(
    first, output
):
    dependency = graph("A", {**first, "conditions": [CONDITION]}, output=output)
    shown = "{{results['A'].value}} {{results['A'].explanation}} {{results['A'].error}}"
    text = scorecard_of(
        dependency, graph("B", classifier("b", user_message=shown), depends_on=["A"])
    )
    model = ScriptedModel(["perhaps", "Yes"])
    assert (await score(text, "B", model=model)).value == "Yes"
    # Only an output that a condition has too makes Plexus look.
    errors = [prompt for prompt in model.prompts if "ERROR None AttributeError" in prompt]
    assert bool(errors) == ("value" in output)
    assert (await score(text, "A", model=ScriptedModel(["perhaps", "Yes"]))).value != "ERROR"


async def test_each_node_that_runs_has_a_span_that_names_it():
    spans = InMemorySpanExporter()
    tracing.configure(exporter=spans)
    try:
        condition = {"value": "No", "node": "END"}
        first = classifier("first", conditions=[condition])
        await score(
            scorecard_of(graph("Q", first, classifier("second"))), model=ScriptedModel(["No"])
        )
    finally:
        tracing.shutdown()
    (span,) = spans.get_finished_spans()
    assert span.name == names.SPAN_NODE
    assert dict(span.attributes or {}) == {
        "plexus_scoring.score.name": "Q",
        "plexus_scoring.node.name": "first",
        "plexus_scoring.node.class": "Classifier",
    }


async def test_jobs_take_turns_at_a_provider_and_their_dependencies_share_theirs():
    flows = []

    class Noting(ScriptedModel):
        async def chat(self, request, *, deadline=None):
            flows.append(FLOW.get())
            return await super().chat(request, deadline=deadline)

    text = scorecard_of(graph("A", classifier("a")), graph("B", classifier("b"), depends_on=["A"]))
    await score(text, model=Noting(), job=key("job-1"))
    await score(text, model=Noting())
    await score(text, model=Noting())
    assert flows[:2] == ["default/job-1", "default/job-1"]
    assert len(set(flows)) == 3
    assert FLOW.get() == ""


LOGICAL = """
name: Card
scores:
- name: Q
  class: LangGraphScore
  graph:
  - name: judge
    class: LogicalClassifier
    code: {style}
      import json
      def score(parameters, input):
          {body}
"""


@pytest.mark.parametrize(
    ("style", "body", "error"),
    [
        ("|", "return 1 / 0", "card.yaml:12: score 'Q': node 'judge' code: ZeroDivisionError: "),
        (
            "|",
            "return json.loads('x')",
            "card.yaml:12: score 'Q': node 'judge' code: JSONDecodeErr",
        ),
        ("|", "return (", "card.yaml:12: score 'Q': node 'judge' code: syntax error: "),
        ("|", "return ().__class__", "card.yaml:12: score 'Q': node 'judge' code: AttributeError"),
        ("|", "yield 1", "card.yaml:12: score 'Q': node 'judge' code: a generator function "),
        (">", "return (", "card.yaml:9:5: score 'Q': node 'judge' code: syntax error: "),
        (
            '"def score(a, b): return 1/0"',
            "",
            "score 'Q': node 'judge' code: line 1 of the code: Zero",
        ),
    ],
)
async def test_an_error_in_code_names_the_line_of_the_file(style, body, error):
    text = LOGICAL.format(style=style, body=body)
    if style.startswith('"'):
        text = text[: text.index("      import json")]
    with pytest.raises((ScoreFailed, ScorecardError)) as failed:
        await score(text)
    assert failed.value.message.startswith(error)


async def test_long_texts_and_slow_patterns_leave_the_event_loop_to_others(monkeypatch):
    threads = []
    in_thread = asyncio.to_thread

    async def noting(function, *args, **kwargs):
        threads.append(function.__name__)
        return await in_thread(function, *args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", noting)
    removes = {"processors": [{"class": "RemoveSpeakerIdentifiersTranscriptFilter"}]}
    text = scorecard_of(keyword("K", item=removes))
    engine = PortableEngine(ScriptedModel())
    assert (await score(text, item="Agent: hello", engine=engine)).value == "True"
    assert threads == ["get", "_compile"]
    assert (await score(text, item="Agent: hello " * 10_000, engine=engine)).value == "True"
    assert threads == ["get", "_compile", "apply_processors"]


async def test_the_deadline_says_what_was_waited_for(monkeypatch):
    limits = ManualLimits(monkeypatch)

    class Silent(ScriptedModel):
        async def chat(self, request, *, deadline=None):
            limits.expire()
            await asyncio.Event().wait()

    text = scorecard_of(graph("Q", classifier("ask")))
    with pytest.raises(
        DeadlineExceeded, match=r"waiting for ChatOpenAI model gpt-4o-mini \(score 'Q', 'ask'\)"
    ):
        await score(text, model=Silent(), deadline=time.time() + 200)


async def test_what_ends_the_job_is_told_once(caplog):
    text = scorecard_of(graph("Q", classifier("ask", user_message="{{nothing}}")))
    with pytest.raises(
        ScoreFailed, match=r"^card.yaml:\d+:\d+: score 'Q': node 'ask' user_message is empty"
    ):
        await score(text)
    assert not caplog.records


async def test_keywords_are_found_whatever_their_case_and_the_first_decides():
    text = scorecard_of(
        {
            "name": "K",
            "class": "KeywordClassifier",
            "keywords": ["REFUND", {"regex": r"\bcancel\b"}],
            "match_value": "Asked",
            "no_match_value": "Quiet",
        }
    )
    found = await score(text, item="I want to Cancel, or a refund.")
    assert (found.value, found.explanation) == ("Asked", "The text has 'REFUND'.")
    assert (await score(text, item="I may cancel.")).explanation == r"The text has '\\bcancel\\b'."
    assert (await score(text, item="Cancelled refunding")).value == "Asked"
    assert (await score(text, item="Hello.")).value == "Quiet"


async def test_a_graph_may_have_more_steps_than_plexus_runs():
    nodes = [classifier(f"n{number}") for number in range(40)]
    outcome = await score(scorecard_of(graph("Long", *nodes)))
    assert outcome.value == "Yes"
    assert outcome.cost.llm_calls == 40


async def test_a_multi_class_classifier_repeats_an_answer_with_braces_as_it_was():
    node = classifier("m", classes=["red", "blue"], maximum_retry_count=2)
    node["class"] = "MultiClassClassifier"
    model = ScriptedModel(['{"color": "{{green}}"}', "blue"])
    outcome = await score(scorecard_of(graph("M", node)), model=model)
    assert outcome.value == "blue"
    assert '{"color": "{{green}}"}' in [message.content for message in model.requests[1].messages]


async def test_a_multi_class_classifier_asks_for_itself():
    node = classifier("m", classes=["red", "blue"], maximum_retry_count=3)
    node["class"] = "MultiClassClassifier"
    model = ScriptedModel(["Yes", "green", "dark red"])
    outcome = await score(scorecard_of(graph("M", classifier("first"), node)), model=model)
    assert (outcome.value, outcome.cost.llm_calls) == ("red", 3)


async def test_a_scorecard_is_parsed_outside_of_the_event_loop(monkeypatch):
    threads = []

    def parse(*args):
        threads.append(threading.current_thread())
        return ReadyScorecard(*args)

    monkeypatch.setattr("plexus_scoring.engines.portable.scorecard.ReadyScorecard", parse)
    card = load_scorecard(scorecard_of("{name: K, class: KeywordClassifier, keywords: [a]}"))
    engine = AutoEngine(PortableEngine(ScriptedModel()), MockEngine())
    for _ in range(2):
        context = ScoreContext(item=Item(id="i", text="a"), scorecard=card, score="K")
        assert (await engine.score(context)).value == "True"
    await engine.aclose()
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
