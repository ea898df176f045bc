import sys

from plexus_scoring.engines.portable.code import function


async def test_who_waits_for_io_beside_code_gets_the_interpreter_soon():
    before = sys.getswitchinterval()
    function._threads.cache_clear()
    try:
        run = function.compile_function("def f():\n    return 1", "f", trusted=False)
        assert await run() == 1
        assert sys.getswitchinterval() <= 0.001
    finally:
        sys.setswitchinterval(before)
