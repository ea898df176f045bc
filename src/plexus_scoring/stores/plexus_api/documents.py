"""The GraphQL documents, and which of their fields another release of Plexus may lack.

The names are those of Plexus's schema (``dashboard/amplify/data/resource.ts``) as Amplify Gen 2 makes an API of it:
``getX``, ``listXBy…``, ``createX``, ``updateX``, with a ``condition`` on every mutation.
"""

from __future__ import annotations

import msgspec

# A field that an older or newer API lacks is left out of what we ask; what cannot be done without is REQUIRED.
REQUIRED: dict[str, tuple[str, ...]] = {
    "ScoringJob": ("id", "status", "itemId", "accountId", "scorecardId"),
    "Item": ("id", "accountId", "text"),
    "Scorecard": ("id", "name", "accountId"),
    "Score": ("id", "name", "championVersionId"),
    "ScoreVersion": ("id", "configuration"),
    "ScoreResult": ("id", "value", "accountId", "scorecardId"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "ScoringJob": ("scoreId", "startedAt", "completedAt", "createdAt", "updatedAt", "errorMessage", "metadata"),
    "Item": ("metadata", "externalId", "attachedFiles"),
    "Scorecard": ("key", "externalId"),
    "Score": ("key", "externalId", "isDisabled"),
    "ScoreVersion": (),
    "ScoreResult": (
        "itemId", "scoringJobId", "scoreId", "scoreVersionId", "explanation", "confidence", "cost", "metadata",
        "attachments", "createdAt", "status", "code",
    ),
}  # fmt: skip
# What an input may be sent without.
OPTIONAL_INPUT: dict[str, frozenset[str]] = {
    "CreateScoreResultInput": frozenset(
        {"confidence", "scoreVersionId", "cost", "trace", "attachments", "metadata", "code", "type", "status",
         "explanation", "scoringJobId", "scoreId"}
    ),
    "UpdateScoringJobInput": frozenset({"startedAt", "completedAt", "errorMessage", "metadata"}),
    "CreateScoringJobInput": frozenset({"startedAt", "metadata", "scoreId", "createdAt"}),
    "CreateItemInput": frozenset({"metadata", "externalId", "description", "createdByType", "createdAt"}),
    "UpdateItemInput": frozenset({"metadata", "externalId"}),
}  # fmt: skip

MANY = 1_000
"""Asked for in lists: Amplify's own default of 100 would cut off a large scorecard without a word."""


class Operation(msgspec.Struct, frozen=True):
    """A document; ``{Type}`` stands for the fields of a type.

    Attributes:
        name: The operation's name, as logs and benchmarks show it.
        text: The document.
        inputs: Type of each variable that is an input object.
    """

    name: str
    text: str
    inputs: dict[str, str] = msgspec.field(default_factory=dict)

    def render(self, absent: frozenset[tuple[str, str]]) -> str:
        """Return the document without the fields in `absent` (type, field)."""
        text = self.text
        for kind, required in REQUIRED.items():
            marker = "{" + kind + "}"
            if marker in text:
                wanted = [f for f in OPTIONAL[kind] if (kind, f) not in absent]
                text = text.replace(marker, " ".join((*required, *wanted)))
        return text


ACCOUNT = Operation(
    "AccountByKey",
    "query AccountByKey($key: String!) { listAccountByKey(key: $key) { items { id key } } }",
)

# All that a job needs, in one round trip: the item comes along.
JOB = Operation(
    "Job",
    "query Job($id: ID!) { getScoringJob(id: $id) { {ScoringJob} account { id key } item { {Item} } } }",
)

OPEN_JOBS = Operation(
    "OpenJobs",
    """query OpenJobs($account: String!, $since: ModelStringKeyConditionInput, $filter: ModelScoringJobFilterInput,
    $limit: Int, $next: String) { listScoringJobByAccountIdAndCreatedAt(accountId: $account, createdAt: $since,
    sortDirection: ASC, filter: $filter, limit: $limit, nextToken: $next) { items { {ScoringJob} } nextToken } }""",
)

JOB_RESULTS = Operation(
    "JobResults",
    """query JobResults($job: String!, $limit: Int) { listScoreResultByScoringJobId(scoringJobId: $job, limit: $limit)
    { items { {ScoreResult} } } }""",
)

RESULT = Operation(
    "Result",
    "query Result($id: ID!) { getScoreResult(id: $id) { {ScoreResult} account { id key } } }",
)

ITEM = Operation("Item", "query Item($id: ID!) { getItem(id: $id) { {Item} account { id key } } }")

# A reference may be any of four names; all four are looked up in one round trip.
SCORECARD = Operation(
    "Scorecard",
    """query Scorecard($reference: String!, $id: ID!, $many: Int) {
    byId: getScorecard(id: $id) { ...Structure }
    byKey: listScorecardByKey(key: $reference) { items { ...Structure } }
    byExternalId: listScorecardByExternalId(externalId: $reference) { items { ...Structure } }
    byName: listScorecardByName(name: $reference) { items { ...Structure } } }
    fragment Structure on Scorecard { {Scorecard} account { id key } sections(limit: $many) { nextToken items {
    scores(limit: $many) { nextToken items { {Score} } } } } }""",
)

# Plexus 1.63 has it in the local mode of its GraphQL proxy; AppSync may lack it.
CLAIM = Operation(
    "ClaimScoringJob",
    """mutation ClaimScoringJob($claim: ClaimScoringJobInput!)
    { claimScoringJob(input: $claim) { state scoreResultId } }""",
)

UPDATE_JOB = Operation(
    "UpdateJob",
    """mutation UpdateJob($job: UpdateScoringJobInput!, $condition: ModelScoringJobConditionInput)
    { job: updateScoringJob(input: $job, condition: $condition) { id } }""",
    {"job": "UpdateScoringJobInput"},
)

CREATE_JOB = Operation(
    "CreateJob",
    """mutation CreateJob($job: CreateScoringJobInput!) { job: createScoringJob(input: $job) { id } }""",
    {"job": "CreateScoringJobInput"},
)

CREATE_JOB_WITH_ITEM = Operation(
    "CreateJobWithItem",
    """mutation CreateJobWithItem($item: CreateItemInput!, $job: CreateScoringJobInput!)
    { item: createItem(input: $item) { id } job: createScoringJob(input: $job) { id } }""",
    {"item": "CreateItemInput", "job": "CreateScoringJobInput"},
)

# Mutations run in the order in which they stand: whoever sees COMPLETED finds the result.
PUBLISH = Operation(
    "Publish",
    """mutation Publish($result: CreateScoreResultInput!, $job: UpdateScoringJobInput!,
    $condition: ModelScoringJobConditionInput) { result: createScoreResult(input: $result) { id }
    job: updateScoringJob(input: $job, condition: $condition) { id } }""",
    {"result": "CreateScoreResultInput", "job": "UpdateScoringJobInput"},
)

CREATE_ITEM = Operation(
    "CreateItem",
    """mutation CreateItem($item: CreateItemInput!) { item: createItem(input: $item) { id } }""",
    {"item": "CreateItemInput"},
)

UPDATE_ITEM = Operation(
    "UpdateItem",
    """mutation UpdateItem($item: UpdateItemInput!, $condition: ModelItemConditionInput)
    { item: updateItem(input: $item, condition: $condition) { id } }""",
    {"item": "UpdateItemInput"},
)


def versions(count: int) -> Operation:
    """Return the query for `count` score versions at once: variables ``v0``, ``v1``, … and fields of the same names."""
    names = [f"v{number}" for number in range(count)]
    declared = ", ".join(f"${name}: ID!" for name in names)
    fields = " ".join(
        f"{name}: getScoreVersion(id: ${name}) {{ {{ScoreVersion}} }}" for name in names
    )
    return Operation("ScoreVersions", f"query ScoreVersions({declared}) {{ {fields} }}")
