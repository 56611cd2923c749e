"""The Celery task: a message names a job; it is claimed, carried out if it is its turn, and its end told to Flower."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import structlog
from celery import Celery, Task

from worker.catalog.operations import OPERATIONS, Operation, QueueClass
from worker.config.settings import Settings
from worker.execution.claims import Completion, JobClaims
from worker.execution.executor import JobExecutor
from worker.execution.lease import Lease
from worker.execution.outcome_events import emit_ended, emit_started
from worker.jobs.record import State
from worker.messaging.strategy import hear
from worker.store.client import REDIS_UNAVAILABLE

log = structlog.get_logger(__name__)

_MOST_PASSED_ON = 1


class Slots:
    """How many jobs of each queue this process carries out at a time, so that no lane can fill it."""

    def __init__(self, settings: Settings) -> None:
        self._most = {
            QueueClass.WRITE: settings.write_slots,
            QueueClass.READ: settings.read_slots,
            QueueClass.LIST: settings.list_slots,
        }
        self._taken: dict[str, int] = defaultdict(int)
        self._rejected: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    def free_slots(self, queue: str) -> int:
        """How many slots of the queue are free."""
        with self._lock:
            return self._most[QueueClass(queue.rpartition(".")[2])] - self._taken[queue]

    def take(self, queue: str, queue_class: QueueClass) -> bool:
        """Take a slot, if there is one."""
        with self._lock:
            if self._taken[queue] >= self._most[queue_class]:
                self._rejected[queue] += 1
                return False
            self._taken[queue] += 1
            return True

    def free(self, queue: str) -> int:
        """Give the slot back; for how many jobs it is worth ringing now.

        One for this slot, and one more when rings were turned away since: they were meant for other workers, which may
        have room. Never for all of them: a ring that finds no room costs as much as one that does.
        """
        with self._lock:
            self._taken[queue] -= 1
            return 1 + min(_MOST_PASSED_ON, self._rejected.pop(queue, 0))


class OperationTask(Task):
    """One declared operation, as Celery runs it."""

    ignore_result = True
    acks_late = False
    max_retries = 0
    Strategy = staticmethod(hear)

    def __init__(self, operation: Operation, claims: JobClaims, executor: JobExecutor, slots: Slots) -> None:
        self.name = operation.task_name
        self._operation = operation
        self._claims = claims
        self._executor = executor
        self._slots = slots

    def run(self, job_id: str, queue: str) -> None:
        """Carry the job out if its turn has come; a ring that comes too soon or too late is passed over.

        ``queue``: where the ring was.
        """
        if self._claims.draining:
            self._claims.republish(job_id, queue, self._operation.name)
        elif self._slots.take(queue, self._operation.queue_class):
            self._run_in_slot(job_id, queue)

    def _run_in_slot(self, job_id: str, queue: str) -> None:
        go_on = True
        try:
            go_on = self._claim_and_execute(job_id)
        except REDIS_UNAVAILABLE as exc:
            log.warning("ring.passed-over", job_id=job_id, error=type(exc).__name__)
        finally:
            worth = self._slots.free(queue)
            if (go_on or worth > 1) and not self._claims.draining:
                self._publish_runnable(queue, worth)

    def _claim_and_execute(self, job_id: str) -> bool:
        """Carry the job out, unless it is not its turn; may there be another to ring for in its place?"""
        lease = self._claims.claim(job_id)
        if isinstance(lease, str):
            if lease == "CANCELLED":
                emit_ended(self.app, job_id, State.CANCELLED)
            log.debug("ring.passed-over", job_id=job_id, why=lease)
            # Only a job that has left its lane makes room for the next; else the same ring would go round and round.
            return lease == "TAKEN"
        job = lease.job
        with structlog.contextvars.bound_contextvars(
            job_id=job.id,
            request_id=job.request_id,
            operation=job.operation.name,
            subsystem=job.subsystem,
            requested_by=job.requester,
        ):
            log.info("job.started", attempt=job.attempt)
            self._perform(lease)
        return lease.more_waiting

    def _perform(self, lease: Lease) -> None:
        began = time.perf_counter()
        emit_started(self.app, lease.job_id)
        end = self._executor.execute(lease)
        _log_end(end)
        if end is not None:
            runtime_s = time.perf_counter() - began
            emit_ended(self.app, lease.job_id, end.state, end.failure, runtime_s=runtime_s)

    def _publish_runnable(self, queue: str, most: int) -> None:
        try:
            self._claims.publish_runnable(queue, most)
        except REDIS_UNAVAILABLE:
            log.info("ring.later", queue=queue)


def _log_end(end: Completion | None) -> None:
    if end is None:
        log.info("job.put-off")
    elif end.failure is not None:
        log.warning("job.failed", code=end.failure.code, detail=end.failure.detail)
    else:
        log.info("job.ended", state=end.state)


def register_tasks(celery: Celery, claims: JobClaims, executor: JobExecutor, slots: Slots) -> None:
    """Make every operation a task of ``celery``."""
    for operation in OPERATIONS.values():
        celery.register_task(OperationTask(operation, claims, executor, slots))
