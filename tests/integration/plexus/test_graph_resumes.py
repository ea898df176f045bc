"""A job whose worker is killed in the middle of a LangGraph graph goes on with it: nothing is paid twice."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.support.chat_server import ScriptedChatServer
from tests.support.services import postgresql

ROOT = Path(__file__).parents[3]
PYTHON = os.environ.get("PLEXUS_PYTHON")
CARD = """name: Card
key: card
scores:
- name: Call
  id: 1
  class: LangGraphScore
  model_provider: ChatOpenAI
  model_name: gpt-4o-mini-2024-07-18
  graph:
  - name: first
    class: Classifier
    valid_classes: ["Yes", "No"]
    system_message: You classify.
    user_message: "FIRST {{text}}"
  - name: second
    class: Classifier
    valid_classes: ["Yes", "No"]
    system_message: You classify.
    user_message: "SECOND {{text}}"
  output:
    value: classification
    explanation: explanation
"""

pytestmark = [
    pytest.mark.skipif(
        PYTHON is None,
        reason="NOT RUN: LangGraph's checkpoints with the real Plexus package (make test-plexus PLEXUS_SRC=checkout)",
    ),
    pytest.mark.timeout(600),
]


def attempt(server, uri):
    """Start an attempt at the job in a process of its own."""
    given = {
        "source": CARD,
        "score": "Call",
        "text": "hello",
        "job_id": "job-1",
        "checkpointer": uri,
    }
    environment = {**os.environ, **server.environment(), "OPENAI_API_BASE": server.base_url}
    environment["PYTHONPATH"] = f"{ROOT}/src:{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    return subprocess.Popen(
        [PYTHON, "-m", "tests.support.plexus_job", json.dumps(given)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked(server):
    return [request.messages[-1]["content"].split()[0] for request in server.requests]


def test_a_killed_graph_goes_on_where_it_was():
    with postgresql() as uri:
        rules = [
            {"when": "FIRST", "replies": ["Yes"]},
            {"when": "SECOND", "replies": [{"hang": True}]},
        ]
        with ScriptedChatServer(rules) as server:
            first = attempt(server, uri)
            end = time.monotonic() + 300
            while "SECOND" not in asked(server):
                assert first.poll() is None, first.communicate()
                assert time.monotonic() < end
                time.sleep(0.05)
            first.send_signal(signal.SIGKILL)
            first.communicate()
        rules = [{"when": "FIRST", "replies": ["No"]}, {"when": "SECOND", "replies": ["Yes"]}]
        with ScriptedChatServer(rules) as server:
            second = attempt(server, uri)
            output, problems = second.communicate(timeout=300)
            answer = json.loads(output.splitlines()[-1])
            assert answer.get("outcome", answer)["value"] == "Yes", (answer, problems[-2_000:])
            assert asked(server) == ["SECOND"]
        with psycopg.connect(uri) as connection:
            assert connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)
