"""Throw-away handlers that show what the local runtime does with each ending of an invocation."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

calls = 0
print("cold start of the probe")


def describe(event, context):
    """Return what a handler sees of its surroundings."""
    global calls  # noqa: PLW0603 - shows that the process is reused
    calls += 1
    print(f"call {calls}")
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
    match event.get("do"):
        case "raise":
            raise ValueError(event["message"])
        case "exit":
            sys.stdout.write("last words\n")
            os._exit(event["code"])
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            print("about to hang")
            threading.Event().wait()
        case "wait_for":
            print("waiting")
            while not Path(event["path"]).exists():
                time.sleep(0.01)
        case "die_after_answer":
            threading.Thread(target=die_soon, args=[os.getpid()]).start()
        case "child":
            child = subprocess.Popen(["sleep", "600"])
            return {"child": child.pid}
        case "trap":
            signal.signal(signal.SIGTERM, lambda *_: print("asked to end"))
            print("trapped")
            threading.Event().wait(5)
        case "large":
            return "x" * event["bytes"]
        case "write":
            print("y" * event["bytes"])
    return {"pid": os.getpid()}


def die_soon(pid):
    """End the process at a moment when it may be idle."""
    time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


def batch(event, context):
    """Fail the SQS records that say so; raise when one asks for it."""
    failed = []
    for record in event["Records"]:
        body = json.loads(record["body"])
        count = int(record["attributes"]["ApproximateReceiveCount"])
        with Path(os.environ["JOURNAL"]).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps([body["name"], count]) + "\n")
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

