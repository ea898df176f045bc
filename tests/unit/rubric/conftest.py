"""A rubric from YAML text, and a model and a sandbox that answer as told."""

import contextlib

import pytest

from plexus_scoring.engines.models.base import ChatReply
from plexus_scoring.engines.portable.base import ScoreInput, ScoreSource
from plexus_scoring.engines.portable.rubric import RubricScore
from plexus_scoring.engines.sandbox.base import SandboxResult
from plexus_scoring.model.yaml_document import parse_yaml


class Model:
    """Implements `ScoreRun`: answers in order, of which the last one repeats."""

    deadline = None

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def ask(self, component, request, *, judging=True):
        self.requests.append((component, request))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, ChatReply):
            return answer
        return ChatReply(text=answer, model=request.model)


class Programs:
    """Implements `Sandbox` and its workspace: `behave` is what a program does with its input."""

    def __init__(self, behave):
        self.behave = behave
        self.files = {}
        self.commands = []
        self.limits = None

    @contextlib.asynccontextmanager
    async def open(self, files):
        self.files = files
        yield self

    async def run(self, command, *, stdin="", limits=None):
        self.commands.append(list(command))
        self.limits = limits
        answer = self.behave(stdin, *command)
        if isinstance(answer, SandboxResult):
            return answer
        return SandboxResult(exit_code=0, stdout=answer, stderr="", seconds=0.2, cpu_seconds=0.1)

    async def aclose(self):
        raise AssertionError("a sandbox that was handed in is not ours to close")


@pytest.fixture
def programs():
    return Programs


@pytest.fixture
def model():
    return Model


@pytest.fixture
def compile_rubric():
    """Return a function that compiles YAML; `name` and `class` are given."""

    def compile_it(yaml, *, sandbox=None):
        document = parse_yaml(f"name: Task\nclass: RubricScore\n{yaml}", file="card.yaml")
        source = ScoreSource(
            entry=document.data,
            name="Task",
            scorecard="Card",
            document=document,
            file="card.yaml",
        )
        return RubricScore.compile(source, sandbox=sandbox)

    return compile_it


@pytest.fixture
def score(compile_rubric):
    """Return a function that scores a text by a rubric in YAML."""

    async def score_it(yaml, text, *, metadata=None, model=None, sandbox=None):
        rubric = compile_rubric(yaml, sandbox=sandbox)
        return await rubric.score(ScoreInput(text=text, metadata=metadata or {}), model)

    return score_it
