"""The key that encrypts logs, and log groups that use it."""

from __future__ import annotations

from aws_cdk import ArnFormat, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure.config.model import StageConfig


class EncryptedLogs(Construct):
    """One KMS key, rotated yearly, for every log group of a stack."""

    def __init__(self, scope: Construct, construct_id: str, *, config: StageConfig) -> None:
        """Create the key, usable by CloudWatch Logs for this account's log groups only."""
        super().__init__(scope, construct_id)
        self._retention_days = config.log_retention_days
        self._removal = RemovalPolicy.RETAIN if config.retain_data else RemovalPolicy.DESTROY
        self.key = kms.Key(
            self,
            "Key",
            description=f"{config.prefix}: logs, secret, build artifacts",
            enable_key_rotation=True,
            removal_policy=self._removal,
        )
        stack = Stack.of(self)
        self.key.grant_encrypt_decrypt(
            iam.ServicePrincipal(
                f"logs.{stack.region}.{stack.url_suffix}",
                conditions={
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": stack.format_arn(
                            service="logs",
                            resource="log-group",
                            resource_name="*",
                            arn_format=ArnFormat.COLON_RESOURCE_NAME,
                        )
                    }
                },
            )
        )

    def group(self, construct_id: str, name: str) -> logs.LogGroup:
        """Create an encrypted log group that forgets after the stage's retention."""
        return logs.LogGroup(
            self,
            construct_id,
            log_group_name=name,
            encryption_key=self.key,
            retention=_RETENTION[self._retention_days],
            removal_policy=self._removal,
        )


_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1096: logs.RetentionDays.THREE_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
}
