"""Bounds, and what is made of what the probe sees inside a sandbox."""

import copy

import pytest

from plexus_scoring.engines.sandbox import root
from plexus_scoring.engines.sandbox.base import MEBIBYTE, SandboxLimits
from plexus_scoring.engines.sandbox.bounds import bounds
from plexus_scoring.engines.sandbox.confinement import (
    PROBE_LIMITS,
    REQUIRED,
    Confinement,
    _why,
    properties,
)
from plexus_scoring.engines.sandbox.local import check_files
from plexus_scoring.model.errors import ConfigurationError, InvalidRequest

OUTSIDE = {name: f"{name}:[1]" for name in ("ipc", "mnt", "net", "pid", "user", "uts")}
HELD = bounds(PROBE_LIMITS, [], grouped=True)
SEEN = {
    "namespaces": {name: f"{name}:[2]" for name in OUTSIDE},
    "status": {
        "CapEff": "0" * 16,
        "CapPrm": "0" * 16,
        "CapBnd": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    },
    "interfaces": ["lo"],
    "connection": "EAFNOSUPPORT",
    "processes": 2,
    "root": ["bin", "dev", "lib", "proc", "tmp", "usr"],
    "writable": ["/proc", "/dev/null", "/tmp"],
    "temporary_bytes": HELD.temporary_bytes,
    "environment": ["HOME", "LANG", "PATH", "TMPDIR"],
    "user_namespace": "EPERM",
    "address_space": HELD.address_space,
    "process_limit": HELD.processes,
    "in_group": True,
    "forks": HELD.processes - 2,
}


@pytest.mark.parametrize("memory", [16, 64, 300, 1024, 65_536])
@pytest.mark.parametrize("command", [["python3"], ["/usr/bin/node", "a.js"]])
def test_without_a_group_the_product_is_below_the_memory(memory, command):
    limits = SandboxLimits(memory_bytes=memory * MEBIBYTE)
    held = bounds(limits, command, grouped=False)
    processes = held.processes if held.forks else 1
    assert processes * held.address_space + held.temporary_bytes <= limits.memory_bytes
    assert held.temporary_bytes <= limits.disk_bytes
    assert 3 <= held.processes <= limits.processes + 1


def test_with_a_group_each_process_may_have_all():
    held = bounds(SandboxLimits(), ["node"], grouped=True)
    assert (held.address_space, held.processes, held.forks) == (1024 * MEBIBYTE, 65, True)


def test_everything_holds(monkeypatch):
    monkeypatch.setattr("sys.base_prefix", "/usr")
    assert properties(SEEN, OUTSIDE, grouped=True) == REQUIRED


@pytest.mark.parametrize(
    ("field", "value", "missing"),
    [
        ("interfaces", ["lo", "eth0"], {"network"}),
        ("connection", "", {"network"}),
        ("namespaces", {"net": "net:[1]"}, {"network"}),
        ("namespaces", {"ipc": "ipc:[1]"}, {"ipc"}),
        ("namespaces", {"mnt": "mnt:[1]"}, {"files"}),
        ("root", ["bin", "home"], {"files"}),
        ("writable", ["/proc", "/tmp", "/"], {"files"}),
        ("writable", ["/proc", "/tmp", "/dev/shm"], {"files"}),
        ("environment", ["HOME", "AWS_SECRET_ACCESS_KEY"], {"files"}),
        ("namespaces", {"pid": "pid:[1]"}, {"processes"}),
        ("processes", 90, {"processes"}),
        ("forks", 64, {"processes"}),
        ("process_limit", -1, {"processes", "memory"}),
        ("in_group", False, {"memory"}),
        ("address_space", -1, {"processes", "memory"}),
        ("namespaces", {"user": "user:[1]"}, {"privileges"}),
        ("status", {"CapEff": "000001ffffffffff"}, {"privileges"}),
        ("status", {"NoNewPrivs": "0"}, {"privileges"}),
        ("user_namespace", "", {"privileges"}),
        ("status", {"Seccomp": "0"}, {"syscalls"}),
        ("temporary_bytes", 2**40, {"disk"}),
    ],
)
def test_what_is_seen_otherwise_does_not_hold(monkeypatch, field, value, missing):
    monkeypatch.setattr("sys.base_prefix", "/usr")
    seen = copy.deepcopy(SEEN)
    seen[field] = {**seen[field], **value} if isinstance(value, dict) else value
    assert set(REQUIRED) - set(properties(seen, OUTSIDE, grouped=True)) == missing


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("bwrap: Unknown option --disable-userns", "too old"),
        ("bwrap: No permissions to create new namespace", "user namespaces are not allowed"),
        ("bwrap: setting up uid map: Permission denied", "user namespaces are not allowed"),
        ("unshare: unshare failed: Operation not permitted", "user namespaces are not allowed"),
        ("bwrap: Can't find source path /usr/lib", "Can't find source path /usr/lib"),
        ("", "it was killed"),
    ],
)
def test_why_it_does_not_start_is_one_line(said, told):
    refusal = Confinement(missing=_why(said), starts=False).refusal()
    assert told in refusal
    assert "PLEXUS_SANDBOX_ALLOW_WEAK=1" in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize("prefix", ["/", "/home", "/home/ann", "/home/ann/python/.."])
def test_an_interpreter_whose_prefix_holds_the_home_is_refused(monkeypatch, prefix):
    monkeypatch.setenv("HOME", "/home/ann")
    with pytest.raises(ConfigurationError, match="holds the home directory"):
        root.interpreter_directories(prefix)


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local"])
def test_the_system_s_interpreter_needs_no_bind(prefix):
    assert root.interpreter_directories(prefix) == []


def test_of_an_interpreter_elsewhere_only_its_own_is_bound(monkeypatch, tmp_path):
    for name in ("bin", "lib", "share", "envs", ".aws"):
        (tmp_path / name).mkdir()
    assert root.interpreter_directories(str(tmp_path)) == ["bin", "lib"]


@pytest.mark.parametrize(
    "files", [{"a": b"", "a/b": b""}, {"./a/b": b"", "a": b""}, dict.fromkeys(map(str, range(257)))]
)
def test_files_that_cannot_lie_together_are_refused(files):
    with pytest.raises(InvalidRequest):
        check_files(files)
