"""A stage as a unit of deployment."""

from __future__ import annotations

from aws_cdk import Environment, Stage
from constructs import Construct

from infrastructure.config.model import StageConfig
from infrastructure.stacks.application import ApplicationStack


class ApplicationStage(Stage):
    """One stage's stack, in the stage's account and region."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: StageConfig,
        commit: str,
        functions: tuple[str, ...],
    ) -> None:
        """Create the stack ``plexus-scoring-{stage}``."""
        super().__init__(
            scope, construct_id, env=Environment(account=config.account, region=config.region)
        )
        self.application = ApplicationStack(
            self,
            "Application",
            stack_name=config.prefix,
            config=config,
            commit=commit,
            functions=functions,
        )
