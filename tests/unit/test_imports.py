"""What a process does not need it does not import: each library below costs a cold start 50 to 1,400 ms."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {
    "openai",
    "anthropic",
    "langchain_core",
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "aio_pika",
    "plexus",
}
ENGINE = {"pydantic", "jinja2", "ruamel", "rapidfuzz", "plexus_scoring.engines.portable.engine"}
FUNCTION = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "PLEXUS_STORE": "dynamodb",
    "PLEXUS_ACCOUNT_KEY": "default",
    "PLEXUS_RESPONSE_WORKER_QUEUE_URL": "http://127.0.0.1:1/000000000000/q",
    "PLEXUS_SCORING_WORKER_REQUEST_STANDARD_QUEUE_URL": "http://127.0.0.1:1/000000000000/q",
    "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME": "attachments",
}
DETERMINISTIC = """
import asyncio
from plexus_scoring import bootstrap
from plexus_scoring.model.item import Item
from plexus_scoring.model.scorecard_yaml import load_scorecard
from plexus_scoring.ports import ScoreContext
from plexus_scoring.settings import Settings
card = load_scorecard('''
name: Card
key: card
scores:
- name: Greeting
  id: 1
  class: LangGraphScore
  graph:
  - name: rule
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          return Score.Result(parameters=parameters, value="Yes", explanation="always")
  output: {value: value, explanation: explanation}
''')
engine = bootstrap.build_engine(Settings())
outcome = asyncio.run(engine.score(ScoreContext(item=Item(id='i', text='x'), scorecard=card, score='Greeting')))
assert outcome.value == 'Yes', outcome
"""


def imported_by(code: str) -> set[str]:
    code += "\nimport sys; print('\\n'.join(sys.modules))"
    environment = {
        name: value for name, value in os.environ.items() if "AWS" not in name
    } | FUNCTION
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["score_processing", "sweeper"])
def test_importing_a_function_imports_no_engine_and_nothing_of_another_deployment(name):
    assert not imported_by(f"import lambda_functions.{name}.handler") & (HEAVY | ENGINE)


def test_a_deterministic_score_imports_no_model_client_and_no_web_framework():
    assert not imported_by(DETERMINISTIC) & (HEAVY | {"boto3", "httpx", "genai_prices"})


def test_the_core_needs_the_standard_library_and_one_validation_library():
    core = "import plexus_scoring.service, plexus_scoring.settings, plexus_scoring.telemetry.logs"
    before = imported_by("")
    foreign = {
        name.partition(".")[0]
        for name in imported_by(core) - before
        if name.partition(".")[0] not in sys.stdlib_module_names
    }
    # msgspec looks for typing_extensions, and does without.
    assert foreign <= {"plexus_scoring", "msgspec", "typing_extensions"}
