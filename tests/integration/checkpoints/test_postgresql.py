"""A job whose second node's model is away pays for its first node once, by checkpoints in PostgreSQL."""

from __future__ import annotations

import pytest

from plexus_scoring import bootstrap
from plexus_scoring.model.disposition import Ack, Retry
from plexus_scoring.model.item import Item
from plexus_scoring.model.messages import parse_request
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.settings import Settings
from plexus_scoring.stores.sql import upgrade
from tests.support.chat_server import ScriptedChatServer
from tests.support.services import postgresql

CARD = """
name: Card
key: card
scores:
- name: Two Steps
  id: 1
  class: LangGraphScore
  model_provider: ChatOpenAI
  model_name: gpt-4o-mini-2024-07-18
  graph:
  - name: first
    class: Generator
    system_message: first step
    user_message: "{{text}}"
  - name: second
    class: Classifier
    valid_classes: ['Yes', 'No']
    system_message: second step
    user_message: "{{completion}}"
  output: {value: classification}
"""
RULES = [
    {"when": "first step", "replies": ["a summary"]},
    {"when": "second step", "replies": [{"status": 503}, "Yes"]},
]


@pytest.fixture(scope="module")
def database():
    with postgresql() as url:
        upgrade(url)
        yield url


async def test_a_retried_job_does_not_pay_again(database, tmp_path):
    with ScriptedChatServer(RULES) as server:
        application = bootstrap.build(
            Settings(
                store="memory",
                attachments_dir=str(tmp_path / "attachments"),
                scorecard_cache_dir=str(tmp_path / "cache"),
                langgraph_checkpointer_postgres_uri=database,
                retry_base=0.001,
                lease_seconds=30,
            ),
            environ=server.environment() | {"PLEXUS_MODEL_ATTEMPTS": "1"},
        )
        try:
            await application.catalog.put_scorecard(load_scorecard(CARD))
            await application.catalog.put_item(Item(id="item", text="Hello"))
            request = parse_request(
                {
                    "request_id": "job",
                    "scorecard": "card",
                    "score": "Two Steps",
                    "item": {"id": "item"},
                }
            )
            first = await application.service.handle(request)
            assert isinstance(first, Retry)
            while isinstance(again := await application.service.handle(request), Retry):
                assert again.after < 1
            assert again == Ack()
        finally:
            await application.aclose()
        asked = [request["messages"][0]["content"] for request in map(_case, server.requests)]
    assert asked == ["first step", "second step", "second step"]


def _case(request):
    return request.as_case()
