import json
import logging
import os

import pytest
from typer.testing import CliRunner

from plexus_scoring.cli.app import build
from plexus_scoring.cli.variables import sections

GREETING = """\
name: Calls
key: calls
scores:
- name: Greeting
  key: greeting
  class: LangGraphScore
  graph:
  - name: judge
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          said = input.text.lower()
          return Score.Result(parameters=parameters, value="Yes" if "hello" in said else "No",
                              metadata={"explanation": str(input.metadata.get("agent"))})
  output: {value: classification, explanation: explanation}
- name: Farewell
  class: KeywordClassifier
  keywords: [bye]
  depends_on: {Greeting: 'Yes'}
- name: Off
  class: KeywordClassifier
  keywords: [bye]
  disabled: true
- name: Broken
  class: LangGraphScore
  graph:
  - name: first
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          return Score.Result(value="No")
  - name: judge
    class: LogicalClassifier
    code: |
      def score(parameters, input):
          return 1 / 0
  output: {value: classification}
- name: Opinion
  class: LangGraphScore
  model_provider: ChatOpenAI
  model_name: gpt-4o-mini
  graph:
  - name: ask
    class: Classifier
    valid_classes: ['Yes', 'No']
    system_message: Judge.
    user_message: '{{text}}'
  output: {value: classification}
"""


class Outcome:
    """How a command ended, and what it said where."""

    def __init__(self, result):
        self.code = result.exit_code
        self.out = result.stdout
        self.err = result.stderr
        self.exception = result.exception

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run every command in an empty directory, without settings of whoever runs the tests."""
    for part in sections():
        for row in part.rows:
            monkeypatch.delenv(row.name, raising=False)
    for name in [name for name in os.environ if name.startswith(("PLEXUS_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def app():
    return build()


@pytest.fixture
def run(app):
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def run(*arguments, stdin=None):
        result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result)

    yield run
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def scorecard(tmp_path):
    path = tmp_path / "calls.yaml"
    path.write_text(GREETING, encoding="utf-8")
    return path


@pytest.fixture
def item(tmp_path):
    path = tmp_path / "call.txt"
    path.write_text("Agent: Hello there.\nCustomer: Hi. Bye.", encoding="utf-8")
    return path
