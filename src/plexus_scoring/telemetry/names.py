"""The one list of metric and span names.

Names follow Prometheus's conventions (base units, ``_total`` for counters); the EMF sink uses the same names, so
that a dashboard for one can be read with the other. No label ever holds an id.
"""

from __future__ import annotations

JOBS = "plexus_scoring_jobs_total"
"""Counter of handled requests. Label ``outcome``: one of the `OUTCOME_*` below."""

OUTCOME_COMPLETED = "completed"
OUTCOME_FAILED = "failed"
OUTCOME_SKIPPED = "skipped"
OUTCOME_RETRIED = "retried"
OUTCOME_DUPLICATE = "duplicate"
OUTCOME_BUSY = "busy"
OUTCOME_UNKNOWN = "unknown"
OUTCOME_DROPPED = "dropped"

JOB_SECONDS = "plexus_scoring_job_seconds"
"""Histogram: from claim to response."""

ENGINE_SECONDS = "plexus_scoring_engine_seconds"
"""Histogram: the engine's part of it."""

QUEUE_AGE_SECONDS = "plexus_scoring_queue_age_seconds"
"""Histogram: how long a message had waited when it was received."""

QUEUE_AGE_UNKNOWN = "plexus_scoring_queue_age_unknown_total"
"""Counter of messages that neither producer nor broker gave a time."""

RETRIES = "plexus_scoring_retries_total"
"""Counter of attempts released for a retry. Label ``code``: the error's code."""

LEASES_LOST = "plexus_scoring_leases_lost_total"
"""Counter of jobs dropped because another claimer had taken them."""

TOKENS = "plexus_scoring_llm_tokens_total"
"""Counter of LLM tokens. Label ``kind``: prompt or completion."""

COST_USD = "plexus_scoring_llm_cost_usd_total"
"""Counter of LLM cost in USD."""

COLD_STARTS = "plexus_scoring_cold_starts_total"
"""Counter of function containers started."""

IN_FLIGHT = "plexus_scoring_jobs_in_flight"
"""Gauge of jobs being worked on."""

SWEPT = "plexus_scoring_swept_total"
"""Counter of stranded jobs that the sweeper put back on the queue."""

QUEUE_MESSAGES = "plexus_scoring_queue_messages"
"""Gauge of messages on the request queue. Label ``state``: waiting, in_flight, delayed or dead."""

BREAKER_OPEN = "plexus_scoring_breaker_open"
"""Gauge: 1 while a worker takes no jobs because a dependency is down. Label ``dependency``: store or engine."""

SPAN_RECEIVE = "plexus_scoring.receive"
SPAN_CLAIM = "plexus_scoring.claim"
SPAN_LOAD = "plexus_scoring.load"
SPAN_SCORE = "plexus_scoring.score"
SPAN_NODE = "plexus_scoring.node"
SPAN_ATTACH = "plexus_scoring.attach"
SPAN_COMMIT = "plexus_scoring.commit"
SPAN_RESPOND = "plexus_scoring.respond"
