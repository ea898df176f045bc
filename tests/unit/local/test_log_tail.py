import os

import pytest

from plexus_scoring.local.function import LOG_TAIL_BYTES
from plexus_scoring.local.log_tail import LogTail


@pytest.fixture
async def tail():
    sunk = []
    tail = LogTail(sunk.append)
    tail.sunk = sunk
    yield tail
    tail.close()


async def test_drain_takes_what_is_in_the_pipe_without_a_turn_of_the_loop(tail):
    os.write(tail.write_end, b"before\n")
    tail.drain()
    tail.add("END")
    assert tail.drain() == b"before\nEND\n"
    tail.close_write_end()


async def test_only_the_end_is_kept_and_everything_is_passed_on(tail):
    os.write(tail.write_end, b"a" * LOG_TAIL_BYTES + b"b")
    assert tail.drain() == b"a" * (LOG_TAIL_BYTES - 1) + b"b"
    tail.add("END")
    assert len(b"".join(tail.sunk)) == LOG_TAIL_BYTES + len("b\nEND\n")
    tail.close_write_end()


async def test_a_line_reaches_the_shared_log_whole_whatever_another_process_writes_meanwhile():
    sunk = []
    one, other = LogTail(sunk.append), LogTail(sunk.append)
    os.write(one.write_end, b"metrics")
    assert one.drain() == b"metrics"
    os.write(other.write_end, b"scored\n")
    other.drain()
    os.write(one.write_end, b"\nlast")
    one.drain()
    for tail in (one, other):
        tail.close_write_end()
        tail.close()
    assert b"".join(sunk) == b"scored\nmetrics\nlast\n"


async def test_reset_forgets(tail):
    tail.add("old")
    tail.reset()
    assert tail.drain() == b""
    tail.close_write_end()


async def test_a_closed_writer_is_no_error(tail):
    os.write(tail.write_end, b"last")
    tail.close_write_end()
    assert tail.drain() == b"last"
    assert tail.drain() == b"last"
