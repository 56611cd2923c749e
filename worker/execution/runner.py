"""Runs jobs in slots: the one that a message names, and then, in the same slot, the next ones of its queue."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial

import structlog
from celery import Celery
from celery.exceptions import Ignore

from worker.catalog.operations import Operation, QueueClass
from worker.config.settings import Settings
from worker.execution.claims import Completion, JobClaims
from worker.execution.executor import JobExecutor
from worker.execution.lease import Lease, WaitingSlot
from worker.execution.outcome_events import emit_ended, emit_started
from worker.jobs.record import Job, State
from worker.messaging.task_events import emit_received
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.results import ClaimResult
from worker.telemetry import tracing

log = structlog.get_logger(__name__)


class JobFailed(Exception):
    """A job has failed; the message is its code."""


class Slots:
    """Limits how many jobs of each queue this process executes at a time, so that no queue can use it alone."""

    def __init__(self, settings: Settings) -> None:
        self._most = {
            QueueClass.WRITE: settings.write_slots,
            QueueClass.READ: settings.read_slots,
            QueueClass.LIST: settings.list_slots,
        }
        self._taken: dict[str, int] = defaultdict(int)
        self._turned_away: Counter[str] = Counter()
        self._lock = threading.Lock()

    def of(self, queue: str) -> int:
        """How many slots the queue has."""
        return self._most[QueueClass(queue.rpartition(".")[2])]

    def free_slots(self, queue: str) -> int:
        """How many slots of the queue are free."""
        with self._lock:
            return self.of(queue) - self._taken[queue]

    def take(self, queue: str, queue_class: QueueClass) -> bool:
        """Take a slot, if there is one."""
        with self._lock:
            if self._taken[queue] >= self._most[queue_class]:
                self._turned_away[queue] = min(self._turned_away[queue] + 1, self._most[queue_class])
                return False
            self._taken[queue] += 1
            return True

    def has_turned_away(self, queue: str) -> bool:
        """Was a message turned away whose job no slot has tried to claim since? The caller tries now."""
        with self._lock:
            return self._pop_turned_away(queue)

    def free(self, queue: str) -> bool:
        """Free a slot, unless a message was turned away since: the caller then keeps the slot for its job."""
        with self._lock:
            if self._pop_turned_away(queue):
                return False
            self._taken[queue] -= 1
            return True

    def _pop_turned_away(self, queue: str) -> bool:
        if not self._turned_away[queue]:
            return False
        self._turned_away[queue] -= 1
        return True


class JobRunner:
    """Runs the jobs of one worker process."""

    def __init__(self, celery: Celery, claims: JobClaims, executor: JobExecutor, slots: Slots, threads: int) -> None:
        """``threads``: how many slots there are in all queues together."""
        self._celery = celery
        self._claims = claims
        self._executor = executor
        self._slots = slots
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="slot")
        #: The job that this thread has claimed and runs as a task of its own.
        self._claimed = threading.local()

    def close(self) -> None:
        """Wait until every job has ended or was handed over."""
        self._threads.shutdown()

    # --- from the maintenance loop

    def run_next(self, queue: str) -> bool:
        """Run the next runnable job of a queue in a free slot, without a message; False when there is none."""
        if not self._slots.take(queue, QueueClass(queue.rpartition(".")[2])):
            return False
        following = self._claim_next(queue)
        self._continue_with(following, queue)
        return following is not None

    # --- from Celery's tasks

    def run_message(self, job_id: str, queue: str, operation: Operation) -> None:
        """Execute the job that a message names, if it can be claimed and ``queue`` has a free slot here.

        Raises:
            Ignore: it could not be claimed, or has not ended here.
            JobFailed: it has failed.
        """
        if self._claims.draining:
            self._claims.republish(job_id, queue, operation.name)
            raise Ignore
        if not self._slots.take(queue, operation.queue_class):
            # The job stays in its queue, from which the next free slot claims it.
            raise Ignore
        following: Lease | WaitingSlot | None = None
        try:
            lease = self._claims.claim(job_id)
            if not isinstance(lease, Lease):
                following = self._after_failed_claim(lease, job_id, queue)
                raise Ignore
            try:
                self._execute(lease)
            finally:
                following = self._next(lease)
        except REDIS_UNAVAILABLE as exc:
            log.warning("dispatch.skipped", job_id=job_id, error=type(exc).__name__)
            raise Ignore from None
        finally:
            self._continue_with(following, queue)

    def run_claimed(self, job_id: str) -> bool:
        """Execute the job that this thread has claimed before; False when it has claimed none, or another one.

        Raises as `run_message`.
        """
        lease: Lease | None = getattr(self._claimed, "lease", None)
        if lease is None or lease.job_id != job_id:
            return False
        self._claimed.lease = None
        self._execute(lease)
        return True

    # --- in slots

    def _execute(self, lease: Lease) -> None:
        job = lease.job
        lease.claims_next = partial(self._slots.has_turned_away, job.queue)
        with structlog.contextvars.bound_contextvars(
            job_id=job.id,
            request_id=job.request_id,
            operation=job.operation.name,
            subsystem=job.subsystem,
            requested_by=job.requester,
            **({"trace_id": job.trace_id} if job.trace_id else {}),
        ):
            log.info("job.started", attempt=job.attempt)
            began = time.perf_counter()
            emit_started(self._celery, lease.job_id)
            with _attempt_span(job):
                end = self._executor.execute(lease)
            _log_end(end)
        if end is None:
            raise Ignore
        emit_ended(self._celery, lease.job_id, end.state, end.failure, runtime_s=time.perf_counter() - began)
        if end.failure is not None:
            raise JobFailed(end.failure.code)
        if end.state is State.CANCELLED:
            raise Ignore

    def _after_failed_claim(self, result: ClaimResult, job_id: str, queue: str) -> Lease | None:
        """Find another use for a slot whose job could not be claimed."""
        if result is ClaimResult.CANCELLED:
            emit_ended(self._celery, job_id, State.CANCELLED)
        log.debug("dispatch.skipped", job_id=job_id, why=result)
        # Only when the job has left its queue can the next one be runnable.
        return self._claim_next(queue) if result is ClaimResult.TAKEN else None

    def _next(self, lease: Lease) -> Lease | WaitingSlot | None:
        """The next job of the queue: claimed with the end of the last, awaited, or claimed now if it has not ended."""
        if lease.completed:
            return lease.next_lease or lease.waiting_slot
        return self._claim_next(lease.job.queue)

    def _claim_next(self, queue: str) -> Lease | None:
        if self._claims.draining:
            return None
        try:
            return self._claims.claim_next(queue)
        except REDIS_UNAVAILABLE:
            log.info("dispatch.deferred", queue=queue)
            return None

    def _free_slot(self, queue: str) -> Lease | None:
        """Free the slot, or return a job for it."""
        while not self._slots.free(queue):
            lease = self._claim_next(queue)
            if lease is not None:
                return lease
        return None

    def _continue_with(self, following: Lease | WaitingSlot | None, queue: str) -> None:
        following = following or self._free_slot(queue)
        if following is not None:
            # In a thread of its own, since Celery's thread must end with its message.
            self._threads.submit(self._run_all, following, queue)

    def _run_all(self, following: Lease | WaitingSlot | None, queue: str) -> None:
        """Run a claimed job and its successors in the slot, each as a Celery task of its own."""
        try:
            while following is not None:
                lease = self._claims.await_next(following) if isinstance(following, WaitingSlot) else following
                if lease is not None:
                    self._run_as_task(lease)
                following = (lease and self._next(lease)) or self._free_slot(queue)
        except Exception:
            log.exception("slot.failed", queue=queue)
            # Jobs whose messages were turned away stay in the queue for other slots.
            while not self._slots.free(queue):
                pass

    def _run_as_task(self, lease: Lease) -> None:
        self._claimed.lease = lease
        task = self._celery.tasks[lease.job.operation.task_name]
        emit_received(self._celery, lease.job_id, task.name)
        try:
            with tracing.within(lease.job.traceparent):
                task.apply(args=(lease.job_id,), task_id=lease.job_id)
        except Exception:
            # A handler of Celery's signals may raise; the job is then left to other workers.
            log.exception("task.failed", job_id=lease.job_id)
        finally:
            self._claims.drop_lease(lease)


def _log_end(end: Completion | None) -> None:
    if end is None:
        log.info("job.not-ended")
    elif end.failure is not None:
        log.warning("job.failed", code=end.failure.code, detail=end.failure.detail)
    else:
        log.info("job.ended", state=end.state)


def _attempt_span(job: Job) -> AbstractContextManager[None]:
    """The span of this attempt, in the trace of the request that made the job, after one for the wait."""
    facts: dict[str, str | int] = {"job.id": job.id, "job.attempt": job.attempt}
    tracing.record_span("wait", job.traceparent, job.created_ms, job.started_ms or job.created_ms, **facts)
    return tracing.span(f"attempt {job.operation.name}", job.traceparent, **facts)
