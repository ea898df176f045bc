"""Python that scorecards use gives in the interpreter what it gives in Python, and errors say where."""

import asyncio
import logging
import statistics
import string
from textwrap import dedent, indent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from plexus_scoring.engines.portable.code import RESULT, CodePlace, Interpreter, function_of
from plexus_scoring.engines.portable.code.errors import is_over_time
from plexus_scoring.engines.portable.code.source import library
from plexus_scoring.model.errors import ScorecardError, ScoreFailed

EVERYDAY = [
    (
        """
            counts = {}
            for w in 'a b a'.split():
                counts[w] = counts.get(w, 0) + 1
            counts['a'] += 5
            return counts
        """,
        {"a": 7, "b": 1},
    ),
    (
        """
            x: int = 3
            x **= 2
            x <<= 1
            return x
        """,
        18,
    ),
    (
        """
            xs = [1]
            xs += [2, 3]
            xs.extend([4])
            return [*xs, 5], {**{'a': 1}}
        """,
        ([1, 2, 3, 4, 5], {"a": 1}),
    ),
    (
        """
            (a, (b, *c)), d = (1, (2, 3, 4)), 5
            return a, b, c, d
        """,
        (1, 2, [3, 4], 5),
    ),
    (
        """
            return [k + v for k, v in {'a': 'b'}.items()], {x: x for x in range(2)}, {1 for _ in 'ab'}
        """,
        (["ab"], {0: 0, 1: 1}, {1}),
    ),
    (
        """
            return ', '.join(str(i) for i in range(3)), 'a-b'.replace('-', '+'), 'x'.center(3), 'Zz'.lower()
        """,
        ("0, 1, 2", "a+b", " x ", "zz"),
    ),
    (
        """
            return '{0[k]}-{n:>3}'.format({'k': 'v'}, n=1)
        """,
        "v-  1",
    ),
    (
        """
            return '%s is %.2f' % ('pi', 3.14159), f'{3.14159:.1f}|{"a"!r}|{1:>{3}}|{{}}'
        """,
        ("pi is 3.14", "3.1|'a'|  1|{}"),
    ),
    (
        """
            import re
            return re.findall(r'\\b(\\w)(\\d+)', 'a12 b3'), re.sub(r'\\s+', ' ', 'a  b'), bool(re.search('X', 'x', 2))
        """,
        ([("a", "12"), ("b", "3")], "a b", True),
    ),
    (
        """
            import re
            return [m.group(1) for m in re.finditer(r'(\\d)', '1a2')], re.compile('b').split('abc'), re.match('a', 'b')
        """,
        (["1", "2"], ["a", "c"], None),
    ),
    (
        """
            import json
            return json.loads('{"a": [1]}'), json.dumps({'b': 1}, sort_keys=True)
        """,
        ({"a": [1]}, '{"b": 1}'),
    ),
    (
        """
            from datetime import datetime, timedelta
            return (datetime(2024, 1, 31) + timedelta(days=1)).strftime('%Y-%m-%d')
        """,
        "2024-02-01",
    ),
    (
        """
            import math, string, statistics
            return math.floor(2.5), string.digits[:3], statistics.median([1, 9, 3])
        """,
        (2, "012", 3),
    ),
    (
        """
            from collections import Counter, defaultdict, namedtuple
            P = namedtuple('P', 'x y')
            d = defaultdict(list)
            d['a'].append(1)
            return Counter('aab').most_common(1), dict(d), P(1, 2)._asdict()
        """,
        ([("a", 2)], {"a": [1]}, {"x": 1, "y": 2}),
    ),
    (
        """
            from decimal import Decimal
            return str(Decimal('1.10') + Decimal(2)), isinstance(Decimal(1) * 2, Decimal)
        """,
        ("3.10", True),
    ),
    (
        """
            import itertools, functools
            return list(itertools.islice(itertools.count(), 3)), functools.reduce(lambda a, b: a + b, [1, 2, 3])
        """,
        ([0, 1, 2], 6),
    ),
    (
        """
            from rapidfuzz import fuzz
            return round(fuzz.ratio('abc', 'abd'))
        """,
        67,
    ),
    (
        """
            try:
                import pandas
            except ImportError:
                return 'none'
        """,
        "none",
    ),
    (
        """
            try:
                return 1 / 0
            except ZeroDivisionError as e:
                return type(e).__name__ + ': ' + str(e)
            finally:
                pass
        """,
        "ZeroDivisionError: division by zero",
    ),
    (
        """
            try:
                int('x')
            except:
                return 'caught'
        """,
        "caught",
    ),
    (
        """
            return type('x') is str, type(1).__name__, type([]) == list, isinstance(True, int)
        """,
        (True, "int", True, True),
    ),
    (
        """
            n = 0
            def g():
                nonlocal n
                n += 1
                return n
            g()
            return g()
        """,
        2,
    ),
    (
        """
            match {'kind': 'a', 'n': [1, 2]}:
                case {'kind': 'b'}:
                    return 0
                case {'kind': 'a' | 'c', 'n': [first, *_]} if first:
                    return first
        """,
        1,
    ),
    (
        """
            return hasattr(Ticket('a'), 'name'), hasattr('x', 'nope'), getattr('x', 'nope', 4)
        """,
        (True, False, 4),
    ),
    (
        """
            total = sum([1, 2]), sum([[1], [2]], [])
            return sorted([1, 3], reverse=True), total, max('ab'), any(x > 1 for x in [1]), list(zip('a', [1]))
        """,
        ([3, 1], (3, [1, 2]), "b", False, [("a", 1)]),
    ),
    (
        """
            if (n := len('abc')) > 2:
                return n
        """,
        3,
    ),
    (
        """
            i = 0
            while True:
                i += 1
                if i == 5:
                    break
            return i, 7 // 2, 7 % 4, 2 ** 8, -i, 1 if not i else 2
        """,
        (5, 3, 3, 256, -5, 2),
    ),
    ("return _helper(2)", 4),
    ("return LIMIT, Ticket('x').describe()", (3, "x!")),
    (
        """
            s = ''
            for c in 'abc':
                s += c.upper()
            return s
        """,
        "ABC",
    ),
    (
        """
            gen = (x * 2 for x in range(3))
            return list(gen), list(reversed([1, 2])), dict(a=1), next(iter([9]))
        """,
        ([0, 2, 4], [2, 1], {"a": 1}, 9),
    ),
    (
        """
            d, e, x = {'a': 1, 'b': 2}, {'b': {'c': 1}}, 3
            del d['a']
            del e[str.lower('B')]['c'.translate({})]
            del x, e
            assert str.split('a,b', sep=',') == ['a', 'b'] and str.translate('a', {97: 'b'}) == 'b'
            return d, 'a,b!'.translate(str.maketrans('', '', ',!')), sorted('bA', key=str.lower)
        """,
        ({"b": 2}, "ab", ["A", "b"]),
    ),
    (
        """
            return ascii('é\u4e00'), callable(len), callable(1), '{a}'.format_map({'a': 3})
        """,
        ("'\\xe9\\u4e00'", True, False, "3"),
    ),
    (
        """
            words = (w for w in 'cancel my plan'.split() if len(w) > 2)
            pairs = zip(map(str.upper, 'ab'), enumerate(reversed('ab')))
            return next(words), list(words), list(words), next(pairs), bool(filter(None, [])), any(w for w in 'a')
        """,
        ("cancel", ["plan"], [], ("A", (0, "b")), True, True),
    ),
    (
        """
            import re
            found = re.finditer('a', 'banana')
            numbers = [1]
            numbers += map(int, '23')
            left = next(found).start(), len(list(found)), len(list(found))
            return *left, numbers, next((1 for x in 'b' if x == 'a'), 0)
        """,
        (1, 2, 0, [1, 2, 3], 0),
    ),
    (
        """
            whole = round(2.5), round(1234.5, -2), round(7)
            return round(2.675, 2), round(1.005, 2), *whole, round(number=0.285, ndigits=2)
        """,
        (2.67, 1.0, 2, 1200.0, 7, 0.28),
    ),
    (
        """
            import re
            from collections import Counter
            counts, out = Counter('aab'), []
            add, order = out.append, 'helo'.index
            add(max(counts, key=counts.get))
            ticket = Ticket('x')
            ticket.count, ticket.items = 3, {'k': 1}
            found = list(filter(re.compile('b').search, 'abc'))
            return out, sorted('hello', key=order), found, ticket.count, ticket.items.get('k')
        """,
        (["a"], list("hello"), ["b"], 3, 1),
    ),
    (
        """
            import datetime
            day = datetime.datetime(2024, 1, 2)
            assert hasattr(day, 'date') and not hasattr(day.date(), 'time')
            tried = hasattr('', 'strip'), hasattr({}, 'get'), hasattr([], 'items'), hasattr(None, 'get')
            return tried, getattr('x', 'upper')(), getattr({}, 'get', None)('k', 2), getattr([], 'nope', 5)
        """,
        ((True, True, False, False), "X", 2, 5),
    ),
    (
        r"""
            import re
            from re import search as find
            text = 'Agent: hi\nAgent: bye\n'
            ends = bool(find(r'bye$', text)), bool(re.compile(r'bye\Z').search(text)), re.findall(r'\w+$', text, re.M)
            return *ends, re.findall('[&&a]', '&a'), re.sub(r'[$a]$', '-', 'x$\n'), re.findall(r'\<a\>|[]^]', '<a> a]')
        """,
        (True, False, ["hi", "bye"], ["&", "a"], "x-\n", ["<a>", "]"]),
    ),
    (
        """
            def map(f, xs):
                return [f(x) for x in xs]
            m = map(str, [1])
            return len(m), m[0]
        """,
        (1, "1"),
    ),
    (
        """
            return {1, 2}, frozenset('a'), None, 2.5, float('inf'), [()], {(1, 2): {'a': [None]}}
        """,
        ({1, 2}, frozenset("a"), None, 2.5, float("inf"), [()], {(1, 2): {"a": [None]}}),
    ),
]


@pytest.mark.parametrize(("body", "expected"), EVERYDAY)
@pytest.mark.parametrize("trusted", [False, True])
async def test_everyday_python_gives_what_python_gives(call, body, expected, trusted):
    source = f"""
from __future__ import annotations
from typing import Optional

LIMIT = 3

def _helper(x: Optional[int] = None) -> int:
    \"\"\"Return twice the number.\"\"\"
    return x * 2

class Ticket:
    def __init__(self, name):
        self.name = name
        self._count = 0

    def describe(self):
        self._count += 1
        return self.name + '!' * self._count

def f(context):
{indent(dedent(body), "    ")}
"""
    answer = await call(source, trusted=trusted)
    assert answer.value == expected
    assert answer.kind == type(expected).__name__


SCORE = """
def score(parameters, input):
    assert isinstance(input, Score.Input) and type(input).__name__ == "ScoreInput"
    n = input.metadata.get("count", 0)
    if n is None:
        return None
    assert parameters.name == "Tone" and parameters.label_field is None
    assert parameters.model_dump()["name"] == "Tone"
    result = Score.Result(parameters=parameters, value=n, other=3, metadata={"explanation": f"count={n}"})
    assert result == "3" and result.other == 3 and not result.is_yes()
    result.metadata["extra"] = (n, Score.Result(value=1) == Score.Result(value="1"))
    return result
"""


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_logical_classifier_sees_plexus_shapes(call, trusted):
    given = {"parameters": {"name": "Tone"}, "text": "t", "metadata": {"count": 3}}
    answer = await call(SCORE, "score", score=True, trusted=trusted, **given)
    assert (answer.kind, answer.value) == (RESULT, "3")
    assert answer.metadata == {"explanation": "count=3", "extra": (3, True)}
    given["metadata"] = {"count": None}
    assert (await call(SCORE, "score", score=True, trusted=trusted, **given)).kind == "NoneType"


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_logical_node_sees_the_context(call, trusted):
    source = """
def execute(context):
    state, parameters = context["state"], context["parameters"]
    context["metadata"]["seen"] = True
    return {"a": state.value, "b": state.model_dump()["text"], "c": parameters.custom, "d": context["text"]}
"""
    metadata = {}
    given = {"text": "t", "state": {"value": None, "text": "s"}, "parameters": {"custom": [1]}}
    answer = await call(source, "execute", trusted=trusted, metadata=metadata, **given)
    assert answer.value == {"a": None, "b": "s", "c": [1], "d": "t"}
    assert metadata == {}


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_score_is_unknown_to_a_logical_node(call, trusted):
    with pytest.raises(ScoreFailed, match="NameError"):
        await call("def f(context):\n    return Score", trusted=trusted)


async def test_names_of_the_prelude_belong_to_the_code(call):
    source = """
class Result:
    value = 1

def ascii(x): return "mine"

def f(context):
    Parameters = StateView = ScoreInput = 3
    return Result().value, ascii(1), Parameters
"""
    assert (await call(source)).value == (1, "mine", 3)


async def test_what_cannot_be_sent_is_sent_as_its_text(call):
    source = "def f(context):\n    return context['text'] + context['metadata']['a'][0]"
    assert (await call(source, text="\ud800é", metadata={"a": [ValueError("x")]})).value == "?éx"


async def test_something_else_is_its_text(call):
    source = "import datetime\ndef f(context):\n    return datetime.date(2024, 1, 2), len, 2j"
    value = (await call(source)).value
    assert (value[0], value[2]) == ("2024-01-02", "2j")
    assert isinstance(value[1], str)


async def test_prints_and_logs_go_to_the_jobs_log_at_debug_level(call, caplog):
    source = """
import logging as l
def f(context):
    print('a', 1, sep='-')
    l.getLogger('x').info('%s!', 'b')
    logging.error('%(x)s', {'x': 'c'})
    log('d', 2)
    log_error('e')
"""
    with caplog.at_level(logging.DEBUG, logger="plexus_scoring"):
        await call(source)
    (record,) = [r for r in caplog.records if r.name == "plexus_scoring.scorecard"]
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == "[Tone] a-1\nb!\nc\nd 2\ne"


async def test_an_error_in_the_code_names_its_line(call):
    source = "def g():\n    x = {}\n    return x['missing']\ndef f(context): return g()"
    for place, message in (
        (CodePlace("Tone"), "Tone: line 3 of the code: KeyError: 'missing'"),
        (CodePlace("Tone", None, 10), "Tone: line 12 of the scorecard: KeyError: 'missing'"),
        (CodePlace("Tone", "card.yaml", 10), "card.yaml:12: Tone: KeyError: 'missing'"),
    ):
        with pytest.raises(ScoreFailed) as failed:
            await call(source, place=place)
        assert failed.value.message == message


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\nx = 1 / 0\ndef f(c):\n    pass", r"^card.yaml:11: ZeroDivisionError"),
        ("import math\nmath.nope\ndef f(c):\n    pass", r"^card.yaml:11: AttributeError"),
    ],
)
async def test_an_error_at_the_top_level_is_the_scorecards(call, source, message, trusted):
    with pytest.raises(ScorecardError, match=message):
        await call(source, place=CodePlace("Tone", "card.yaml", 10), trusted=trusted)


async def test_a_timeout_of_the_code_s_own_is_its_error(call):
    for _ in range(3):
        with pytest.raises(ScoreFailed, match=r"line 2 of the code: TimeoutError: late$"):
            await call("def f(context):\n    raise TimeoutError('late')")


@pytest.mark.parametrize("text", ["time limit exceeded", "feed time limit exceeded: 13ms > 12ms"])
async def test_an_exception_that_reads_like_a_limit_s_is_the_code_s_own(call, text):
    for _ in range(3):
        with pytest.raises(ScoreFailed, match=rf"line 2 of the code: TimeoutError: {text}$"):
            await call(f"def f(context):\n    raise TimeoutError('{text}')")


async def test_a_long_message_is_cut(call):
    with pytest.raises(ScoreFailed) as failed:
        await call("def f(context):\n    raise ValueError('x' * 1_000_000)")
    assert len(failed.value.message) < 2_100


class _Raised:
    """An exception of the code's own, whose message is long."""

    def traceback(self):
        return ["line 2"]

    def exception(self):
        pytest.fail("the exception was copied")


def test_a_message_of_25_mb_is_not_copied_to_tell_a_limit():
    """Each copy holds the event loop for 45 ms."""
    assert not is_over_time(_Raised())


def test_trusted_code_runs_plainly_and_says_so_once(caplog):
    source = "import os\ndef f(context):\n    return context['text'].__class__.__name__, os.sep"
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            place = CodePlace("Tone")
            function = function_of(source, "f", place=place, interpreter=None, with_state=True)
    given = {"parameters": {}, "text": "", "metadata": {}, "state": {}}
    assert asyncio.run(function(given)).value == ("str", "/")
    assert [r.getMessage()[:31] for r in caplog.records][1:] == []
    with pytest.raises(ScorecardError, match="syntax error"):
        function_of("def f(", "f", place=place, interpreter=None)
    with pytest.raises(ScorecardError, match="plain function"):
        function_of("async def f(c): pass", "f", place=place, interpreter=None)


# --- the modules that the interpreter lacks ---------------------------------------------------------------------


async def _many(expression, modules, cases):
    """Return what an expression of a module gives for each case, in one call."""
    interpreter = Interpreter()
    try:
        source = f"{modules}\ndef f(context):\n    return [{expression} for case in context['metadata']['c']]"
        place = CodePlace("Tone")
        function = function_of(source, "f", place=place, interpreter=interpreter, with_state=True)
        given = {"parameters": {}, "text": "", "metadata": {"c": cases}, "state": {}}
        return (await function(given)).value
    finally:
        await interpreter.aclose()


FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PHRASES = st.lists(
    st.tuples(st.text("ab é", max_size=12), st.text("abc é", max_size=30)), min_size=1, max_size=40
)


@pytest.mark.parametrize("name", ["ratio", "token_sort_ratio", "token_set_ratio", "partial_ratio"])
def test_similarities_are_rapidfuzz_s(name):
    @FEW
    @given(PHRASES)
    def check(cases):
        found = asyncio.run(
            _many(f"fuzz.{name}(case[0], case[1])", "from rapidfuzz import fuzz", cases)
        )
        for (one, other), score in zip(cases, found, strict=True):
            expected = getattr(fuzz, name)(one, other)
            assert score == pytest.approx(expected), (one, other)

    check()


@pytest.mark.parametrize(
    "name", ["mean", "fmean", "median", "mode", "variance", "pvariance", "stdev", "pstdev"]
)
def test_averages_are_statistics_s(name):
    numbers = st.integers(-1000, 1000) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))

    @FEW
    @given(st.lists(st.lists(numbers, min_size=2, max_size=9), min_size=1, max_size=9))
    def check(cases):
        found = asyncio.run(_many(f"statistics.{name}(case)", "import statistics", cases))
        for case, value in zip(cases, found, strict=True):
            expected = getattr(statistics, name)(case)
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-6)

    check()


async def test_constants_are_string_s():
    names = [
        name for name in dir(string) if isinstance(getattr(string, name), str) and name[0] != "_"
    ]
    expression = "[" + ", ".join(f"string.{name}" for name in names) + "]"
    (found,) = await _many(expression, "import string", [1])
    assert found == [getattr(string, name) for name in names]
    assert "capwords" in library("string")
