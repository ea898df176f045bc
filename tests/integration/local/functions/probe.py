"""Throw-away handlers that show what the local runtime does with each ending of an invocation."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

say = print  # what a function prints is what these handlers are about
calls = 0
say("cold start of the probe")


def describe(event, context):
    """Return what a handler sees of its surroundings."""
    global calls  # noqa: PLW0603 - shows that the process is reused
    calls += 1
    say(f"call {calls}")
    sys.stderr.write("to stderr\n")
    return {
        "event": event,
        "calls": calls,
        "pid": os.getpid(),
        "remaining_ms": context.get_remaining_time_in_millis(),
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "function_name": context.function_name,
        "log_group": context.log_group_name,
        "client_context": context.client_context and context.client_context.custom,
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
    }


def act(event, context):
    """Do what the event asks for."""
    action = event.pop("do", None)
    answer = ACTIONS[action](**event) if action else None
    return {"pid": os.getpid()} if answer is None else answer


def fail(message):
    """End with an exception."""
    raise ValueError(message)


def end(code):
    """End the process."""
    sys.stdout.write("last words\n")
    os._exit(code)


def kill():
    """End the process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    """Never answer."""
    say("about to hang")
    threading.Event().wait()


def wait_for(path):
    """Answer once a file is there."""
    say("waiting")
    while not Path(path).exists():
        time.sleep(0.01)


def child():
    """Leave a process behind."""
    return {"child": subprocess.Popen(["sleep", "600"]).pid}


def trap():
    """Hear SIGTERM and stay."""
    signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"asked to end\n"))
    say("trapped")
    threading.Event().wait()


def large(size):
    """Return a JSON string of so many characters."""
    return "x" * size


def write(size):
    """Write so many characters."""
    say("y" * size)


ACTIONS = {
    "raise": fail,
    "exit": end,
    "kill": kill,
    "hang": hang,
    "wait_for": wait_for,
    "child": child,
    "trap": trap,
    "large": large,
    "write": write,
}


def batch(event, context):
    """Fail the SQS records that say so; raise or hang when one asks for it."""
    failed = []
    for record in event["Records"]:
        body = json.loads(record["body"])
        count = int(record["attributes"]["ApproximateReceiveCount"])
        with Path(os.environ["JOURNAL"]).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps([body["name"], count, record["receiptHandle"]]) + "\n")
        match body["do"]:
            case "fail":
                failed.append(record["messageId"])
            case "fail_once" if count == 1:
                failed.append(record["messageId"])
            case "raise_once" if count == 1:
                raise RuntimeError("the whole batch comes back")
            case "hang_once" if count == 1:
                threading.Event().wait()
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed]}
