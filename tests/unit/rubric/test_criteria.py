"""Each way of judging a criterion, apart from the model's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexus_scoring.engines.portable.rubric.code import language_of
from plexus_scoring.engines.portable.rubric.metrics import measure
from plexus_scoring.engines.portable.rubric.outcome import on_scale
from plexus_scoring.engines.portable.rubric.similarity import (
    CODE_LENGTH,
    TEXT_LENGTH,
    WINDOW,
    fingerprints,
    tokens_for,
)
from plexus_scoring.engines.sandbox.base import SandboxResult
from plexus_scoring.model.errors import (
    BudgetExceeded,
    EngineUnavailable,
    InvalidRequest,
    ScoreFailed,
)

PYTHON = language_of("python", {})


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_scale_stays_in_its_bounds(value, good, bad):
    if good != bad:
        assert 0 <= on_scale(value, good, bad) <= 1


@pytest.mark.parametrize(
    ("value", "expected"), [(5, 1.0), (3, 1.0), (20, 0.0), (99, 0.0), (12.5, 0.5)]
)
def test_the_scale_is_linear_between(value, expected):
    assert on_scale(value, 5, 20) == expected


# --- metrics

SOURCES = {
    "python": "# Adds.\ndef add(a, b):\n    if a and b:\n        return a + b\n    return 0\n",
    "javascript": "// Adds.\nfunction add(a, b) {\n  if (a && b) { return a + b; }\n  return 0;\n}\n",
    "java": "class A {\n  /** Adds. */\n  int add(int a, int b) {\n    if (a > 0 && b > 0) { return a + b; }\n"
    "    return 0;\n  }\n}\n",
    "c": "/* Adds. */\nint add(int a, int b) {\n  if (a && b) { return a + b; }\n  return 0;\n}\n",
    "cpp": "// Adds.\nint add(int a, int b) {\n  if (a && b) { return a + b; }\n  return 0;\n}\n",
    "go": "package a\n// Adds.\nfunc add(a int, b int) int {\n  if a > 0 && b > 0 { return a + b }\n  return 0\n}\n",
    "rust": "/// Adds.\nfn add(a: i32, b: i32) -> i32 {\n  if a > 0 && b > 0 { return a + b; }\n  0\n}\n",
    "typescript": "// Adds.\nfunction add(a: number, b: number) {\n  if (a && b) { return a + b; }\n  return 0;\n}\n",
    "csharp": "class A {\n  // Adds.\n  int Add(int a, int b) {\n    if (a > 0 && b > 0) { return a + b; }\n"
    "    return 0;\n  }\n}\n",
    "ruby": "# Adds.\ndef add(a, b)\n  if a && b\n    return a + b\n  end\n  0\nend\n",
}


@pytest.mark.parametrize("language", SOURCES)
def test_any_common_language_is_measured(language):
    measured = measure(SOURCES[language], language_of(language, {}))
    assert measured["functions"] == 1
    assert measured["complexity"] == 3  # one path, an if, an and
    assert measured["parameters"] == 2
    assert measured["documented_functions"] == 1.0
    assert measured["comment_ratio"] > 0


def test_what_is_not_documented_is_seen():
    source = '@decorated\ndef a():\n    x = 1\n    y = 2\n    return x # late\n\n\ndef b():\n    """Says."""\n'
    assert measure(source, PYTHON)["documented_functions"] == 0.5


@pytest.mark.parametrize("source", ["", "\n\n", "def (", "x" * 5000, "\0\0", "é" * 10, "if " * 500])
def test_code_that_is_none_is_measured_all_the_same(source):
    assert measure(source, PYTHON)["complexity"] >= 1


async def test_empty_code_earns_nothing(score):
    yaml = (
        "language: python\n"
        "criteria: {q: {weight: 1, by: metrics, metrics: {complexity: {good: 4, bad: 15}}}}\n"
    )
    assert (await score(yaml, "  \n")).value == "0"


async def test_code_that_is_too_long_is_refused(score):
    yaml = (
        "language: python\n"
        "criteria: {q: {weight: 1, by: metrics, metrics: {complexity: {good: 4, bad: 15}}}}\n"
    )
    with pytest.raises(ScoreFailed, match="at most 300,000"):
        await score(yaml, "x = 1\n" * 60_000)


@pytest.mark.parametrize(
    ("configured", "metadata", "name"),
    [
        ("Python", {}, "python"),
        ("c++", {}, "cpp"),
        (None, {"language": "JS"}, "javascript"),
        (None, {"file_name": "Main.java"}, "java"),
        ("go", {"file_name": "Main.java"}, "go"),
    ],
)
def test_the_language_is_found(configured, metadata, name):
    assert language_of(configured, metadata).name == name


@pytest.mark.parametrize("metadata", [{}, {"file_name": "README"}, {"language": "klingon"}])
def test_a_language_that_is_not_known_is_named(metadata):
    with pytest.raises(ScoreFailed, match="language"):
        language_of(None, metadata)


# --- rules


def rule(text):
    return f"criteria: {{r: {{weight: 1, by: rules, rules: [{text}]}}}}\n"


@pytest.mark.parametrize(
    ("rules", "text", "value"),
    [
        ("{keywords: [cat]}", "A CAT sat", "100"),
        ("{keywords: [cat]}", "concatenate", "0"),
        ("{keywords: ['c++']}", "I like C++.", "100"),
        ("{keywords: [a, b], match: all}", "a", "0"),
        ("{keywords: [cat], must_be: absent}", "a dog", "100"),
        ("{pattern: 'colou?r'}", "Color", "100"),
        ("{fuzzy: 'this call is recorded', threshold: 80}", "so THIS cal is recordet, ok?", "100"),
        ("{fuzzy: 'this call is recorded'}", "nothing of the kind", "0"),
        ("{fuzzy: 'this call is recorded'}", "", "0"),
        ("{words: {least: 2, most: 3}}", "one two three", "100"),
        ("{words: {least: 2, most: 3}}", "one two three four", "0"),
        ("{words: {most: 3}}", "", "100"),
        ("{keywords: [a], weight: 3}, {keywords: [b]}", "a", "75"),
    ],
)
async def test_rules(score, rules, text, value):
    assert (await score(rule(rules), text)).value == value


async def test_what_does_not_hold_is_named(score):
    outcome = await score(rule("{name: greets, keywords: [hello]}, {pattern: bye}"), "bye")
    assert "1 of 2 rules hold; not: greets" in outcome.explanation


async def test_a_pattern_that_explodes_is_stopped(score, monkeypatch):
    monkeypatch.setattr("plexus_scoring.engines.portable.regexes.MAX_SECONDS", 0.05)
    with pytest.raises(BudgetExceeded, match="simplify it"):
        await score(rule(r"{pattern: '(\w+\s*)+$'}"), "a" * 5_000 + "!")


# --- tests and run time

TESTED = """
language: python
criteria:
  correctness: {by: tests}
  performance: {by: run_time, good: 0.1, bad: 0.5}
tests:
  command: [py, '{file}', -u]
  files: {data.txt: hello}
  cases:
  - {name: doubles, input: '2', expect: "4\\n"}
  - {name: greets, arguments: [--hi], expect_pattern: '^Hel+o$', weight: 3}
  - {name: fails, exit_code: 2}
  limits: {seconds: 3, memory_mb: 64, output_kb: 2}
"""


def well_behaved(stdin, *command):
    if "--hi" in command:
        return "Hello"
    if stdin == "2":
        return "4  \n\n"
    return SandboxResult(exit_code=2, stdout="", stderr="", seconds=0.2, cpu_seconds=0.3)


async def test_tests_run_as_the_rubric_says(score, programs):
    sandbox = programs(well_behaved)
    outcome = await score(TESTED, "print()", sandbox=sandbox)
    assert sandbox.files == {"submission.py": b"print()", "data.txt": b"hello"}
    assert sandbox.commands[1] == ["py", "submission.py", "-u", "--hi"]
    assert (sandbox.limits.seconds, sandbox.limits.memory_bytes) == (3, 64 * 1024 * 1024)
    assert outcome.metadata["breakdown"] == {"correctness": 1.0, "performance": 0.5}
    assert "3 of 3 tests passed" in outcome.explanation
    assert "0.30 s of processor time in the slowest test (fails)" in outcome.explanation


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        ({"exit_code": None, "timed_out": True}, "took more than 3 s"),
        ({"exit_code": None, "output_exceeded": True}, "wrote more than 2 KB"),
        ({"exit_code": 1, "stderr": "Traceback\nKeyError: 3"}, "instead of 0 (KeyError: 3)"),
        ({"exit_code": 0, "stdout": "5"}, "printed '5' instead of '4'"),
    ],
)
async def test_why_a_test_fails_is_told(score, programs, ended, told):
    result = SandboxResult(**{"stdout": "", "stderr": "", "seconds": 0.1} | ended)
    outcome = await score(TESTED, "print()", sandbox=programs(lambda *_: result))
    assert told in outcome.explanation
    assert outcome.metadata["breakdown"]["correctness"] == 0


async def test_what_passes_nothing_is_not_fast(score, programs):
    wrong = SandboxResult(exit_code=9, stdout="", stderr="", seconds=0.0, cpu_seconds=0.0)
    outcome = await score(TESTED, "print()", sandbox=programs(lambda *_: wrong))
    assert outcome.metadata["breakdown"]["performance"] == 0


async def test_repeats_take_the_fastest(score, programs):
    times = iter([0.5, 0.1, 0.4])

    def behave(*_):
        return SandboxResult(exit_code=0, stdout="", stderr="", seconds=1, cpu_seconds=next(times))

    yaml = (
        "language: python\ncriteria: {performance: {by: run_time, good: 0.1, bad: 0.5, repeats: 3}}\n"
        "tests: {cases: [{name: only}]}\n"
    )
    assert (await score(yaml, "x", sandbox=programs(behave))).value == "100"


async def test_a_sandbox_that_is_down_is_no_failed_test(score, programs):
    def down(*_):
        raise EngineUnavailable("the sandbox sleeps")

    with pytest.raises(EngineUnavailable):
        await score(TESTED, "print()", sandbox=programs(down))


async def test_a_language_that_has_no_command_asks_for_one(score, programs):
    yaml = "language: rust\ncriteria: {correctness: {by: tests}}\ntests: {cases: [{expect: x}]}\n"
    with pytest.raises(ScoreFailed, match="`command` that runs rust"):
        await score(yaml, "fn main() {}", sandbox=programs(well_behaved))


# --- similarity

words = st.lists(st.sampled_from("abcdefghij"), max_size=120)


@given(words, words, words, st.lists(st.sampled_from("klmnop"), min_size=1, max_size=30))
def test_a_shared_run_is_always_found(before, after, elsewhere, run):
    shared = (run * 30)[: WINDOW + TEXT_LENGTH - 1]
    one = fingerprints([*before, *shared, *after], TEXT_LENGTH)
    other = fingerprints([*elsewhere, *shared], TEXT_LENGTH)
    assert one & other


@given(words)
def test_fingerprints_are_few_and_the_same_for_the_same(tokens):
    found = fingerprints(tokens, TEXT_LENGTH)
    assert found == fingerprints(list(tokens), TEXT_LENGTH)
    assert len(found) <= max(1, len(tokens))
    assert bool(found) == bool(tokens)


def test_renaming_and_comments_hide_nothing():
    one = "def add(a, b):\n    total = a + b  # sum\n    return [total for _ in range(3)]\n" * 3
    other = one.replace("total", "x").replace("add", "plus").replace("# sum", "# the answer")
    assert tokens_for(one, PYTHON) == tokens_for(other, PYTHON)
    assert fingerprints(tokens_for(one, PYTHON), CODE_LENGTH) & fingerprints(
        tokens_for(other, PYTHON), CODE_LENGTH
    )


LIKE = "criteria: {originality: {weight: 1, by: similarity, good: 0.2, bad: 0.6}}\n"
TEXT = "the quick brown fox jumps over the lazy dog while nobody looks at all today"


@pytest.mark.parametrize(
    ("earlier", "value"),
    [
        (None, "100"),
        ([], "100"),
        ([TEXT], "0"),
        (["something else", {"id": "s-7", "text": f"Well, {TEXT}"}], "0"),
        (["entirely different words stand in this one so nothing is alike"], "100"),
        ([""], "100"),
    ],
)
async def test_similarity_to_earlier_submissions(score, earlier, value):
    outcome = await score(LIKE, TEXT, metadata={"earlier_submissions": earlier})
    assert outcome.value == value


async def test_the_most_similar_is_named(score):
    earlier = ["other words", {"id": "s-7", "text": TEXT}]
    outcome = await score(LIKE, TEXT, metadata={"earlier_submissions": earlier})
    assert "100% stands in the most similar of 2 earlier submissions (s-7)" in outcome.explanation


@pytest.mark.parametrize("earlier", ["text", 7, [7], [{"id": "x"}], [None]])
async def test_earlier_submissions_that_are_none_are_refused(score, earlier):
    with pytest.raises(InvalidRequest, match="earlier_submissions"):
        await score(LIKE, TEXT, metadata={"earlier_submissions": earlier})
