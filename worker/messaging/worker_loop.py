"""Celery's worker as every process here runs it."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from worker.telemetry import tracing


def run_worker(celery: Celery, *, queues: Sequence[str], threads: int, hostname: str) -> int:
    """Consume queues until the process is stopped, with tasks in threads; return the exit status.

    Celery's command line does the same; importing that takes a sixth of the CPU that a worker needs to start.
    """
    worker = celery.Worker(
        queues=list(queues), concurrency=threads, hostname=hostname,
        pool_cls="threads", without_gossip=True, without_mingle=True, task_events=True, quiet=True,
    )  # fmt: skip
    # Only Celery's loop runs in this thread.
    with tracing.quiet():
        worker.start()
    return int(worker.exitcode or 0)
