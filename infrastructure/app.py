"""The CDK app: repositories, both stages, their pipelines, and the GitHub Actions alternative.

Needs no AWS access. ``python -m infrastructure.app`` writes ``cdk.out/`` like the CDK's own command, which reads
the same ``cdk.json``. Context ``stages`` (a comma-separated list) limits it to some stages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aws_cdk import App, Environment, Validations
from aws_cdk.cx_api import CloudFormationStackArtifact
from cdk_nag import AwsSolutionsChecks

from infrastructure.config.errors import ConfigError
from infrastructure.config.functions import OTHER_FUNCTIONS
from infrastructure.config.model import DeliveryConfig, StageConfig
from infrastructure.config.stages import EXAMPLE_EMAIL, STAGES, stage
from infrastructure.functions import ROOT, SCORING, SWEEPER, discover
from infrastructure.pipelines.delivery import DeliveryPipeline
from infrastructure.stacks.github_access import GithubAccessStack
from infrastructure.stacks.repositories import RepositoriesStack
from infrastructure.stacks.stage import ApplicationStage

UNCOMMITTED = "0" * 40
EXAMPLE_ACCOUNT = ":000000000000:"


def build(
    *,
    outdir: str | None = None,
    context: Mapping[str, Any] | None = None,
    functions: tuple[str, ...] | None = None,
) -> App:
    """Return the app, not yet synthesised.

    Args:
        outdir: Where the cloud assembly goes; None lets the CDK decide.
        context: Overrides of ``cdk.json``'s context.
        functions: The functions' names; by default the folders of ``lambda_functions/``.

    Raises:
        ConfigError: the configuration cannot be deployed.
    """
    settings: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text())["context"]
    # The CDK's command hands on `-c key=value` this way; it would otherwise lose to what is given here.
    given: dict[str, Any] = json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}"))
    app = App(outdir=outdir, context={**settings, **given, **(context or {})})
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))

    stages = _stages(app)
    delivery = DeliveryConfig(
        repository=_context(app, "repository"),
        connection_arn=_context(app, "connection_arn"),
        commit=_context(app, "commit") or os.environ.get("PLEXUS_COMMIT", "") or head(),
        plexus_ref=_context(app, "plexus_ref"),
    )
    delivery.check()
    _refuse_examples(delivery, stages)
    names = discover() if functions is None else functions
    _check_sizes(names)

    RepositoriesStack(app, "plexus-scoring-repositories", functions=names)
    GithubAccessStack(
        app, "plexus-scoring-github", repository=delivery.repository, stages=stages, functions=names
    )
    for config in stages:
        ApplicationStage(app, config.name, config=config, commit=delivery.commit, functions=names)
        DeliveryPipeline(
            app,
            f"{config.prefix}-pipeline",
            config=config,
            delivery=delivery,
            functions=names,
            env=Environment(account=config.account, region=config.region),
        )
    return app


def head(folder: Path = ROOT) -> str:
    """Return the commit that is checked out; zeros outside a git checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607  git is where the developer's PATH says
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return UNCOMMITTED
    return answer.stdout.strip()


def _stages(app: App) -> list[StageConfig]:
    named = _context(app, "stages")
    return [stage(name.strip()) for name in (named.split(",") if named else sorted(STAGES))]


def _context(app: App, key: str) -> str:
    return str(app.node.try_get_context(key) or "")


def _check_sizes(names: tuple[str, ...]) -> None:
    for name, size in OTHER_FUNCTIONS.items():
        if name not in names or name in {SCORING, SWEEPER}:
            raise ConfigError(
                f"infrastructure/config/functions.py: {name!r} is no folder of lambda_functions/ of its own size: "
                "remove the line or add the folder"
            )
        size.check(f"function {name!r}")


def _refuse_examples(delivery: DeliveryConfig, stages: Iterable[StageConfig]) -> None:
    # The CDK's command sets this to the account that the credentials belong to; without AWS it is not set.
    if not os.environ.get("CDK_DEFAULT_ACCOUNT"):
        return
    for config in stages:
        if config.alarms.email == EXAMPLE_EMAIL:
            raise ConfigError(
                f"stage {config.name!r}: alarms.email is still the example: put the address of whoever is on call "
                "into infrastructure/config/stages.py"
            )
    if EXAMPLE_ACCOUNT in delivery.connection_arn:
        raise ConfigError(
            "connection ARN is still the example: create a CodeConnections connection to GitHub and set "
            "context `connection_arn` in cdk.json to its ARN"
        )


def main() -> int:
    """Synthesise; return the exit status."""
    outdir = os.environ.get("CDK_OUTDIR")
    try:
        assembly = build(outdir=outdir or "cdk.out").synth()
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if outdir is None:  # the CDK's command sets it, and reads the folder itself
        sys.stdout.write(resources(assembly.stacks_recursively) + "\n")
    return 0


def resources(stacks: Iterable[CloudFormationStackArtifact]) -> str:
    """Return each stack's resources, counted by type: what a deployment would make."""
    lines = []
    for stack in sorted(stacks, key=lambda stack: stack.display_name):
        types = Counter(
            str(resource["Type"]).removeprefix("AWS::")
            for resource in stack.template["Resources"].values()
            if resource["Type"] != "AWS::CDK::Metadata"
        )
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items()))
        lines.append(f"{stack.display_name}: {types.total()} resources: {counted}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
