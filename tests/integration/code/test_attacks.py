"""Code that a stranger writes: no way out, no hang, no flood of memory, whatever it returns or prints.

A canary secret is in the environment of the service, a canary file is in a home directory, and a canary server listens
on loopback. No program below reaches one of them, and none returns anything but plain data.
"""

# ruff: noqa: E501 - a program a line

import asyncio
import contextlib
import socket
import threading
from textwrap import indent

import pytest

from plexus_scoring.engines.portable.code import CodePlace, Interpreter, function, function_of
from plexus_scoring.engines.portable.code.answer import read_answer
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed

CANARY = "canary-7c1f"
GIVEN = {"parameters": {}, "text": "item", "metadata": {}, "state": {}}

WAYS_OUT = {
    "wraps pours a module's globals": "import functools, statistics\n@functools.wraps(statistics.mean, assigned=(), updated=('__globals__',))\ndef g(): pass\nreturn g",
    "wraps changes re.Pattern": "import re, functools\nfunctools.wraps(1, assigned=('search',), updated=())(re.Pattern)",
    "a typing alias leads to its class": "import typing\ntyping.Mapping.get = lambda *a: 1",
    "total_ordering": "import functools\nfunctools.total_ordering(int)",
    "a dataclass of another's class": "import dataclasses, re\ndataclasses.dataclass(re.Pattern)",
    "os.environ": "import os\nreturn os.environ['CANARY']",
    "os.getenv": "import os\nreturn os.getenv('CANARY')",
    "os.system": "import os\nreturn os.system('id')",
    "os.listdir": "import os\nreturn os.listdir('/')",
    "open": "return open('{file}').read()",
    "open of proc": "return open('/proc/self/environ').read()",
    "pathlib": "import pathlib\nreturn pathlib.Path('{file}').read_text()",
    "pathlib writes": "import pathlib\npathlib.Path('{file}.new').write_text('x')",
    "pathlib lists": "import pathlib\nreturn list(pathlib.Path('/').iterdir())",
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "asyncio connects": "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', {port}))",
    "asyncio runs": "import asyncio\nasyncio.run(asyncio.create_subprocess_shell('id'))",
    "urllib": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}')",
    "subprocess": "import subprocess\nreturn subprocess.run('id')",
    "ctypes": "import ctypes\nreturn ctypes.CDLL(None)",
    "__import__": "return __import__('os')",
    "importlib": "import importlib\nreturn importlib.import_module('os')",
    "builtins": "return __builtins__",
    "class of a value": "return ().__class__.__bases__[0].__subclasses__()",
    "class by getattr": "return getattr((), '__cl' + 'ass__')",
    "format reads attributes": "return '{0.__class__.__mro__}'.format(())",
    "f-string": "return f'{().__class__}'",
    "globals of a function": "def g(): pass\nreturn g.__globals__",
    "code of a function": "def g(): pass\nreturn g.__code__",
    "generator frame": "g = (x for x in [1])\nreturn g.gi_frame.f_back.f_globals",
    "traceback frame": "try:\n    1 / 0\nexcept Exception as e:\n    return e.__traceback__.tb_frame",
    "globals": "return globals()",
    "vars": "return vars()",
    "sys.modules": "import sys\nreturn sys.modules",
    "sys._getframe": "import sys\nreturn sys._getframe()",
    "a module is changed": "import json\njson.dumps = lambda value: [1]\nreturn 1",
    "exec of an import": "exec('import os\\nos.system(\"id\")')\nreturn 1",
    "eval of an import": "return eval('__import__(\"os\")')",
    "input": "return input()",
    "breakpoint": "breakpoint()",
    "SystemExit": "raise SystemExit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "the pool's names": "return _plexus_json.codecs",
}  # fmt: skip

# Each ends at a limit, or with an error at once.
RUNAWAYS = {
    "loop": "while True:\n    pass",
    "caught loop": "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
    "finally loop": "try:\n    while True:\n        pass\nfinally:\n    while True:\n        pass",
    "pow with a modulus": "return pow(3, 1 << 2000000, (1 << 2000000) - 1)",
    "prod": "import math\nreturn math.prod(range(1, 4_000_000))",
    "lcm": "import math\nx = 1\nfor i in range(1, 10 ** 7):\n    x = math.lcm(x, i)\nreturn 1",
    "power": "return 10 ** 10 ** 10",
    "shift": "return 1 << 10 ** 12",
    "factorial": "import math\nreturn math.factorial(10 ** 7)",
    "squares": "x = 3\nwhile True:\n    x = x * x",
    "equal nests": "a = [1]\nb = [1]\nfor _ in range(40):\n    a = [a, a]\n    b = [b, b]\nreturn a == b",
    "repr of a nest": "a = [1]\nfor _ in range(40):\n    a = [a, a]\nreturn repr(a)",
    "f-string of a nest": "a = [1]\nfor _ in range(40):\n    a = [a, a]\nreturn f'{a}'[:9]",
    "json of a nest": "import json\na = [1]\nfor _ in range(40):\n    a = [a, a]\nreturn json.dumps(a)",
    "hash of a nest": "a = (1,)\nfor _ in range(60):\n    a = (a, a)\nreturn {a: 1}",
    "a nest is returned": "a = [1]\nfor _ in range(40):\n    a = [a, a]\nreturn a",
    "a nest of dicts is returned": "a = {1: 1}\nfor _ in range(40):\n    a = {1: a, 2: a}\nreturn a",
    "a deep list is returned": "a = []\nfor _ in range(100_000):\n    a = [a]\nreturn a",
    "itself is returned": "a = []\na.append(a)\nreturn a",
    "a large text is returned": "return 'x' * 60_000_000",
    "many parts are returned": "return list(range(1_000_000))",
    "text of twice the length": "x = 'ab'\nwhile True:\n    x += x",
    "list of twice the length": "x = [1]\nwhile True:\n    x = x + x",
    "many texts": "xs = []\ntext = 'x' * 1_000_000\nwhile True:\n    xs.append(text.upper())",
    "format": "return ('{0[0]}' * 3000).format(['x' * 1_000_000])[:3]",
    "percent format": "return ('%(a)s' * 3000 % {'a': 'x' * 1_000_000})[:3]",
    "width": "return f'{1:10000000000}'[:3]",
    "replace": "return ('a' * 10_000).replace('a', 'b' * 1_000_000)[:3]",
    "join": "return ('x' * 1_000_000).join(['y'] * 100_000)[:3]",
    "separators": "import json\nreturn json.dumps([1] * 1000, separators=('x' * 7_000_000, ':'))[:3]",
    "elements": "from collections import Counter\nreturn len(list(Counter(a=10 ** 12).elements()))",
    "combinations": "import itertools\nreturn list(itertools.combinations_with_replacement([1], 200_000_000))",
    "product": "import itertools\nreturn list(itertools.product(range(10 ** 7), range(10 ** 7)))",
    "count": "import itertools\nreturn list(itertools.count())",
    "sum": "return sum(range(10 ** 15))",
    "pattern": "import re\nreturn re.match(r'(.*)*x(\\1)', 'a' * 5000)",
    "pattern of counts": "import re\nreturn re.match(r'(?:a?){5000}a{5000}', 'a' * 5000)",
    "substitution": "import re\nreturn re.sub('', 'x' * 1_000_000, 'y' * 1_000_000)[:3]",
    "recursion in two": "h = lambda n: h(n - 1) + h(n - 1) if n else 1\nreturn h(200)",
    "decimal": "from decimal import Decimal\nreturn int(Decimal('1e1000000000')) % 7",
    "base64": "import base64\nx = b'x'\nwhile True:\n    x = base64.b64encode(x)",
    "text of a value": "class V:\n    def __str__(self):\n        while True:\n            pass\nreturn V()",
    "printing": "while True:\n    print('x' * 10_000)",
    "cache": "import functools\n@functools.lru_cache(maxsize=None)\ndef g(n):\n    return 'x' * 100_000 + str(n)\nfor i in range(10 ** 8):\n    g(i)",
    "exec": "exec('x = 1\\n' * 50_000_000)",
    "gather": "import asyncio\nasync_free = 1\nwhile True:\n    asyncio.run(asyncio.sleep(0))",
}  # fmt: skip

# Values that lie about themselves, and names of the prelude in other hands: the answer is plain data all the same.
LIARS = {
    "the answer's maker": "global _plexus_answer\n_plexus_answer = lambda value: [[[1]]]\nreturn 1",
    "the answer is a text": "global _plexus_answer\n_plexus_answer = lambda value: 'x' * 5_000_000\nreturn 1",
    "the answer is JSON": "global _plexus_answer\n_plexus_answer = lambda value: '[\"int\", {\"set\": [[]]}, null]'\nreturn 1",
    "the plain maker": "global _plexus_plain\na = [1]\nfor _ in range(40):\n    a = [a, a]\n_plexus_plain = lambda *_: a\nreturn 1",
    "json": "global _plexus_json\nclass J:\n    def dumps(self, value):\n        return [value] * 1000\n_plexus_json = J()\nreturn 1",
    "isinstance": "global isinstance\nisinstance = lambda *_: True\nreturn 1",
    "str": "global str\nstr = lambda *_: [1]\nreturn {1: 2j}",
    "a class named str": "global str\nclass str:\n    pass\nreturn 2j",
    "format": "global V\nexec('class V:\\n    def __format__(self, spec):\\n        return [1]')\nglobal _plexus_answer\n_plexus_answer = lambda value: V()\nreturn 1",
}  # fmt: skip


def program(body):
    return f"def f(context):\n{indent(body, '    ')}\n"


async def run(code, *, seconds=0.3):
    """Call the code's function twice: in a session of its own, and in one that stays open."""
    interpreter = Interpreter(seconds=seconds)
    try:
        place = CodePlace("Tone")
        called = function_of(code, "f", place=place, interpreter=interpreter, with_state=True)
        with contextlib.suppress(ScoreFailed):
            await called(GIVEN)
        while interpreter._ready._pending:
            await asyncio.sleep(0.001)
        return await called(GIVEN)
    finally:
        await interpreter.aclose()


@pytest.fixture
def canaries(monkeypatch, tmp_path):
    """A secret, a file and a server; afterwards none was reached."""
    monkeypatch.setenv("CANARY", CANARY)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "credentials"
    file.write_text(CANARY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield {"file": str(file), "port": server.getsockname()[1]}
        with pytest.raises(BlockingIOError):
            server.accept()
    assert [path.name for path in tmp_path.iterdir()] == ["credentials"]


@pytest.mark.parametrize("body", WAYS_OUT.values(), ids=WAYS_OUT.keys())
async def test_there_is_no_way_out(body, canaries):
    for name, value in canaries.items():
        body = body.replace("{" + name + "}", str(value))
    with pytest.raises((ScorecardError, ScoreFailed)) as failed:
        await run(program(body))
    assert CANARY not in failed.value.message
    # The same at the top level, which lint and loading do not run.
    with pytest.raises((ScorecardError, ScoreFailed)):
        await run(body.replace("return ", "x = ") + "\n" + program("return x"))


@pytest.mark.parametrize("body", RUNAWAYS.values(), ids=RUNAWAYS.keys())
async def test_a_runaway_ends_and_the_loop_stays_free(body):
    running = asyncio.create_task(run(program(body)))
    turns = 0
    while not running.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 1
    with pytest.raises((BudgetExceeded, ScoreFailed)) as failed:
        running.result()
    assert len(failed.value.message) < 2_200


@pytest.mark.parametrize("body", LIARS.values(), ids=LIARS.keys())
async def test_who_lies_gets_plain_data_or_an_error(body):
    try:
        answer = await run(program(body))
    except ScoreFailed:
        return
    assert type(answer.kind) is str
    assert type(answer.value) in (str, int, list, dict, tuple, set)


async def test_a_long_answer_is_read_outside_of_the_event_loop(monkeypatch):
    threads = []

    def read(text, place):
        threads.append(threading.current_thread())
        return read_answer(text, place)

    monkeypatch.setattr(function, "read_answer", read)
    assert await run(program("return 'x' * 30_000")) is not None
    assert await run(program("return 1")) is not None
    outside = [thread is not threading.main_thread() for thread in threads]
    assert outside == [True, True, False, False]


async def test_a_top_level_that_runs_on_is_an_error_of_the_scorecard():
    with pytest.raises(ScorecardError, match=r"took more than 0\.3 s: move it into the function"):
        await run("while True:\n    pass\n" + program("return 1"))
