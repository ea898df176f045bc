"""What the tests of Plexus's API share: stores over a server, and the records of a small account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plexus_scoring.attachments.filesystem import FilesystemAttachments
from plexus_scoring.ports import Clock, JobStore
from plexus_scoring.stores import plexus_api
from plexus_scoring.stores.memory import MemoryCatalog, MemoryJobStore
from plexus_scoring.stores.plexus_api import PlexusApiStores
from tests.support.graphql_server import GraphQLServer

GREETING = """name: Greeting
key: greeting
id: 42
class: LangGraphScore
model_provider: ChatOpenAI
model_name: gpt-4o-mini-2024-07-18
graph:
- name: greeting
  class: LogicalClassifier
  code: |
    def score(parameters, input):
        found = "hello" in input.text.lower()
        return Score.Result(
            parameters=parameters,
            value="Yes" if found else "No",
            metadata={"explanation": "a greeting" if found else "no greeting"},
        )
output:
  value: classification
  explanation: explanation
"""


def connect(
    server: GraphQLServer,
    folder: Path,
    clock: Clock,
    *,
    account: str | None = "acme",
    leases: JobStore | None = None,
    **options: Any,
) -> PlexusApiStores:
    """Return stores over the server, leases in memory unless given."""
    return plexus_api.connect(
        options.pop("url", server.url),
        options.pop("key", server.key),
        account=account,
        leases=leases or MemoryJobStore(clock=clock),
        catalog=options.pop("catalog", None) or MemoryCatalog(),
        attachments=FilesystemAttachments(folder / "attachments"),
        clock=clock,
        **options,
    )


class Account:
    """An account with one scorecard of one score, in the server's tables."""

    def __init__(self, server: GraphQLServer, key: str = "acme") -> None:
        self.server = server
        self.key = key
        self.id: str = server.put("Account", id=f"account-{key}", name=key.title(), key=key)["id"]
        self.scorecard = f"{key}-card"
        server.put(
            "Scorecard", id=self.scorecard, name="Call quality", key="call-quality",
            externalId="97", accountId=self.id,
        )  # fmt: skip
        self.section = f"{key}-section"
        server.put(
            "ScorecardSection", id=self.section, name="All", order=1, scorecardId=self.scorecard
        )
        self.score = self.add_score("Greeting", GREETING)

    def add_score(self, name: str, configuration: str | None, **changes: Any) -> str:
        """Store a score with its champion version; None: without one."""
        score = f"{self.key}-{name.lower()}"
        version = f"{score}-v1"
        if configuration is not None:
            self.server.put("ScoreVersion", id=version, scoreId=score, configuration=configuration)
        values: dict[str, Any] = {
            "id": score, "name": name, "key": name.lower(), "type": "LangGraphScore", "order": 1,
            "sectionId": self.section, "scorecardId": self.scorecard, "externalId": "42",
        }  # fmt: skip
        if configuration is not None:
            values["championVersionId"] = version
        self.server.put("Score", **{**values, **changes})
        return score

    def add_job(self, job_id: str = "job-1", *, item_id: str = "item-1", **changes: Any) -> str:
        """Store a PENDING job and its item."""
        if self.server.get("Item", item_id) is None:
            self.server.put(
                "Item", id=item_id, accountId=self.id, isEvaluation=False, externalId="report-1",
                text="hello, this is Ann", metadata='{"channel": "phone", "looks": "123"}',
            )  # fmt: skip
        values = {
            "id": job_id, "status": "PENDING", "accountId": self.id, "itemId": item_id,
            "scorecardId": self.scorecard, "scoreId": self.score,
        }  # fmt: skip
        self.server.put("ScoringJob", **{**values, **changes})
        return job_id
