"""The Celery task of batches, called when a batch begins, must be stopped, or has ended.

Workers execute the members of a batch, and the scripts that end these advance the batch. The task does what takes more
than one step, and emits the events for Flower. If its message is lost, the maintenance loop does so a second later.
"""

from __future__ import annotations

import structlog
from celery import Task

from worker.catalog.operations import BATCH
from worker.execution.outcome_events import emit_ended, emit_started
from worker.jobs.batches import Batches
from worker.jobs.service import Jobs
from worker.messaging.request import TaskRequest
from worker.store.client import REDIS_UNAVAILABLE

log = structlog.get_logger(__name__)


class BatchTask(Task):
    """Advances a batch."""

    ignore_result = True
    acks_late = False
    max_retries = 0
    Request = TaskRequest
    name = BATCH.task_name

    def __init__(self, jobs: Jobs, batches: Batches) -> None:
        self._jobs = jobs
        self._batches = batches

    def run(self, job_id: str) -> None:
        """Stop the members that must be stopped, and emit the state of the batch."""
        try:
            self._batches.advance(job_id)
            status = self._jobs.get(job_id)
        except REDIS_UNAVAILABLE as exc:
            log.warning("batch.deferred", job_id=job_id, error=type(exc).__name__)
            return
        if status is None:
            return
        job = status.job
        emit_started(self.app, job_id)
        if job.done:
            log.info("batch.ended", job_id=job_id, state=job.state.value, **(job.children or {}))
            ran_ms = (job.finished_ms or 0) - (job.started_ms or job.created_ms)
            emit_ended(self.app, job_id, job.state, job.failure, runtime_s=max(0, ran_ms) / 1000)
