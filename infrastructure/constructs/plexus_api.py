"""What a role may ask of Plexus's API."""

from __future__ import annotations

from types import MappingProxyType

from aws_cdk import aws_iam as iam

# Root fields of the documents in plexus_scoring.stores.plexus_api.documents, which a test holds this to.
# AppSync decides on these; what hangs below a field comes with it.
FIELDS = MappingProxyType(
    {
        "Query": (
            "getItem",
            "getScoreResult",
            "getScoreVersion",
            "getScorecard",
            "getScoringJob",
            "listAccountByKey",
            "listScoreResultByScoringJobId",
            "listScorecardByExternalId",
            "listScorecardByKey",
            "listScorecardByName",
            "listScoringJobByAccountIdAndCreatedAt",
        ),
        "Mutation": (
            "claimScoringJob",
            "createItem",
            "createScoreResult",
            "createScoringJob",
            "updateItem",
            "updateScoringJob",
        ),
    }
)


def grant_plexus_api(role: iam.Role, api_arn: str) -> None:
    """Let a role call the operations that the store `plexus_api` uses, and no other."""
    role.add_to_policy(
        iam.PolicyStatement(
            sid="PlexusApi",
            actions=["appsync:GraphQL"],
            resources=[
                f"{api_arn}/types/{kind}/fields/{name}"
                for kind, names in FIELDS.items()
                for name in names
            ],
        )
    )
