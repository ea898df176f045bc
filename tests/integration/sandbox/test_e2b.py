"""The E2B adapter with the real SDK over HTTP, against a fake of E2B's two interfaces."""

import pytest

from plexus_scoring.engines.sandbox.base import SandboxLimits
from plexus_scoring.engines.sandbox.e2b import E2BSandbox
from plexus_scoring.engines.sandbox.run import run_file
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable


@pytest.fixture
def fake(e2b):
    e2b.created.clear()
    e2b.removed.clear()
    e2b.keys.clear()
    e2b.refuse = None
    return e2b


async def test_a_machine_is_made_used_and_removed(fake, tmp_path):
    program = tmp_path / "hello.py"
    program.write_text("import sys; print('hello', sys.stdin.read()); sys.exit(3)")
    result = await run_file(program, sandbox=E2BSandbox(fake.environment()), stdin="there")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "hello there\n", "")
    assert result.cpu_seconds > 0
    (asked,) = fake.created
    assert asked["templateID"] == "our-template"
    assert asked["allow_internet_access"] is False
    assert set(fake.keys) == {"e2b_0000"}
    assert fake.removed == ["machine1"]


async def test_a_machine_is_removed_also_after_an_error(fake):
    with pytest.raises(ZeroDivisionError):
        async with E2BSandbox(fake.environment()).open({"a": b""}):
            raise ZeroDivisionError
    assert fake.removed == ["machine1"]


async def test_commands_get_fresh_files_arguments_and_bounds(fake):
    files = {"a.sh": b'ls; echo x > made; printf "%s|" "$@"', "pkg/b.txt": b"b"}
    async with E2BSandbox(fake.environment()).open(files) as workspace:
        first = await workspace.run(["sh", "a.sh", "$HOME", "it's; a b"])
        second = await workspace.run(["sh", "a.sh"])
        endless = await workspace.run(["sleep", "60"], limits=SandboxLimits(seconds=0.5))
        wordy = await workspace.run(
            ["head", "-c", "5000", "/dev/zero"], limits=SandboxLimits(output_bytes=100)
        )
    assert first.stdout == "a.sh\npkg\n$HOME|it's; a b|"
    assert second.stdout == "a.sh\npkg\n|"
    assert endless.timed_out
    assert endless.exit_code is None
    assert wordy.output_exceeded
    assert len(wordy.stdout) == 100


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ConfigurationError),
        (404, ConfigurationError),
        (429, EngineUnavailable),
        (500, EngineUnavailable),
    ],
)
async def test_refusals_mean_what_they_mean_elsewhere(fake, status, error, monkeypatch):
    monkeypatch.setattr("e2b.connection_config.DEFAULT_RETRIES", 0)
    fake.refuse = status
    with pytest.raises(error, match="E2B"):
        async with E2BSandbox(fake.environment()).open({}):
            pass
