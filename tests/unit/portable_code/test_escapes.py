"""Ways out of restricted Python that others were bitten by: RestrictedPython, simpleeval, asteval, Jinja advisories."""

import pytest

from plexus_scoring.engines.portable.code import compile_function
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed

BODIES = {
    "class of a value": "return ().__class__.__bases__[0].__subclasses__()",
    "class by getattr": "return getattr((), '__class__')",
    "class by a text that lies about itself": (
        "class Text(str):\n        def __eq__(self, other):\n            return True\n"
        "    return getattr((), Text('__class__'))"
    ),
    "globals of a function": "return f.__globals__",
    "code of a function": "return f.__code__",
    "format reads attributes (CVE-2023-41039)": "return '{0.__class__.__mro__}'.format(())",
    "format by keyword": "return '{x.__class__}'.format(x=1)",
    "format_map": "return '{x.__class__}'.format_map({'x': 1})",
    "format of the class": "return str.format('{0.__class__}', 1)",
    "format_map of the class": "return str.format_map('{x.__class__}', {'x': 1})",
    "format by map()": "return list(map(str.format, ['{0.__class__}'], [1]))",
    "format by getattr": "return getattr('{0.__class__}', 'format')(1)",
    "format with nested field": "return '{0:{1.__class__}}'.format('x', 1)",
    "string.Formatter (CVE-2023-41039)": "import string\n    return string.Formatter().format('{0.__class__}', 1)",
    "f-string": "return f'{().__class__}'",
    "f-string format spec": "return f'{1:{().__class__}}'",
    "generator frame (CVE-2023-37271)": "g = (x for x in [1])\n    return g.gi_frame.f_back.f_globals",
    "generator frame by getattr": "g = (x for x in [1])\n    return getattr(g, 'gi_frame')",
    "generator code": "g = (x for x in [1])\n    return g.gi_code",
    "generator yieldfrom": "def g():\n        yield from [1]\n    return g().gi_yieldfrom",
    "traceback frame": "try:\n        1 / 0\n    except Exception as e:\n        return e.__traceback__.tb_frame",
    "traceback by with_traceback": "try:\n        1 / 0\n    except Exception as e:\n        return e.tb_frame",
    "exception group (CVE-2025-22153)": "try:\n        f(1)\n    except* TypeError as e:\n        return e",
    "type() of three (CVE-2025-22153)": "return type('X', (), {'__len__': None})",
    "type().mro": "return type('').mro()",
    "type().mro by getattr": "return getattr(str, 'mro')()",
    "object's subclasses": "return object.__subclasses__()",
    "metaclass": "class X(metaclass=type):\n        pass\n    return X.__subclasses__()",
    "match class pattern reads attributes": "match 1:\n        case int(__class__=c):\n            return c",
    "match positional pattern": "class P:\n        pass\n    match P():\n        case P(x):\n            return x",
    "match binds a guard": "match 1:\n        case _getattr_:\n            return ().real",
    "match mapping rest binds a guard": "match {}:\n        case {**_getattr_}:\n            return 1",
    "rebinding a guard": "_getattr_ = lambda a, b: 1\n    return ().x",
    "rebinding a guard by import": "import re as _getattr_\n    return 1",
    "rebinding a guard by for": "for _getiter_ in [1]:\n        pass\n    return 1",
    "rebinding a guard by def": "def _write_(x):\n        return x\n    return 1",
    "rebinding a guard by walrus": "return (_getattr_ := 1)",
    "rebinding a guard by except": "try:\n        1 / 0\n    except Exception as _getattr_:\n        return 1",
    "rebinding a guard by global": "global _getattr_\n    return 1",
    "rebinding a guard by argument": "return (lambda _getattr_: 1)(1)",
    "reading a guard": "return _write_(f)",
    "builtins": "return __builtins__",
    "__import__": "return __import__('os')",
    "importing os": "import os\n    return os.system",
    "importing os from a module": "from json import decoder\n    return decoder.scanner",
    "module of a module (simpleeval CVE-2026-32640)": "import statistics\n    return statistics.sys",
    "module in an allowed module": "import collections\n    return collections.abc.sys",
    "module's loader": "import json\n    return json.__loader__",
    "module's dict": "import json\n    return json.__dict__",
    "module's names are writable": "import json\n    json.loads = 1\n    return 1",
    "module by setattr": "import json\n    setattr(json, 'loads', 1)\n    return 1",
    "class's names are writable": "Given.method = 1\n    return 1",
    "class by setattr": "setattr(Given, 'method', 1)\n    return 1",
    "function's names are writable": "print.x = 1\n    return 1",
    "dunder by setattr": "class X:\n        pass\n    x = X()\n    setattr(x, '__class__', int)\n    return 1",
    "dunder in a class": "class X:\n        __class__ = int\n    return X()",
    "__init_subclass__": "class X:\n        def __init_subclass__(cls):\n            pass\n    return 1",
    "async": "async def g():\n        pass\n    return g().cr_frame",
    "await": "await 1",
    "exec": "exec('1')\n    return 1",
    "eval": "return eval('1')",
    "compile": "return compile('1', '', 'eval')",
    "open": "return open('/etc/passwd')",
    "vars": "return vars()",
    "globals": "return globals()",
    "dir": "return dir(())",
    "input": "return input()",
    "breakpoint": "breakpoint()\n    return 1",
    "super": "return super",
    "memoryview": "return memoryview(b'1')",
    "operator.attrgetter": "import operator\n    return operator.attrgetter('__class__')(1)",
    "operator.methodcaller": "import operator\n    return operator.methodcaller('mro')(str)",
    "attrgetter through functools": "import functools\n    return functools.partial(print).func.__globals__",
    "wraps leaks": "import functools\n    return functools.sys",
    "exceptions' parents": "raise BaseException('x')",
    "SystemExit": "raise SystemExit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "pydantic's file reader": "return Given().parse_file('/etc/passwd')",
    "logging's modules": "import logging\n    return logging.os",
    "logger's manager": "import logging\n    return logging.getLogger('x').manager",
    "re's scanner": "import re\n    return re._compiler",
    "typing's eval": "from typing import get_type_hints\n    return get_type_hints(f)",
    "dataclass of a text": "from dataclasses import make_dataclass\n    return make_dataclass('X', 'a')",
    "decorator of a private name": "@print.__wrapped__\n    def g():\n        pass\n    return g",
    "augmented private attribute": "f.__code__ += 1\n    return 1",
    "deleted private attribute": "del f.__code__\n    return 1",
    "unpacked into an attribute": "a, f.__code__ = 1, 2\n    return 1",
    "starred into an attribute": "*f.__code__, a = [1, 2]\n    return 1",
    "with ... as an attribute": "with 1 as f.__code__:\n        return 1",
    "for into an attribute": "for f.__code__ in [1]:\n        pass\n    return 1",
    "comprehension into an attribute": "return [1 for f.__code__ in [1]]",
}  # fmt: skip


class Given:
    """An object that the engine hands in."""

    def method(self):
        return 1

    def parse_file(self, path):
        raise AssertionError(f"{path} was read")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_there_is_no_way_out(body):
    with pytest.raises((ScorecardError, ScoreFailed, BudgetExceeded)):
        await compile_function(
            f"def f():\n    {body}", "f", extra_globals={"Given": Given}, trusted=False
        )()


async def test_what_stops_a_run_cannot_be_caught(monkeypatch):
    monkeypatch.setattr("plexus_scoring.engines.portable.code.function.MAX_STEPS", 10_000)
    source = """
def f():
    try:
        g()
    except:
        return "bare"
    finally:
        return "finally"

def g():
    try:
        while True:
            pass
    except Exception:
        return "caught"
"""
    with pytest.raises(BudgetExceeded):
        await compile_function(source, "f", trusted=False)()
