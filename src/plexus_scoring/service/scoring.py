"""ScoringService: claim, load, reuse, score, attach, complete, respond, acknowledge.

Each step leaves the stores such that a process may die after it and a redelivery ends the job rightly;
``docs/state-machine.md`` has the table, and ``tests/unit/service/test_crashes.py`` kills it at every line of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AbstractContextManager

import msgspec

from plexus_scoring.model.disposition import Ack, DeadLetter, Disposition, Retry
from plexus_scoring.model.errors import (
    AccountRefused,
    ConfigurationError,
    ErrorInfo,
    InvalidRequest,
    LeaseLost,
    NotFound,
    ProviderDown,
    ScoringError,
    StoreUnavailable,
    describe,
    frames,
    loggable,
    shorten,
)
from plexus_scoring.model.job import (
    Busy,
    ClaimAnswer,
    Claimed,
    Finished,
    Lease,
    Missing,
    NotDue,
    ScoringJob,
)
from plexus_scoring.model.messages import (
    ScoringRequest,
    ScoringResponse,
    response_of_error,
    response_of_result,
)
from plexus_scoring.model.result import ScoreResult, attachment_keys, result_id_of
from plexus_scoring.ports import (
    ANSWERED,
    AttachmentStore,
    Catalog,
    Checkpoints,
    Clock,
    JobStore,
    Responder,
    ScoreContext,
    ScoringEngine,
)
from plexus_scoring.service import attempts, stand_ins
from plexus_scoring.service.content import load
from plexus_scoring.service.lease import HeldLease
from plexus_scoring.service.policy import Policy
from plexus_scoring.service.results import attach, keep_attempt, new_result, reused_result
from plexus_scoring.service.turns import Turns
from plexus_scoring.telemetry import names
from plexus_scoring.telemetry.logs import JobScope, job_scope
from plexus_scoring.telemetry.metrics import Metrics, NoMetrics

log = logging.getLogger(__name__)


class ScoringService:
    """The one path. It knows ports only; a transport gives it requests and maps its dispositions."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        catalog: Catalog,
        attachments: AttachmentStore,
        responder: Responder,
        engine: ScoringEngine,
        clock: Clock,
        policy: Policy | None = None,
        metrics: Metrics | None = None,
        checkpoints: Checkpoints | None = None,
        account: str | None = None,
    ) -> None:
        """Put the parts together; `bootstrap` chooses them.

        With `account`, a message that names a job of another account is answered as one that names no job.
        """
        self._account = account
        self._jobs = jobs
        self._catalog = catalog
        self._attachments = attachments
        self._responder = responder
        self._engine = engine
        self._clock = clock
        self._policy = policy or Policy()
        self._metrics: Metrics = metrics or NoMetrics()
        self._checkpoints = checkpoints
        self._turns = Turns()

    async def handle(self, request: ScoringRequest, deadline: float | None = None) -> Disposition:
        """Work on one request and say what is to become of its message.

        Args:
            request: The parsed message.
            deadline: When the transport must have its answer (seconds since the epoch).

        Raises:
            asyncio.CancelledError: the process stops; the job was released without costing an attempt.
        """
        with _scope_of(request) as scope:
            if deadline is not None and deadline <= self._clock.now():
                log.info("no time left to begin, the message goes back")
                return Retry(0.0, counted=False)
            try:
                return await self._claim_and_work(request, deadline, scope)
            except StoreUnavailable as error:
                self._count(names.OUTCOME_RETRIED)
                log.warning("a store is unavailable, the message goes back: %s", error)
                delay = self._policy.retry_delay(request.deliveries, retry_after=error.retry_after)
                return Retry(delay, counted=False)
            except Exception:
                # Not foreseen, and outside the attempt: the transport's own limit of deliveries ends it.
                self._count(names.OUTCOME_RETRIED)
                log.exception("unexpected error, the message goes back")
                return Retry(self._policy.retry_delay(request.deliveries))

    async def _claim_and_work(
        self, request: ScoringRequest, deadline: float | None, scope: JobScope
    ) -> Disposition:
        """Work beside other jobs; on one whose workers died again and again, alone."""
        async with self._turns.shared():
            disposition = await self._attempt(request, deadline, scope)
        return disposition or await self._alone(request, deadline, scope)

    async def _alone(
        self, request: ScoringRequest, deadline: float | None, scope: JobScope
    ) -> Disposition:
        """Work while this process has no other job: should it die once more, no other job is charged for it."""
        left = None if deadline is None else max(0.0, deadline - self._clock.now())
        turn = self._turns.alone()
        try:
            async with asyncio.timeout(left):
                await turn.__aenter__()
        except TimeoutError:
            log.info("no turn to run alone before the deadline, the message goes back")
            return Retry(self._policy.retry_base, counted=False)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_exit(turn)
            disposition = await self._attempt(request, deadline, scope, alone=True)
            assert disposition is not None  # noqa: S101  only one that is not alone goes without
            return disposition

    async def _attempt(
        self,
        request: ScoringRequest,
        deadline: float | None,
        scope: JobScope,
        *,
        alone: bool = False,
    ) -> Disposition | None:
        """Step 1, and what follows from each of its answers. None: the job has to run alone."""
        try:
            answer = await self._claim(request)
        except InvalidRequest as refusal:
            # The store cannot hold the job that the message brings, however often it comes.
            return await self._unclaimable(request, refusal)
        match answer:
            case Claimed():
                if not alone and attempts.must_be_alone(answer.job, self._policy):
                    await self._step_back(answer)
                    return None
                return await self._work(request, answer, deadline, scope)
            case Finished():
                return await self._finished(request, answer)
            case Busy(retry_after=after) | NotDue(retry_after=after):
                self._count(names.OUTCOME_BUSY)
                log.info("job is %s; again in %.1f s", type(answer).__name__, after)
                return Retry(max(0.0, after), counted=False)
            case Missing():
                unknown = NotFound(f"no scoring job with id {request.scoring_job_id}")
                return await self._unclaimable(request, unknown)

    async def _claim(self, request: ScoringRequest) -> ClaimAnswer:
        if self._account not in (None, request.account):
            return Missing()
        seconds = self._policy.lease_seconds
        answer = await self._jobs.claim(request.key, lease_seconds=seconds, new=request.new)
        if isinstance(answer, Missing) and self._policy.mock:
            made_up = stand_ins.job_of(request)
            answer = await self._jobs.claim(request.key, lease_seconds=seconds, new=made_up)
        return answer

    async def handle_oldest(
        self, *, account: str | None = None, deadline: float | None = None
    ) -> tuple[str, Disposition] | None:
        """Claim the oldest due PENDING job and work on it, without a message.

        Returns:
            The job's id and the disposition, which says how the job ended; None if no job is due.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        async with self._turns.shared():
            claimed = await self._jobs.claim_oldest(
                account=account, lease_seconds=self._policy.lease_seconds
            )
            if claimed is None:
                return None
            job = claimed.job
            request = ScoringRequest(
                scoring_job_id=job.id, request_id=job.request_id or job.id, account=job.account
            )
            with _scope_of(request) as scope:
                if not attempts.must_be_alone(job, self._policy):
                    return job.id, await self._work(request, claimed, deadline, scope)
                await self._step_back(claimed)
        with _scope_of(request) as scope:
            return job.id, await self._alone(request, deadline, scope)

    async def _step_back(self, claimed: Claimed) -> None:
        """Give the job back until it can run alone: were this process to end before, it would be charged for that."""
        log.warning("%d workers died under it: it runs alone", attempts.deaths(claimed.job))
        await self._jobs.release(claimed.lease, delay=0.0, counted=False)

    async def _work(
        self, request: ScoringRequest, claimed: Claimed, deadline: float | None, scope: JobScope
    ) -> Disposition:
        """Steps 2 to 8 of a claimed job."""
        job, lease = claimed.job, claimed.lease
        if (
            job.request_id and request.request_id == job.id
        ):  # the message named none: a sweeper's may not
            request = msgspec.structs.replace(request, request_id=job.request_id)
            scope.fields["request_id"] = job.request_id
        scope.fields["attempt"] = job.attempt
        started = self._clock.now()
        log.info("claimed", extra={"scorecard": job.scorecard, "score": job.score})
        if (exhausted := attempts.exhausted(job, self._policy)) is not None:
            await keep_attempt(self._attachments, job, scope)
            return await self._fail(request, job, lease, exhausted)
        limit = started + self._policy.job_timeout
        limit = limit if deadline is None else min(limit, deadline)
        try:
            async with HeldLease(
                self._jobs,
                self._clock,
                lease,
                lease_seconds=self._policy.lease_seconds,
                deadline=limit,
            ) as held:
                result = await self._score(job, limit, scope)
                held.ending()
                await self._jobs.complete(lease, result)
        except asyncio.CancelledError:
            # A stop is not the job's fault. Shielded: the cancellation must not end the release as well.
            await asyncio.shield(self._give_back(lease))
            raise
        except LeaseLost as error:
            return self._drop(error)
        except Exception as error:  # noqa: BLE001  every error ends as a state of the job; `describe` keeps its class
            return await self._unsuccessful(request, claimed, error, scope)
        self._measure_spent(result)
        await self._respond(response_of_result(request, result))
        self._metrics.observe(names.JOB_SECONDS, self._clock.now() - started)
        self._count(names.OUTCOME_COMPLETED)
        return Ack()

    async def _score(self, job: ScoringJob, deadline: float, scope: JobScope) -> ScoreResult:
        """Steps 2 to 5: load, reuse or score, attach."""
        item, scorecard = await load(job, self._catalog, self._attachments, self._policy)
        result = None
        if self._policy.reuse_results:
            earlier = await self._jobs.find_result(
                item_digest=item.digest(),
                score_version=scorecard.version,
                score=job.score,
                account=job.account,
            )
            if earlier is not None and earlier.job_id != job.id:
                log.info("reusing a stored result", extra={"score_result_id": earlier.id})
                result = reused_result(job, earlier, self._clock.now())
        if result is None:
            began = self._clock.now()
            outcome = await self._engine.score(
                ScoreContext(
                    item=item,
                    scorecard=scorecard,
                    score=job.score,
                    job=job.key,
                    attempt=job.attempt,
                    deadline=deadline,
                    checkpoints=self._checkpoints,
                )
            )
            self._metrics.observe(names.ENGINE_SECONDS, self._clock.now() - began)
            log.info("scored", extra={"undetermined": outcome.undetermined})
            places = attachment_keys(result_id_of(job.key))
            keys = await attach(self._attachments, places, outcome.trace, scope.text())
            result = new_result(job, item, scorecard, outcome, keys, self._clock.now())
        return result

    async def _unsuccessful(
        self, request: ScoringRequest, claimed: Claimed, error: Exception, scope: JobScope
    ) -> Disposition:
        """Give the job back if another attempt may help, else end it."""
        job, lease = claimed.job, claimed.lease
        info = describe(error)
        # The log shows where an unforeseen error came from; the job keeps its class and message.
        stack = None if isinstance(error, ScoringError) else {"stack": frames(error)}
        counted = error.counted if isinstance(error, ScoringError) else True
        # What is no fault of the job's is the same for each: the breaker says it once, as a warning.
        level = logging.WARNING if counted else logging.INFO
        log.log(level, "attempt failed: %s", loggable(info), extra=stack)
        log.debug("the error as it was raised", exc_info=error)
        await keep_attempt(self._attachments, job, scope)
        failures = attempts.failures(job) + counted
        now = self._clock.now()
        since = attempts.down_since(job, now) if isinstance(error, ProviderDown) else None
        too_often = counted and failures >= self._policy.max_attempts
        too_long = since is not None and now - since >= self._policy.provider_patience
        if since is not None and too_long:
            text = f"for {(now - since) / 3600:.1f} h: {info.message}"
            info = msgspec.structs.replace(info, message=shorten(text), retryable=False)
        if not info.retryable or too_often:
            return await self._fail(request, job, lease, info)
        delay = self._delay(job, error, down=None if since is None else now - since)
        ended = msgspec.structs.replace(info, failures=failures, since=since)
        try:
            await self._jobs.release(lease, delay=delay, counted=counted, error=ended)
        except LeaseLost as lost:
            return self._drop(lost)
        self._metrics.count(names.RETRIES, code=info.code)
        self._count(names.OUTCOME_RETRIED)
        return Retry(delay, counted=counted)

    def _delay(self, job: ScoringJob, error: Exception, *, down: float | None) -> float:
        """Return when to try again; `down`: for how long the job's provider has been down."""
        asked = error.retry_after if isinstance(error, ScoringError) else None
        if down is not None:
            return self._policy.down_delay(down, retry_after=asked)
        if isinstance(error, AccountRefused | ConfigurationError):
            return self._policy.refused_delay(retry_after=asked)
        return self._policy.retry_delay(job.attempt, retry_after=asked)

    async def _fail(
        self, request: ScoringRequest, job: ScoringJob, lease: Lease, info: ErrorInfo
    ) -> Disposition:
        """End the job as FAILED, tell the caller, and dead-letter the message if someone must look at it."""
        if info.retryable:
            tried = f"after {job.attempt} attempt{'s' if job.attempt > 1 else ''}: "
            info = msgspec.structs.replace(
                info, message=shorten(tried + info.message), retryable=False
            )
        try:
            await self._jobs.fail(lease, info)
        except LeaseLost as lost:
            return self._drop(lost)
        log.log(logging.ERROR if info.fault else logging.INFO, "failed: %s", loggable(info))
        await self._respond(response_of_error(request, info))
        self._count(names.OUTCOME_FAILED if info.fault else names.OUTCOME_SKIPPED)
        return DeadLetter(info) if info.fault else Ack()

    async def _finished(self, request: ScoringRequest, answer: Finished) -> Disposition:
        """The job ended before this delivery: say the same again."""
        self._count(names.OUTCOME_DUPLICATE)
        log.info("already finished, responding again", extra={"status": answer.job.status.value})
        if answer.result is not None:
            await self._respond(response_of_result(request, answer.result))
            return Ack()
        info = answer.job.last_error or ErrorInfo(code="failed", message="the job FAILED")
        await self._respond(response_of_error(request, info))
        return DeadLetter(info) if info.fault else Ack()

    async def _unclaimable(self, request: ScoringRequest, error: ScoringError) -> Disposition:
        """There is no job that could become FAILED: the message itself is dead."""
        info = error.info()
        log.error("%s", info.message)
        await self._respond(response_of_error(request, info))
        self._count(names.OUTCOME_UNKNOWN)
        return DeadLetter(info)

    async def _respond(self, response: ScoringResponse) -> None:
        await self._responder.respond(response)
        waiting = ANSWERED.get()
        if waiting is not None:
            waiting.append(response)

    async def _give_back(self, lease: Lease) -> None:
        try:
            await self._jobs.release(lease, delay=0.0, counted=False)
        except Exception as error:  # noqa: BLE001  the caller is being cancelled, and stays so
            # The lease runs out by itself then; the next claimer pays the wait, nothing is lost.
            log.warning("job not released, its lease will expire: %s", loggable(describe(error)))

    def _drop(self, lost: LeaseLost) -> Disposition:
        """Another claimer has the job. Redelivery finds out how it ended there."""
        log.warning("dropping the work: %s", lost)
        self._metrics.count(names.LEASES_LOST)
        self._count(names.OUTCOME_DROPPED)
        return Retry(self._policy.retry_base, counted=False)

    def _measure_spent(self, result: ScoreResult) -> None:
        spent = (result.cost, result.dependencies_cost)
        if any(cost.llm_calls for cost in spent):
            prompt = sum(cost.prompt_tokens for cost in spent)
            completion = sum(cost.completion_tokens for cost in spent)
            self._metrics.count(names.TOKENS, prompt, kind="prompt")
            self._metrics.count(names.TOKENS, completion, kind="completion")
            self._metrics.count(names.COST_USD, sum(cost.total_cost for cost in spent))

    def _count(self, outcome: str) -> None:
        self._metrics.count(names.JOBS, outcome=outcome)


def _scope_of(request: ScoringRequest) -> AbstractContextManager[JobScope]:
    return job_scope(
        request_id=request.request_id,
        scoring_job_id=request.scoring_job_id,
        account=request.account,
    )
