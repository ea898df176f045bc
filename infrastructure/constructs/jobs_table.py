"""The table of jobs, results, items and scorecards, laid out as `plexus_scoring.stores.dynamodb` says."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure.config.model import StageConfig
from plexus_scoring.stores.dynamodb.table import TTL_ATTRIBUTE, table_definition


class JobsTable(Construct):
    """On-demand, encrypted, with point-in-time recovery and a time to live."""

    def __init__(self, scope: Construct, construct_id: str, *, config: StageConfig) -> None:
        """Create the table and its indexes."""
        super().__init__(scope, construct_id)
        layout = table_definition("")
        types = {
            attribute["AttributeName"]: _TYPES[attribute["AttributeType"]]
            for attribute in layout["AttributeDefinitions"]
        }

        def keys(schema: list[dict[str, str]]) -> tuple[dynamodb.Attribute, dynamodb.Attribute]:
            partition, sort = (
                dynamodb.Attribute(name=part["AttributeName"], type=types[part["AttributeName"]])
                for part in sorted(schema, key=lambda part: part["KeyType"])  # HASH, RANGE
            )
            return partition, sort

        partition, sort = keys(layout["KeySchema"])
        self.table = dynamodb.Table(
            self,
            "Table",
            partition_key=partition,
            sort_key=sort,
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute=TTL_ATTRIBUTE,
            deletion_protection=config.retain_data,
            removal_policy=RemovalPolicy.RETAIN if config.retain_data else RemovalPolicy.DESTROY,
        )
        self._indexes: list[str] = []
        for index in layout["GlobalSecondaryIndexes"]:
            self._indexes.append(index["IndexName"])
            partition, sort = keys(index["KeySchema"])
            projection = index["Projection"]
            self.table.add_global_secondary_index(
                index_name=index["IndexName"],
                partition_key=partition,
                sort_key=sort,
                projection_type=dynamodb.ProjectionType[projection["ProjectionType"]],
                non_key_attributes=projection.get("NonKeyAttributes"),
            )

    def grant(self, role: iam.Role, *, writes: bool = True) -> None:
        """Let a role read and, if it `writes`, write rows; not delete, scan or change the table."""
        writing = ["dynamodb:PutItem", "dynamodb:UpdateItem"] if writes else []
        role.add_to_policy(
            iam.PolicyStatement(
                sid="Jobs",
                actions=[
                    "dynamodb:BatchGetItem",
                    "dynamodb:DescribeTable",
                    "dynamodb:GetItem",
                    "dynamodb:Query",
                    *writing,
                ],
                resources=[
                    self.table.table_arn,
                    *(f"{self.table.table_arn}/index/{name}" for name in self._indexes),
                ],
            )
        )


_TYPES = {"S": dynamodb.AttributeType.STRING, "N": dynamodb.AttributeType.NUMBER}
