"""The synthesised CDK app as plain dictionaries."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

FUNCTIONS = ("score_processing", "sweeper")
COMMIT = "a" * 40


def require_cdk():
    if importlib.util.find_spec("aws_cdk") is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("the CDK is not installed: make setup-infra")
    pytest.skip("the CDK is not installed: make setup-infra", allow_module_level=True)


class Assembly:
    """The templates of a synthesised app, by stack name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.templates = {}
        for manifest in sorted(folder.rglob("manifest.json")):
            for artifact in json.loads(manifest.read_text())["artifacts"].values():
                if artifact["type"] == "aws:cloudformation:stack":
                    properties = artifact["properties"]
                    name = properties.get("stackName") or artifact["displayName"]
                    path = manifest.parent / properties["templateFile"]
                    self.templates.setdefault(name, Template(json.loads(path.read_text()), path))

    def __getitem__(self, name):
        return self.templates[name]


class Template(dict):
    """A CloudFormation template with a few look-ups."""

    def __init__(self, content, path=None):
        super().__init__(content)
        self.path = path

    def of_type(self, kind):
        """Return id → resource of a type."""
        return {name: r for name, r in self["Resources"].items() if r["Type"] == kind}

    def one(self, kind, **wanted):
        """Return the properties of the only resource of a type whose properties match."""
        found = [
            r["Properties"]
            for r in self.of_type(kind).values()
            if all(r["Properties"].get(key) == value for key, value in wanted.items())
        ]
        assert len(found) == 1, f"{len(found)} of {kind} {wanted}"
        return found[0]

    def statements(self):
        """Yield every statement of every identity policy."""
        for kind in ("AWS::IAM::Policy", "AWS::IAM::Role"):
            for resource in self.of_type(kind).values():
                properties = resource["Properties"]
                documents = [properties.get("PolicyDocument")]
                documents += [p["PolicyDocument"] for p in properties.get("Policies", [])]
                for document in filter(None, documents):
                    yield from document["Statement"]


def synthesise(folder, **options):
    """Synthesise the app into a folder and return its templates."""
    from infrastructure.app import build  # noqa: PLC0415  the CDK may not be installed

    context = {"commit": COMMIT, **options.pop("context", {})}
    build(outdir=str(folder), context=context, functions=FUNCTIONS, **options).synth()
    return Assembly(folder)
