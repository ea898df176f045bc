"""Who may ask which models on Amazon Bedrock."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from infrastructure import nag

# What stands before a model's id in the id of an inference profile, which spreads its calls over regions.
_GEOGRAPHIES = ("us.", "us-gov.", "eu.", "apac.", "jp.", "au.", "ca.", "global.")


def grant_models(role: iam.Role, models: tuple[str, ...]) -> None:
    """Let a role ask the named models in the stage's region, and through a profile where the id is a profile's."""
    if not models:
        return
    stack = Stack.of(role)
    here = f"arn:{stack.partition}:bedrock:{stack.region}"
    anywhere = f"arn:{stack.partition}:bedrock:*"
    resources = []
    for model in models:
        geography = next((name for name in _GEOGRAPHIES if model.startswith(name)), "")
        if not geography:
            resources.append(f"{here}::foundation-model/{model}")
            continue
        base = f"foundation-model/{model.removeprefix(geography)}"
        resources += [f"{here}:{stack.account}:inference-profile/{model}", f"{anywhere}::{base}"]
        nag.acknowledge(
            role,
            "An inference profile asks this one model in each region of its geography.",
            f"IAM5[Resource::arn:<AWS::Partition>:bedrock:*::{base}]",
        )
    role.add_to_policy(
        iam.PolicyStatement(
            sid="Models",
            actions=["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"],
            resources=resources,
        )
    )
