"""The bucket of traces, logs and large texts."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infrastructure import nag
from infrastructure.config.model import StageConfig

# A row's time to live begins when its job ends, a body's with its writing. No job stays open for so long.
_LONGEST_OPEN_DAYS = 60


class AttachmentsBucket(Construct):
    """Versioned, encrypted, TLS-only, private; access is logged to a bucket beside it."""

    def __init__(self, scope: Construct, construct_id: str, *, config: StageConfig) -> None:
        """Create both buckets, or refer to the one that Plexus has."""
        super().__init__(scope, construct_id)
        theirs = config.plexus.attachments_bucket if config.plexus is not None else None
        self.bucket: s3.IBucket = (
            self._own(config)
            if theirs is None
            else s3.Bucket.from_bucket_name(self, "Bucket", theirs)
        )

    def _own(self, config: StageConfig) -> s3.Bucket:
        removal = RemovalPolicy.RETAIN if config.retain_data else RemovalPolicy.DESTROY
        access_log = s3.Bucket(
            self,
            "AccessLog",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            removal_policy=removal,
            lifecycle_rules=[s3.LifecycleRule(id="forget", expiration=Duration.days(90))],
        )
        nag.acknowledge(access_log, "It is the access log; a log of the log would never end.", "S1")
        return s3.Bucket(
            self,
            "Bucket",
            versioned=True,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            removal_policy=removal,
            server_access_logs_bucket=access_log,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="forget-versions",
                    noncurrent_version_expiration=Duration.days(30),
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                ),
                _rule("results", "scoreresults/", config.attachments_expire_days),
                _rule(
                    "bodies",
                    "overflow/",
                    None
                    if config.retention_days is None
                    else config.retention_days + _LONGEST_OPEN_DAYS,
                ),
            ],
        )

    def grant(self, role: iam.Role, *, also_read: tuple[str, ...] = ()) -> None:
        """Let a role read and write objects here, and read those of the buckets named `also_read`.

        Listing is allowed because S3 answers "denied" in place of "not found" to who may not list.
        """
        role.add_to_policy(
            iam.PolicyStatement(
                sid="Attachments",
                actions=["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
                resources=[self.bucket.arn_for_objects("*")],
            )
        )
        others = [f"arn:{Stack.of(self).partition}:s3:::{name}" for name in also_read]
        if others:
            role.add_to_policy(
                iam.PolicyStatement(
                    sid="Items",
                    actions=["s3:GetObject", "s3:GetObjectVersion"],
                    resources=[f"{bucket}/*" for bucket in others],
                )
            )
        role.add_to_policy(
            iam.PolicyStatement(
                sid="NotFound",
                actions=["s3:ListBucket"],
                resources=[self.bucket.bucket_arn, *others],
            )
        )
        resource = self.bucket.node.default_child
        named = list(also_read)
        findings = []
        if isinstance(resource, s3.CfnBucket):
            own = Stack.of(self).get_logical_id(resource)
            findings.append(f"IAM5[Resource::<{own}.Arn>/*]")
        else:
            named.append(self.bucket.bucket_name)
        findings += [f"IAM5[Resource::arn:<AWS::Partition>:s3:::{name}/*]" for name in named]
        nag.acknowledge(
            role,
            "Objects are named by result and item ids, which are not known at deploy time.",
            *findings,
        )


def _rule(rule_id: str, prefix: str, days: int | None) -> s3.LifecycleRule:
    """Return the rule that deletes what is under a prefix after some days, or makes it cheaper to keep."""
    if days is not None:
        return s3.LifecycleRule(id=rule_id, prefix=prefix, expiration=Duration.days(days))
    cooler = s3.Transition(
        storage_class=s3.StorageClass.INTELLIGENT_TIERING, transition_after=Duration.days(30)
    )
    return s3.LifecycleRule(id=rule_id, prefix=prefix, transitions=[cooler])
