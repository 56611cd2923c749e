"""The Celery task of batches: it is called when one begins, is to be stopped, or has ended.

A batch is not carried out: its members are, and the scripts that end them go on with it. The task does what takes more
than one step, and emits its events for Flower. A message that is lost costs a second, in the maintenance loop.
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
    """Goes on with a batch."""

    ignore_result = True
    acks_late = False
    max_retries = 0
    Request = TaskRequest
    name = BATCH.task_name

    def __init__(self, jobs: Jobs, batches: Batches) -> None:
        self._jobs = jobs
        self._batches = batches

    def run(self, job_id: str) -> None:
        """Stop what is to be stopped, and emit where the batch is now."""
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
