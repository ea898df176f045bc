"""The secret that the service reads at run time."""

from __future__ import annotations

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infrastructure import nag
from infrastructure.config.model import StageConfig


class ServiceSecret(Construct):
    """A JSON object of API keys. The template holds its ARN, never a value; an operator puts the values in."""

    def __init__(
        self, scope: Construct, construct_id: str, *, config: StageConfig, key: kms.IKey
    ) -> None:
        """Create ``plexus/{stage}/config``, or refer to the secret that the stage names."""
        super().__init__(scope, construct_id)
        self._their_key = config.secret_key_arn
        self.secret: secretsmanager.ISecret
        if config.secret_arn is not None:
            self.secret = secretsmanager.Secret.from_secret_complete_arn(
                self, "Secret", config.secret_arn
            )
            return
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            secret_name=f"plexus/{config.name}/config",
            description="API keys of plexus-scoring: PLEXUS_API_KEY, OPENAI_API_KEY, …",
            encryption_key=key,
            # A key that no one knows, so that the JSON is valid before an operator fills it.
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}",  # noqa: S106  a template, and empty
                generate_string_key="UNUSED",
            ),
            removal_policy=RemovalPolicy.RETAIN if config.retain_data else RemovalPolicy.DESTROY,
        )
        nag.acknowledge(
            self.secret,
            "It holds other companies' API keys, which only their own consoles can rotate.",
            "SMG4",
        )

    def grant(self, role: iam.Role) -> None:
        """Let a role read the secret."""
        self.secret.grant_read(role)
        if self._their_key is not None:
            stack = Stack.of(self)
            through = f"secretsmanager.{stack.region}.{stack.url_suffix}"
            role.add_to_policy(
                iam.PolicyStatement(
                    sid="SecretKey",
                    actions=["kms:Decrypt"],
                    resources=[self._their_key],
                    conditions={"StringEquals": {"kms:ViaService": through}},
                )
            )
