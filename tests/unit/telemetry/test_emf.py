"""Metrics in CloudWatch's embedded format, as Lambda would print them."""

from __future__ import annotations

import json

from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.emf import EmfMetrics


def test_one_blob_for_each_set_of_labels(capsys):
    metrics = EmfMetrics(namespace="Test", environment="staging")
    for _ in range(1000):
        metrics.count(names.JOBS, outcome="completed")
    metrics.count(names.JOBS, outcome="failed")
    for value in range(250):
        metrics.observe(names.JOB_SECONDS, value / 10)
    metrics.count(names.COST_USD, 0.25)
    metrics.flush()

    blobs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    totals = {blob["outcome"]: blob[names.JOBS] for blob in blobs if "outcome" in blob}
    assert totals == {"completed": [1000.0], "failed": [1.0]}
    seconds = [value for blob in blobs for value in blob.get(names.JOB_SECONDS, [])]
    assert sorted(seconds) == [value / 10 for value in range(250)]
    for blob in blobs:
        directive = blob["_aws"]["CloudWatchMetrics"][0]
        assert directive["Namespace"] == "Test"
        assert blob["environment"] == "staging"
    metrics.flush()
    assert capsys.readouterr().out == ""
