"""The embedded AWS starts in a process of its own, answers on loopback only, and always ends."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plexus_scoring.local.embedded_aws import EmbeddedAws
from plexus_scoring.model.errors import StoreUnavailable
from tests.support.aws import require_embedded_aws, unique_name
from tests.support.clock import HANG_SECONDS


def listening_addresses(pid):
    """Return the local addresses of a process's listening TCP sockets."""
    inodes = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.append(fields[1].split(":")[0])
    return found


def test_it_listens_on_loopback_only(embedded_aws):
    assert listening_addresses(embedded_aws.pid) == ["0100007F"]


def test_any_client_with_its_environment_reaches_it(embedded_aws):
    name = unique_name("queue")
    script = f"""
import boto3
print(boto3.client("sqs").create_queue(QueueName={name!r})["QueueUrl"])
"""
    environment = {"PATH": os.environ["PATH"]} | embedded_aws.environment()
    made = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == f"{embedded_aws.endpoint_url}/000000000000/{name}"


def test_stop_ends_the_process_and_removes_what_it_wrote():
    require_embedded_aws()
    aws = EmbeddedAws()
    aws.start()
    folder, pid = Path(aws._folder.name), aws.pid
    assert (folder / "ministack.log").is_file()
    aws.stop()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    aws.stop()


async def test_it_starts_and_stops_beside_an_event_loop():
    require_embedded_aws()
    async with EmbeddedAws() as aws:
        assert aws.endpoint_url.startswith("http://127.0.0.1:")


def test_a_process_that_ends_at_once_is_reported_with_its_log(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"exit status 1.*No module named ministack"):
        EmbeddedAws(python=Path(sys.executable), log_file=tmp_path / "log").start()


def test_a_killed_parent_leaves_nothing_running(tmp_path):
    require_embedded_aws()
    script = """
import time
from plexus_scoring.local.embedded_aws import EmbeddedAws
aws = EmbeddedAws()
aws.start()
print(aws.pid, flush=True)
time.sleep(600)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # nobody is left to clear it
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment
    )
    with parent:
        ended = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    try:
        # A pidfd is readable once its process has ended.
        assert select.select([ended], [], [], HANG_SECONDS)[0]
    finally:
        os.close(ended)
