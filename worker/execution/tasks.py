"""The Celery tasks: one for each operation. A message names a job, which is executed if it can be claimed."""

from __future__ import annotations

from celery import Celery, Task

from worker.catalog.operations import OPERATIONS, Operation
from worker.execution.runner import JobFailed, JobRunner
from worker.messaging.request import TaskRequest


class OperationTask(Task):
    """One declared operation, as Celery runs it.

    Celery's signals, and instrumentation that uses them, see each claimed job as one execution. A message of a
    job that cannot be claimed is ignored; a failed job raises `JobFailed`.
    """

    ignore_result = True
    acks_late = False
    max_retries = 0
    Request = TaskRequest
    throws = (JobFailed,)

    def __init__(self, operation: Operation, runner: JobRunner) -> None:
        self.name = operation.task_name
        self._operation = operation
        self._runner = runner

    def run(self, job_id: str) -> None:
        """Execute a job."""
        if not self._runner.run_claimed(job_id):
            self._runner.run_message(job_id, self.request.delivery_info.get("routing_key") or "", self._operation)


def register_tasks(celery: Celery, runner: JobRunner) -> None:
    """Make every operation a task of ``celery``."""
    for operation in OPERATIONS.values():
        celery.register_task(OperationTask(operation, runner))
