"""Jobs, items, scorecards and results in Plexus's GraphQL API, under leases in a store of ours."""

from __future__ import annotations

import os
from dataclasses import dataclass

from plexus_scoring.ports import AttachmentStore, Catalog, Clock, JobStore
from plexus_scoring.stores.clock import SystemClock
from plexus_scoring.stores.plexus_api.accounts import Accounts
from plexus_scoring.stores.plexus_api.catalog import PlexusApiCatalog
from plexus_scoring.stores.plexus_api.claims import Claims
from plexus_scoring.stores.plexus_api.client import GraphQLClient
from plexus_scoring.stores.plexus_api.handover import Handover, TracingAttachments
from plexus_scoring.stores.plexus_api.jobs import PlexusApiJobStore
from plexus_scoring.stores.plexus_api.projection import Projection
from plexus_scoring.stores.plexus_api.reader import Reader
from plexus_scoring.stores.plexus_api.signing import ApiKey, IamSignature, Signer
from plexus_scoring.stores.plexus_api.versions import Versions

__all__ = ["IamSignature", "PlexusApiCatalog", "PlexusApiJobStore", "PlexusApiStores", "connect"]

TAKEOVER_SECONDS = 900.0


@dataclass(frozen=True)
class PlexusApiStores:
    """The API's faces. `attachments` is to be used in place of those that `connect` was given."""

    jobs: PlexusApiJobStore
    catalog: PlexusApiCatalog
    attachments: AttachmentStore

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self.jobs.aclose()
        await self.catalog.aclose()


def connect(
    url: str,
    key: str | Signer,
    *,
    account: str | None,
    leases: JobStore,
    catalog: Catalog,
    attachments: AttachmentStore,
    cache_directory: str | os.PathLike[str] | None = None,
    takeover_seconds: float = TAKEOVER_SECONDS,
    clock: Clock | None = None,
) -> PlexusApiStores:
    """Return the stores over one API; nothing is connected yet.

    Args:
        url: The GraphQL endpoint.
        key: Its key, or another way to say who calls.
        account: Key of the account whose jobs are worked on and whose scorecards are read; None: every account's.
        leases: The job store that holds leases, attempts and results.
        catalog: Where items and scorecards live that Plexus cannot hold.
        attachments: Where traces and logs live.
        cache_directory: Where score versions outlive the process.
        takeover_seconds: How long a job that Plexus's own worker began is left to it: its function's longest run.
        clock: Time; None is the machine's.
    """
    clock = clock or SystemClock()
    signer = ApiKey(key) if isinstance(key, str) else key
    client = GraphQLClient(url, signer, clock=clock)
    accounts = Accounts(client)
    handover = Handover()
    items = PlexusApiCatalog(
        client,
        catalog,
        accounts=accounts,
        versions=Versions(client, directory=cache_directory),
        handover=handover,
        account=account,
        clock=clock,
    )
    jobs = PlexusApiJobStore(
        client,
        leases,
        reader=Reader(client, accounts=accounts, handover=handover, account=account),
        projection=Projection(
            client,
            accounts=accounts,
            catalog=items,
            attachments=attachments,
            handover=handover,
            clock=clock,
        ),
        claims=Claims(client),
        accounts=accounts,
        account=account,
        takeover_seconds=takeover_seconds,
        clock=clock,
    )
    return PlexusApiStores(jobs, items, TracingAttachments(attachments, handover))
