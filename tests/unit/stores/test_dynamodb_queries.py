"""DynamoDB refuses a request with a value that no expression uses; moto does not."""

from __future__ import annotations

import asyncio
import re

from plexus_scoring.stores.dynamodb.listing import Listing


class RecordingTable:
    """Answers every query with nothing, after letting the others run."""

    name = "jobs"

    def __init__(self):
        self.queries = []

    async def query(self, query):
        await asyncio.sleep(0)
        self.queries.append(query)
        return [], None


async def test_side_by_side_queries_of_the_shards_share_no_values():
    table = RecordingTable()
    await Listing(table).due(account="a", now=1.0)
    await Listing(table).stranded(account=None, now=1.0, pending_older_than=1.0, limit=5)
    assert len(table.queries) > 8
    for query in table.queries:
        text = query["KeyConditionExpression"] + query["FilterExpression"]
        assert set(re.findall(r":\w+", text)) == set(query["ExpressionAttributeValues"])
        assert set(re.findall(r"#\w+", text)) == set(query["ExpressionAttributeNames"])
