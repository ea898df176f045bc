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
- name: Before
  id: 2
  class: LangGraphScore
  model_provider: ChatOpenAI
  model_name: gpt-4o-mini-2024-07-18
  graph:
  - name: earlier
    class: Classifier
    valid_classes: ["Yes", "No"]
    system_message: You classify.
    user_message: "BEFORE {{text}}"
  output:
    value: classification
- name: Call
  id: 1
  depends_on: [Before]
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

pytestmark = pytest.mark.skipif(
    PYTHON is None,
    reason="NOT RUN: LangGraph's checkpoints with the real Plexus package (make test-plexus PLEXUS_SRC=checkout)",
)


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


def outcome_of(process):
    output, problems = process.communicate()
    answer = json.loads(output.splitlines()[-1])
    assert "outcome" in answer, (answer, problems[-2_000:])
    return answer["outcome"]


def wait_for(requests, server, process):
    while len(server.requests) < requests:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def left_over(uri):
    with psycopg.connect(uri) as connection:
        return connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0]


def test_a_killed_graph_goes_on_where_it_was_and_tells_all_it_cost():
    first_rules = [
        {"when": "BEFORE", "replies": ["Yes"]},
        {"when": "FIRST", "replies": ["Yes"]},
        {"when": "SECOND", "replies": [{"hang": True}]},
    ]
    second_rules = [{"when": word, "replies": ["Yes"]} for word in ("BEFORE", "FIRST", "SECOND")]
    with postgresql() as uri:
        with ScriptedChatServer(first_rules) as server:
            process = attempt(server, uri)
            wait_for(3, server, process)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert asked(server) == ["BEFORE", "FIRST", "SECOND"]
        with ScriptedChatServer(second_rules) as server:
            outcome = outcome_of(attempt(server, uri))
            assert asked(server) == ["SECOND"]
        assert outcome["value"] == "Yes"
        # Of the first attempt: the dependency's call and the first node's. What it died in has no tokens, if it counts.
        cost = outcome["cost"]
        answered = [part for part in cost["components"] if part["prompt_tokens"]]
        assert [part["metadata"]["node_name"] for part in answered] == ["first", "second"]
        assert cost["prompt_tokens"] == 8
        assert cost["total_cost"] == pytest.approx(2.4e-06)
        assert outcome["dependencies_cost"]["llm_calls"] == 1
        assert left_over(uri) == 0


def test_a_cancelled_attempt_passes_its_costs_on():
    # The second node's first answer is none of its classes, so it asks again.
    first_rules = [
        {"when": "BEFORE", "replies": ["Yes"]},
        {"when": "FIRST", "replies": ["Yes"]},
        {"when": "SECOND", "replies": ["Perhaps", {"hang": True}]},
    ]
    second_rules = [{"when": word, "replies": ["Yes"]} for word in ("BEFORE", "FIRST", "SECOND")]
    with postgresql() as uri:
        with ScriptedChatServer(first_rules) as server:
            process = attempt(server, uri)
            wait_for(4, server, process)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate()
            assert json.loads(output.splitlines()[-1]) == {"error": "cancelled"}
        assert left_over(uri) > 0
        with ScriptedChatServer(second_rules) as server:
            outcome = outcome_of(attempt(server, uri))
            assert len(server.requests) == 1
        # Of the first attempt: the first node's call, and the second's that was none of its classes.
        answered = [part for part in outcome["cost"]["components"] if part["prompt_tokens"]]
        names = [part["metadata"]["node_name"] for part in answered]
        assert names == ["first", "second", "second"]
        assert outcome["dependencies_cost"]["llm_calls"] == 1
        assert left_over(uri) == 0
