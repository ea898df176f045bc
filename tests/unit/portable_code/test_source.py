"""What is told of a scorecard's Python before it runs, and how it is written for the interpreter."""

import ast

import pytest

from plexus_scoring.engines.portable.code import CodePlace, Interpreter, function_of, problems_of
from plexus_scoring.engines.portable.code.rewrite import rewritten
from plexus_scoring.model.errors import ScorecardError


def test_code_that_runs_has_no_problems():
    code = """
from __future__ import annotations
import re, json, math, string, statistics, logging
from typing import Optional
from collections import Counter, defaultdict, namedtuple
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from rapidfuzz import fuzz
try:
    import pandas
except ImportError:
    pandas = None

@dataclass
class Ticket:
    name: str

@dataclass(frozen=True)
class Number:
    value: int

    def is_integer(self):
        return True

    def __eq__(self, other):
        return self.value.is_integer()

def helper(x: Optional[int] = None, *args, **kwargs) -> int:
    del kwargs["a"]
    return x

score = lambda parameters, input: None
"""
    assert problems_of(code, "score") == []


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        ("def score(:\n    pass", 1, "syntax error"),
        ("\n\nimport os, requests\ndef score(p, i): pass", 3, "'requests' cannot be imported"),
        ("def score(p, i):\n    from urllib.parse import quote", 2, "'urllib.parse' cannot be"),
        ("from . import x\ndef score(p, i): pass", 1, "'.' cannot be imported"),
        ("from re import *\ndef score(p, i): pass", 1, "import * cannot run"),
        ("import re\ndef score(p, i):\n    return re.VERBOSE", 3, "re.VERBOSE cannot be used"),
        ("from functools import wraps\ndef score(p, i): pass", 1, "functools.wraps cannot be used"),
        ("def g():\n    yield 1\ndef score(p, i): pass", 2, "a generator function"),
        ("class A(Exception):\n    pass\ndef score(p, i): pass", 1, "which inherits"),
        ("class A:\n    class B: pass\ndef score(p, i): pass", 2, "the class 'B' in a class"),
        ("class A:\n    @property\n    def b(self): pass\ndef score(p, i): pass", 3, "method 'b'"),
        ("class A:\n    def __len__(self): return 0\ndef score(p, i): pass", 2, "'__len__' of the"),
        (
            "class A:\n    def __lt__(self, o): return 0\ndef score(p, i): pass",
            2,
            "'__lt__' of the",
        ),
        ("@dataclass(order=True)\nclass A: pass\ndef score(p, i): pass", 2, "dataclass(order=…)"),
        (
            "def score(p, i):\n    return i.day.isocalendar()",
            2,
            "the method 'isocalendar' is unknown",
        ),
        ("import json\ndef score(p, i): json.dumps(1, default=str)", 2, "json.dumps with default"),
        ("async def score(p, i): pass", 1, "an async function"),
        ("x = [1]\ndel x[0:1]\ndef score(p, i): pass", 2, "del of this"),
        ("import re\nre.sub('a', lambda m: 'b', 'a')\ndef score(p, i): pass", 2, "re.sub with a f"),
        ("def other(): pass", None, "must define a function 'score'"),
        ("score = 3", None, "must define a function 'score'"),
        ("x = '\0'", None, "null bytes"),
        ("x = " + "-" * 50_000 + "1", None, "cannot be read"),
        ("x = " + "9" * 5_000, 1, "syntax error"),
        ("x = " + "(" * 300 + ")" * 300, 1, "syntax error"),
        ("#" * 100_001, None, "longer than 100,000 characters"),
        ("try:\n    from string import *\nexcept ImportError:\n    pass", 2, "import * cannot run"),
        ("d = {}\ndel d[1], d[2]", 2, "del of this"),
    ],
)
def test_what_cannot_run_is_told_at_its_line_with_what_to_do(code, line, message):
    problem = problems_of(code, "score")[0]
    assert message in problem.message
    assert problem.line == line
    assert problem.fix
    with pytest.raises(ScorecardError, match="TRUST_CODE"):
        function_of(code, "score", place=CodePlace("Tone"), interpreter=Interpreter())


def test_reading_code_runs_nothing(tmp_path):
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').write('ran')\n@print\ndef score(p=print('ran'), i=1): pass"
    assert problems_of(code, "score") == []
    function_of(code, "score", place=CodePlace("Tone"), interpreter=Interpreter())
    assert not canary.exists()


@pytest.mark.parametrize("name", ["a b", "x;import os", "lambda", "", "f()", "'"])
def test_what_is_called_is_a_name(name):
    with pytest.raises(ScorecardError, match="is no name of a function"):
        function_of("x = 1", name, place=CodePlace("Tone"), interpreter=Interpreter())


@pytest.mark.parametrize(
    "code",
    [
        "import statistics as st, math",
        "from statistics import (\n    mean,\n    median as middle,\n)\nx = 1",
        "import rapidfuzz.fuzz",
        "from rapidfuzz import fuzz as f; y = 2",
        "if True: import string",
        "x = 'é'; del d['é'].y['b']",
        "x = (\n  a\n  .translate(str.maketrans('a', 'b'))\n)\ny = 3",
        "z = sorted(x, key=str.lower)",
        "del (\n  d[\n 1]\n)\nq = 1",
        "f = '{a}'.format_map(m).translate(n.translate(o))",
    ],
)
def test_what_is_rewritten_stays_python_on_the_same_lines(code):
    text = rewritten(code).text
    ast.parse(text)
    assert text.count("\n") == code.count("\n")
    last = code.splitlines()[-1]
    if "=" in last and "\n" in code:
        assert text.splitlines()[-1] == last


@pytest.mark.parametrize(
    "code",
    ["x = f'a {str.upper(y)= }'", "match x:\n    case str.lower:\n        y = 1"],
)
def test_what_stands_for_its_own_text_is_left_as_it_is(code):
    assert rewritten(code).text == code


def test_a_value_after_an_equals_sign_is_no_shown_expression():
    assert "_text.upper" in rewritten("x = f'name={str.upper(y)}'").text


def test_code_without_anything_to_rewrite_is_left_as_it_is():
    code = "import math\ndef score(p, i):\n    return math.floor(i.text)\n"
    assert rewritten(code).text == code
    assert rewritten(code).modules == ()
