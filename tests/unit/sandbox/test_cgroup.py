"""Where a control group is made, on trees of both versions."""

import os

import pytest

from plexus_scoring.engines.sandbox import cgroup

LIMITS = {"memory_bytes": 64 * 1024 * 1024, "processes": 10}
MEMORY = str(LIMITS["memory_bytes"])


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that says what this process's groups and the mounts are; limits are only noted."""
    process = tmp_path / "process"
    process.mkdir()
    monkeypatch.setattr(cgroup, "PROCESS", process)

    def describe(groups, mounts):
        (process / "cgroup").write_text("\n".join(groups))
        (process / "mountinfo").write_text("\n".join(mounts))
        return tmp_path

    return describe


@pytest.fixture
def noted(monkeypatch):
    made = []
    monkeypatch.setattr(cgroup, "_limit", lambda directory, *limits: made.append(directory))
    return made


def group(place, controllers):
    place.mkdir(parents=True, exist_ok=True)
    (place / "cgroup.subtree_control").write_text(controllers)
    (place / "cgroup.procs").write_text("")


def version_2(machine, tmp_path, own, root="/"):
    return machine(
        [f"0::{own}"],
        [f"30 1 0:27 {root} {tmp_path} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"],
    )


def test_version_2_takes_the_nearest_ancestor_that_hands_out_limits(machine, noted, tmp_path):
    version_2(machine, tmp_path, "/system.slice/plexus.service")
    group(tmp_path, "cpu memory pids")
    group(tmp_path / "system.slice", "memory pids")
    group(tmp_path / "system.slice" / "plexus.service", "")
    made = cgroup.make_group(**LIMITS)
    (place,) = noted
    assert place.parent == tmp_path / "system.slice"
    assert made.process_files == [f"{place}/cgroup.procs"]
    made.remove()
    assert not place.exists()


def test_version_2_in_a_container_that_hands_out_nothing(machine, noted, tmp_path):
    version_2(machine, tmp_path, "/")
    group(tmp_path, "")
    assert cgroup.make_group(**LIMITS) is None


def test_version_2_with_only_one_of_the_controllers(machine, noted, tmp_path):
    version_2(machine, tmp_path, "/a")
    group(tmp_path, "memory")
    group(tmp_path / "a", "")
    assert cgroup.make_group(**LIMITS) is None


def test_version_2_below_a_part_that_is_mounted(machine, noted, tmp_path):
    version_2(machine, tmp_path, "/docker/1/a", root="/docker/1")
    group(tmp_path, "memory pids")
    group(tmp_path / "a", "")
    cgroup.make_group(**LIMITS).remove()
    assert noted[0].parent == tmp_path


def test_version_1_makes_one_in_each_hierarchy(machine, noted, tmp_path):
    machine(
        ["8:pids:/", "4:memory:/own", "0::/"],
        [
            f"35 31 0:32 / {tmp_path}/memory rw,relatime - cgroup cgroup rw,memory",
            f"39 31 0:36 / {tmp_path}/pids rw,relatime - cgroup cgroup rw,pids",
        ],
    )
    for name in ("pids", "memory/own"):
        (tmp_path / name).mkdir(parents=True)
    made = cgroup.make_group(**LIMITS)
    assert {place.parent for place in noted} == {tmp_path / "pids", tmp_path / "memory" / "own"}
    assert len(made.process_files) == 2
    made.remove()
    assert not any(place.exists() for place in noted)


def test_a_machine_without_control_groups(machine):
    machine([], [])
    assert cgroup.make_group(**LIMITS) is None


def test_a_group_without_limits_is_removed_and_not_used(machine, tmp_path):
    version_2(machine, tmp_path, "/")
    group(tmp_path, "memory pids")  # where no kernel makes a group's files
    assert cgroup.make_group(**LIMITS) is None
    assert not list(tmp_path.glob(f"{cgroup.PREFIX}*"))


def test_the_limits_of_version_2(tmp_path):
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (tmp_path / name).write_text("max")
    cgroup._limit(tmp_path, *LIMITS.values())
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told == {"memory.max": MEMORY, "memory.swap.max": "0", "pids.max": "10"}


def test_the_limits_of_version_1(tmp_path):
    for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        (tmp_path / name).write_text("max")
    cgroup._limit(tmp_path, *LIMITS.values())
    assert {path.read_text() for path in tmp_path.iterdir()} == {MEMORY}


def test_groups_of_killed_services_are_swept(machine, noted, tmp_path):
    version_2(machine, tmp_path, "/")
    group(tmp_path, "memory pids")
    stale, live = (tmp_path / f"{cgroup.PREFIX}{process}-1" for process in (2**30, os.getpid()))
    stale.mkdir()
    live.mkdir()
    cgroup.make_group(**LIMITS).remove()
    assert not stale.exists()
    assert live.exists()


@pytest.mark.parametrize("mine", [True, False])
def test_only_a_delegated_group_is_asked_to_hand_out_limits(machine, tmp_path, monkeypatch, mine):
    version_2(machine, tmp_path, "/plexus.service/main")
    unit = tmp_path / "plexus.service"
    for place in (tmp_path, unit, unit / "main"):
        group(place, "")
    if os.geteuid() == 0:
        os.chown(unit, 1001, 1001)
    user = unit.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: user if mine else 0)
    assert cgroup.make_group(**LIMITS) is None  # no kernel answers
    assert (unit / "cgroup.subtree_control").read_text() == ("+memory +pids" if mine else "")
