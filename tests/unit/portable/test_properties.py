"""Properties: parsing, routing against a naive interpreter, dependencies on random graphs, and fuzzing."""

import asyncio
import string
from contextlib import suppress
from pathlib import Path

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from plexus_scoring.engines.portable.class_parser import ClassParser, normalize
from plexus_scoring.engines.portable.engine import PortableEngine
from plexus_scoring.engines.portable.ledger import Budget
from plexus_scoring.engines.portable.lint import lint
from plexus_scoring.engines.portable.nodes.yes_or_no import yes_or_no
from plexus_scoring.model.errors import DependencyUnmet, ScoringError
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.yaml_document import parse_yaml
from tests.support.portable import ScriptedModel, score, scorecard_of

CASES = Path(__file__).parents[2] / "cases"
SEEDS = [
    (path / "scorecard.yaml").read_text(encoding="utf-8")
    for path in sorted(CASES.iterdir())
    if path.is_dir()
]
QUICK = settings(max_examples=100, derandomize=True, suppress_health_check=list(HealthCheck))
FUZZ = settings(QUICK, phases=[Phase.generate])  # shrinking a whole scorecard takes minutes

words = st.text(string.ascii_letters, min_size=1, max_size=6)
classes = st.lists(
    st.lists(words, min_size=1, max_size=3).map(" ".join),
    min_size=1,
    max_size=5,
    unique_by=normalize,
)
marks = st.text("*_.,!?\"'()- ", max_size=3)


# --- parsing -------------------------------------------------------------------------------------------------


@QUICK
@given(classes, st.data())
def test_a_class_on_the_last_line_is_found_whatever_its_dress(names, data):
    wanted = data.draw(st.sampled_from(names))
    dressed = data.draw(st.sampled_from([wanted.upper(), wanted.lower(), wanted.replace(" ", "_")]))
    answer = f"{data.draw(st.text(max_size=30))}\n{data.draw(marks)}{dressed}{data.draw(marks)}"
    assert normalize(ClassParser(names).parse(answer) or "") == normalize(wanted)


@QUICK
@given(classes, st.text(max_size=200), st.booleans())
def test_an_answer_names_a_class_only_if_its_words_are_there(names, answer, from_start):
    found = ClassParser(names, from_start=from_start).parse(answer)
    present = [
        name
        for name in names
        if any(
            f" {normalize(name)} " in f" {normalize(line)} " for line in answer.strip().split("\n")
        )
    ]
    assert (found in present) if present else found is None


@QUICK
@given(classes, st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_from_the_end_the_last_of_several_lines_counts(names, order):
    lines = [names[number % len(names)] for number in order]
    assert ClassParser(names).parse("\n".join(lines)) == lines[-1]


@QUICK
@given(st.lists(st.sampled_from(["yes", "No", "maybe", "YES!", "no.", "noon"]), max_size=8))
def test_yes_and_no_by_naive_rule(said):
    plain = [word.strip("!.").lower() for word in said]
    known = [word for word in plain if word in ("yes", "no")]
    text = " ".join(said)
    assert yes_or_no(text, from_start=False) == (known[-1] if known else "unknown")
    assert yes_or_no(text, from_start=True) == (known[0] if known else "unknown")


# --- routing -------------------------------------------------------------------------------------------------

NAMES = ["n0", "n1", "n2", "n3", "n4"]
CODE = (
    "def score(p, i):\n"
    "    return Score.Result(parameters=p, value={value!r}, metadata={{'explanation': {name!r}}})\n"
)


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 5))
    names = NAMES[:count]
    outputs = st.dictionaries(
        st.sampled_from(["value", "explanation", "extra"]),
        st.sampled_from(["classification", "explanation", "extra", "a literal", "value"]),
        max_size=2,
    )
    nodes = []
    for position, name in enumerate(names):
        later = st.sampled_from([*names[position + 1 :], "END"])
        node = {"name": name, "class": "LogicalClassifier"}
        node["code"] = CODE.format(value=draw(st.sampled_from(["A", "B", "C"])), name=name)
        if draw(st.booleans()):
            node["conditions"] = draw(
                st.lists(
                    st.fixed_dictionaries(
                        {"value": st.sampled_from(["a", "B", "c"]), "node": later},
                        optional={"output": outputs},
                    ),
                    max_size=3,
                )
            )
        if draw(st.booleans()):
            node["edge"] = draw(st.fixed_dictionaries({"node": later, "output": outputs}))
        if draw(st.integers(0, 4)) == 0:
            node["output"] = draw(outputs)
        nodes.append(node)
    keys = {"output": draw(outputs)} if draw(st.booleans()) else {}
    return {"name": "G", "graph": nodes, **keys}


def said_by(node):
    return next(letter for letter in "ABC" if f"value={letter!r}" in node["code"])


def naive_state(graph):
    state = dict.fromkeys(("value", "explanation", "classification"))
    for node in graph["graph"]:
        mappings = [node.get("output"), (node.get("edge") or {}).get("output"), graph.get("output")]
        mappings += [condition.get("output") for condition in node.get("conditions", ())]
        state |= {name: None for mapping in mappings for name in mapping or () if name not in state}
    return state


def naive_way(node, following):
    """Return what is set after a node, where it goes, and the condition that fired."""
    last = following == "END"
    if "output" in node and not last:
        return node["output"], following, None
    if "conditions" in node:
        fitting = [c for c in node["conditions"] if c["value"].lower() == said_by(node).lower()]
        if fitting:
            return fitting[-1].get("output", {}), fitting[-1]["node"], fitting[-1]
    if "edge" in node:
        return node["edge"]["output"], node["edge"]["node"], None
    plain = "output" in node and "conditions" not in node
    return (node["output"] if plain else {}), following, None


def naive(graph):
    """Walk a graph by the rules as the documentation tells them. Returns visited nodes, value, explanation."""
    nodes = graph["graph"]
    names = [node["name"] for node in nodes]
    state = naive_state(graph)
    held, visited = set(), []

    def put(mapping):
        for name, original in mapping.items():
            state[name] = state.get(original, original)

    target = names[0]
    while target != "END":
        position = names.index(target)
        node = nodes[position]
        visited.append(target)
        state |= {"classification": said_by(node), "value": said_by(node), "explanation": target}
        put(node.get("output", {}))  # within the node, before its way is chosen
        done, target, fired = naive_way(node, [*names, "END"][position + 1])
        put(done)
        held |= set(done) if fired else set()
    # Upstream also takes for fired what fits a visited node's classification and leads to END.
    for node in nodes:
        for condition in node.get("conditions", ()) if node["name"] in visited else ():
            if condition["value"].lower() == said_by(node).lower() and condition["node"] == "END":
                held |= set(condition.get("output", ()))
    for name, original in graph.get("output", {}).items():
        if name not in held:
            found = state.get(original, original)
            state[name] = ("No" if name == "value" else "") if found is None else found
    return visited, "No" if state["value"] is None else state["value"], state["explanation"]


@QUICK
@given(graphs())
def test_routing_is_that_of_a_naive_interpreter(graph):
    outcome = asyncio.run(score(scorecard_of(graph)))
    visited, value, explanation = naive(graph)
    entries = [entry["node_name"] for entry in outcome.trace["node_results"]]
    assert [name for name in entries if name in NAMES] == visited
    assert (outcome.value, outcome.explanation) == (value, explanation)


# --- dependencies --------------------------------------------------------------------------------------------


@st.composite
def dags(draw):
    count = draw(st.integers(1, 7))
    scores = []
    for number in range(count):
        before = [f"S{one}" for one in range(number)]
        chosen = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        wanted = st.sampled_from(
            [
                None,
                "yes",
                {"operator": "!=", "value": "Yes"},
                {"operator": "in", "value": ["SKIPPED", "yes "]},
            ]
        )
        scores.append(
            {
                "name": f"S{number}",
                "graph": [
                    {
                        "name": "n",
                        "class": "Classifier",
                        "valid_classes": ["Yes", "No"],
                        "user_message": f"S{number}",
                    }
                ],
                "output": {"value": "classification"},
                "depends_on": {name: draw(wanted) for name in chosen},
            }
        )
    return scores, draw(st.lists(st.sampled_from(["Yes", "No"]), min_size=count, max_size=count))


@QUICK
@given(dags())
def test_each_score_runs_at_most_once_and_after_what_it_depends_on(dag):
    scores, answers = dag
    model = ScriptedModel(lambda request: answers[int(request.messages[-1].content[1:])])
    values = {}

    def holds(condition, value):
        if condition is None:
            return True
        if isinstance(condition, str):
            return value.lower() == condition
        if condition["operator"] == "!=":
            return value.lower() != "yes"
        return value.lower() in ("skipped", "yes")

    for number, entry in enumerate(scores):
        met = all(holds(wanted, values[name]) for name, wanted in entry["depends_on"].items())
        values[entry["name"]] = answers[number] if met else "SKIPPED"
    needed = [scores[-1]["name"]]
    for name in needed:
        needed += [one for one in scores[int(name[1:])]["depends_on"] if one not in needed]
    try:
        value = asyncio.run(score(scorecard_of(*scores), model=model)).value
    except DependencyUnmet:
        value = "SKIPPED"
    assert value == values[scores[-1]["name"]]
    asked = model.prompts
    assert sorted(asked) == sorted(name for name in needed if values[name] != "SKIPPED")
    for name in asked:
        for before in scores[int(name[1:])]["depends_on"]:
            assert before not in asked[asked.index(name) :]


# --- fuzzing -------------------------------------------------------------------------------------------------

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


def changed(value, path, new, *, drop):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and drop:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], new, drop=drop)
    return copy


def score_or_refuse(text, answers):
    """Score every score of a scorecard; anything but an outcome or a foreseen error is a bug."""
    engine = PortableEngine(ScriptedModel(answers), budget=Budget(seconds=20, calls=60))
    try:
        names = [entry["name"] for entry in parse_yaml(text).data["scores"]]
    except (ScoringError, KeyError, TypeError, IndexError):
        names = ["Greeting"]
    for name in names[:3]:
        with suppress(ScoringError):
            outcome = asyncio.run(score(text, str(name), engine=engine))
            assert isinstance(outcome, ScoreOutcome)
            assert isinstance(outcome.value, str)


@settings(FUZZ, max_examples=200)
@given(st.sampled_from(SEEDS), st.data())
def test_fuzzed_scorecards_end_with_a_value_or_a_clear_error(seed, data):
    value = parse_yaml(seed).data
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(value))))
        value = changed(value, path, data.draw(junk), drop=data.draw(st.booleans()))
        if not isinstance(value, dict):
            break
    text = yaml.safe_dump(value, allow_unicode=True)
    for finding in lint(text):
        assert finding.line >= 1
    score_or_refuse(text, ["Yes"])


@settings(FUZZ, max_examples=80)
@given(st.sampled_from(SEEDS), st.text(max_size=20), st.integers(0, 4000))
def test_cut_and_torn_yaml_is_refused_with_a_place(seed, noise, at):
    text = seed[:at] + noise + seed[at + len(noise) :]
    for finding in lint(text):
        assert finding.column >= 1
    score_or_refuse(text, ["No"])


@settings(FUZZ, max_examples=80)
@given(st.sampled_from(SEEDS), st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_fuzzed_replies_end_with_a_value_or_a_clear_error(seed, answers):
    score_or_refuse(seed, answers)


def test_a_huge_reply_is_no_trouble():
    for seed in SEEDS[:40]:
        score_or_refuse(seed, ["word {{ x }} {y} % 'q' \" " * 4_000])
