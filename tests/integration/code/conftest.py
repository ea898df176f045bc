import pytest

from plexus_scoring.engines.portable.code import CodePlace, Interpreter, function_of


@pytest.fixture
async def interpreter():
    made = Interpreter()
    yield made
    await made.aclose()


@pytest.fixture
def call(interpreter):
    """Call a function of code, as a LogicalNode does: `context` is what it gets."""

    async def call(code, name="f", *, place=None, trusted=False, score=False, **given):
        function = function_of(
            code,
            name,
            place=place or CodePlace("Tone"),
            interpreter=None if trusted else interpreter,
            with_state=not score,
        )
        whole = {"parameters": {}, "text": "", "metadata": {}, "state": {}}
        return await function(whole | given)

    return call
