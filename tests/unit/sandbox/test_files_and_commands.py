"""What runs a file, what may be a file's name, which sandbox is taken."""

import pathlib

import pytest

from plexus_scoring.engines.sandbox.base import SandboxLimits
from plexus_scoring.engines.sandbox.choice import make_sandbox
from plexus_scoring.engines.sandbox.e2b import E2BSandbox, _result, _script
from plexus_scoring.engines.sandbox.local import LocalSandbox, check_path
from plexus_scoring.engines.sandbox.run import command_for
from plexus_scoring.model.errors import ConfigurationError, EngineUnavailable, InvalidRequest


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("a.py", b"", ["python3", "a.py"]),
        ("A.JS", b"", ["node", "A.JS"]),
        ("a.go", b"", ["go", "run", "a.go"]),
        ("a", b"#!/bin/sh\n", ["sh", "a"]),
        ("a.py", b"#!/usr/bin/env -S python3 -u\n", ["-S", "python3", "-u", "a.py"]),
        ("tool", b"#!/usr/bin/env python3\nprint()", ["python3", "tool"]),
    ],
)
def test_what_runs_a_file(name, content, command):
    expected = [part for part in command if part != "-S"]
    assert command_for(pathlib.Path(name), content) == expected


def test_a_file_that_nothing_runs_is_named():
    with pytest.raises(InvalidRequest, match=r"notes\.txt"):
        command_for(pathlib.Path("notes.txt"), b"hello")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_file_stays_in_its_workspace(path):
    with pytest.raises(InvalidRequest):
        check_path(path)


@pytest.mark.parametrize("path", ["a.py", "pkg/a.py", "..a", "a..b/c"])
def test_relative_paths_are_fine(path):
    check_path(path)


def test_which_sandbox_is_taken():
    assert isinstance(make_sandbox(environ={}), LocalSandbox)
    assert isinstance(make_sandbox(environ={"E2B_API_KEY": "k"}), E2BSandbox)
    assert isinstance(
        make_sandbox(environ={"E2B_API_KEY": "k", "PLEXUS_SANDBOX": "local"}), LocalSandbox
    )
    assert isinstance(make_sandbox("local", environ={"E2B_API_KEY": "k"}), LocalSandbox)


@pytest.mark.parametrize("kind", ["e2b", "docker"])
def test_a_sandbox_that_cannot_be_had_is_named(kind):
    with pytest.raises(ConfigurationError):
        make_sandbox(kind, environ={})


def test_a_command_travels_quoted():
    script = _script("/r", "/r/run-1", ["echo", "$(reboot)", "a'b; ls"], SandboxLimits())
    assert "echo '$(reboot)' 'a'\"'\"'b; ls'" in script


def test_only_the_last_line_is_ours():
    result = _result("1 2 3 4\nforged\n\n0 0.5 0.1 0.2", "", SandboxLimits())
    assert (result.exit_code, result.stdout, result.seconds) == (0, "1 2 3 4\nforged\n", 0.5)
    assert result.cpu_seconds == pytest.approx(0.3)


def test_a_lost_end_is_no_result():
    with pytest.raises(EngineUnavailable):
        _result("hello", "", SandboxLimits())
