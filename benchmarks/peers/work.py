"""The work of one job, as the peers do it: no claim, no fence, no lease."""

from __future__ import annotations

import json
import os

DATABASE = os.environ["BENCH_DATABASE"]
AMQP = os.environ["BENCH_AMQP"]
REQUESTS = os.environ["BENCH_REQUESTS"]
RESPONSES = os.environ["BENCH_RESPONSES"]
ENGINE_SECONDS = float(os.environ.get("BENCH_ENGINE_SECONDS", "0"))
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "50"))
PROCESSES = int(os.environ.get("BENCH_PROCESSES", "1"))

UPDATE = "UPDATE peer_jobs SET status = 'COMPLETED' WHERE id = %s AND status = 'PENDING'"
INSERT = "INSERT INTO peer_results (id, job_id, value) VALUES (%s, %s, 'Yes')"


def response(request_id: str, job_id: str) -> bytes:
    """Return the response's body."""
    body = {"request_id": request_id, "scoring_job_id": job_id, "status": "success", "value": "Yes"}
    return json.dumps(body).encode()
