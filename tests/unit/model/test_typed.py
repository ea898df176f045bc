"""msgspec's types read by several threads at once. What goes wrong ends the process, so it runs in another one."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
import msgspec
from plexus_scoring.model import typed

READ = {
    "decode": lambda: typed.decode(b'{"inner": {"number": 1}}', Outer),
    "convert": lambda: typed.convert({"inner": {"number": 1}}, Outer),
}[sys.argv[1]]
threads = []

def second_thread():
    "Evaluated by msgspec when it has begun with Outer and comes to Inner's fields."
    thread = threading.Thread(target=READ)
    threads.append(thread)
    thread.start()
    thread.join(0.5)
    return int

class Inner(msgspec.Struct):
    number: "second_thread()"

class Outer(msgspec.Struct):
    inner: Inner

assert READ().inner.number == 1
for thread in threads:
    thread.join()
print(len(threads))
"""


def read_while_being_read(how):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout.strip(), ended.stderr


def test_a_type_is_decoded_by_a_second_thread_while_the_first_one_learns_it():
    assert read_while_being_read("decode") == (0, "1", "")


def test_a_type_is_converted_by_a_second_thread_while_the_first_one_learns_it():
    assert read_while_being_read("convert") == (0, "1", "")
