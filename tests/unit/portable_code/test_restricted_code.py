"""Restricted Python: what real scorecards use works, and errors say where."""

import asyncio
import logging
from textwrap import dedent, indent
from types import SimpleNamespace

import pytest

from plexus_scoring.engines.portable.code import CodePlace, compile_function
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed


class Score:
    """The shapes that the engine hands to code."""

    class Result(SimpleNamespace):
        pass


async def call(source, *args, name="f", **options):
    return await compile_function(source, name, trusted=False, **options)(*args)


async def test_a_logical_classifier():
    source = """
def score(parameters, input):
    n = input.metadata.get("count", 0)
    if n is None:
        return None
    return Score.Result(parameters=parameters, value="Many" if n > 2 else "Few",
                        metadata={"explanation": f"count={n}", "extra": n * 2})
"""
    given = SimpleNamespace(text="t", metadata={"count": 3})
    result = await call(source, None, given, name="score", extra_globals={"Score": Score})
    assert (result.value, result.metadata) == ("Many", {"explanation": "count=3", "extra": 6})


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
            xs += (2, 3)
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
            import urllib.parse
            return urllib.parse.quote('a b')
        """,
        "a%20b",
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
            return getattr('x', 'upper')(), hasattr('x', 'nope'), getattr('x', 'nope', 4)
        """,
        ("X", False, 4),
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
]


@pytest.mark.parametrize(("body", "expected"), EVERYDAY)
async def test_everyday_python_gives_what_python_gives(body, expected):
    source = f"""
from __future__ import annotations
from typing import Optional

LIMIT = 3

def _helper(x: Optional[int] = None) -> int:
    \"\"\"Doubles.\"\"\"
    return x * 2

class Ticket:
    def __init__(self, name):
        self.name = name
        self._count = 0

    def describe(self):
        self._count += 1
        return self.name + '!' * self._count

def f():
{indent(dedent(body), "    ")}
"""
    assert await call(source) == expected
    assert await compile_function(source, "f", trusted=True)() == expected


async def test_prints_and_logs_go_to_the_jobs_log_below_info(caplog):
    source = """
import logging
def f():
    print('a', 1, sep='-')
    logging.getLogger('x').info('%s!', 'b')
    logging.error('c')
"""
    with caplog.at_level(logging.DEBUG):
        await call(source)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.DEBUG, "a-1"),
        (logging.DEBUG, "b!"),
        (logging.DEBUG, "c"),
    ]


async def test_a_module_given_as_a_global_is_replaced_or_refused():
    source = "def f():\n    logging.info('x')\n    return hasattr(logging, 'os'), hasattr(logging, 'sys')"
    assert await call(source, extra_globals={"logging": logging}) == (False, False)
    with pytest.raises(ScorecardError, match="asyncio"):
        await call(source, extra_globals={"asyncio": asyncio})


async def test_an_error_in_the_code_names_its_line():
    source = "def f():\n    x = {}\n    return x['missing']"
    for place, message in (
        (CodePlace("Tone"), "Tone: line 3 of the code: KeyError: 'missing'"),
        (CodePlace("Tone", None, 10), "Tone: line 12 of the scorecard: KeyError: 'missing'"),
        (CodePlace("Tone", "card.yaml", 10), "card.yaml:12: Tone: KeyError: 'missing'"),
    ):
        with pytest.raises(ScoreFailed) as failed:
            await call(source, place=place)
        assert failed.value.message == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(:\n    pass", r"^card.yaml:10: syntax error"),
        ("import os\ndef f():\n    pass", r"^card.yaml:10: ImportError: 'os' cannot be imported"),
        ("\nx = 1 / 0\ndef f():\n    pass", r"^card.yaml:11: ZeroDivisionError"),
        ("def g():\n    pass", r"^card.yaml: the code must define a function 'f'"),
        ("f = 3", r"must define a function 'f'"),
        ("async def f():\n    pass", r"^card.yaml:10: "),
        (
            "def f():\n    return ().__class__",
            r"^card.yaml:11: the attribute '__class__' is not accessible .*TRUST_CODE",
        ),
        ("x = '\0'", r"^card.yaml"),
        ("x = " + "-" * 5_000 + "1", r"^card.yaml: it cannot be read"),
    ],
)
def test_code_that_cannot_stand_is_refused_with_its_place(source, message):
    with pytest.raises(ScorecardError, match=message):
        compile_function(source, "f", place=CodePlace("Tone", "card.yaml", 10), trusted=False)


async def test_trusted_code_runs_plainly(monkeypatch):
    source = "import os, sys\ndef f(x):\n    return x.__class__.__name__, os.sep"
    monkeypatch.setenv("PLEXUS_SCORING_TRUST_CODE", "1")
    assert await compile_function(source, "f")(1) == ("int", "/")
    with pytest.raises(ScoreFailed, match="line 3 of the code: TypeError"):
        await compile_function("def f(x):\n    pass\n    return x + 'a'", "f")(1)
    monkeypatch.setenv("PLEXUS_SCORING_TRUST_CODE", "0")
    with pytest.raises(ScorecardError):
        compile_function(source, "f")


RUNAWAY = [
    "while True:\n        pass",
    "while True:\n        try:\n            1 / 0\n        except Exception:\n            pass",
    "while True:\n        try:\n            continue\n        except:\n            continue",
    "try:\n        while True:\n            pass\n    finally:\n        return 1",
    "for i in range(10 ** 9):\n        pass",
    "import itertools\n    return list(itertools.count())",
    "import itertools\n    return sum(1 for _ in itertools.cycle([1]))",
    "def g(n):\n        return g(n - 1) + g(n - 1) if n else 1\n    return g(200)",
    "h = lambda n: h(n - 1) + h(n - 1) if n else 1\n    return h(200)",
    "return 'a' * 10 ** 10",
    "return [0] * 10 ** 10",
    "return 10 ** 10 ** 10",
    "return 1 << 10 ** 10",
    "x = 'ab'\n    for _ in range(60):\n        x += x\n    return x",
    "x = 'ab'\n    for _ in range(60):\n        x = f'{x}{x}'\n    return x",
    "x = 'ab'\n    for _ in range(60):\n        x = '%s%s' % (x, x)\n    return x",
    "x = 'ab'\n    for _ in range(60):\n        x = '{0}{0}'.format(x)\n    return x",
    "x = 'ab'\n    for _ in range(60):\n        x = ''.join([x, x])\n    return x",
    "x = 'ab'\n    for _ in range(60):\n        x = x.replace('a', 'aa')\n    return x",
    "x = [1]\n    for _ in range(60):\n        x = [*x, *x]\n    return x",
    "x = [1]\n    for _ in range(60):\n        x.extend(x)\n    return x",
    "x = 3\n    for _ in range(60):\n        x = x * x\n    return x",
    "x = 3\n    for _ in range(60):\n        x *= x\n    return x",
    "x = [1]\n    for _ in range(60):\n        x = [x, x]\n    return str(x)",
    "x = [1]\n    for _ in range(60):\n        x = [x, x]\n    return f'{x}'",
    "import json\n    x = [1]\n    for _ in range(60):\n        x = [x, x]\n    return json.dumps(x)",
    "x, y = [1], [1]\n    for _ in range(60):\n        x, y = [x, x], [y, y]\n    return x == y",
    "xs = []\n    text = 'x' * 1000000\n    while True:\n        xs.append(text[1:])",
    "xs = []\n    while True:\n        xs.append([0] * 1000)",
    "from collections import deque\n    d = deque([1])\n    while True:\n        d.extend(list(d))",
    "x = [1]\n    for _ in range(60):\n        x[len(x):] = x\n    return x",
    "import base64\n    x = b'x'\n    for _ in range(200):\n        x = base64.b64encode(x)\n    return x",
    "import itertools\n    return list(itertools.combinations(range(1000000), 999990))",
    "return '%1000000000d' % 1",
    "return f'{1:1000000000}'",
    "return '{:{w}}'.format(1, w=1000000000)",
    "return 'a'.ljust(10 ** 10)",
    "return (5).to_bytes(10 ** 10, 'big')",
    "import math\n    return math.factorial(10 ** 7)",
    "import re\n    return re.match(r'(a|aa)+$', 'a' * 60 + 'b')",
    "import re\n    return re.sub('', 'x' * 100000, 'y' * 100000)",
    "from collections import Counter\n    return list(Counter(a=10 ** 12).elements())",
    "from decimal import Decimal\n    return int(Decimal('1e100000000'))",
]


@pytest.mark.parametrize("body", RUNAWAY)
async def test_a_runaway_is_stopped(body, monkeypatch):
    module = "plexus_scoring.engines.portable.code.function"
    monkeypatch.setattr(f"{module}.MAX_SECONDS", 1.0)
    monkeypatch.setattr(f"{module}.MAX_STEPS", 1_000_000)
    monkeypatch.setattr(f"{module}.MAX_MEMORY", 200 * 1024 * 1024)
    with pytest.raises(BudgetExceeded):
        await call(f"def f():\n    {body}")


async def test_a_runaway_leaves_the_event_loop_free_and_ends_when_cancelled():
    function = compile_function("def f():\n    while True:\n        pass", "f", trusted=False)
    running = asyncio.create_task(function())
    ticks = 0
    while ticks < 5:
        await asyncio.sleep(0)
        ticks += 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_quick_function_that_turns_slow_leaves_the_loop_and_starts_anew():
    source = """
def f(given):
    given.append(1)
    if given[0]:
        for _ in range(1_000_000):
            pass
    return given
"""
    function = compile_function(source, "f", trusted=False)
    assert await function.call_with(lambda: ([0],)) == [0, 1]
    running = asyncio.create_task(function.call_with(lambda: ([1],)))
    ticks = 0
    while not running.done():
        await asyncio.sleep(0.001)
        ticks += 1
    assert await running == [1, 1]
    assert ticks > 1


def test_a_top_level_that_runs_on_is_an_error_of_the_scorecard(monkeypatch):
    monkeypatch.setattr("plexus_scoring.engines.portable.code.function.MAX_STEPS", 10_000)
    with pytest.raises(ScorecardError, match="move it into the function"):
        compile_function("while True:\n    pass\ndef f():\n    pass", "f", trusted=False)


async def test_a_quick_function_moves_onto_the_loop_and_gives_the_same():
    function = compile_function("def f(x):\n    return x + 1", "f", trusted=False)
    assert [await function(n) for n in range(4)] == [1, 2, 3, 4]
