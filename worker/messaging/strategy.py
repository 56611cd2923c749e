"""Takes a ring from Celery's consumer to a thread: Celery's execution strategy for our tasks.

The usual one makes a request of each message and traces its execution, for results, retries, errors and
acknowledgements. Rings have none of these, and the job's record tells what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, Task
from celery.worker import state
from kombu.exceptions import ContentDisallowed, DecodeError

from worker.messaging.task_events import emit_received

log = structlog.get_logger(__name__)

Handler = Callable[..., None]


class ReceivedMessage:
    """One ring, as Celery counts what it has read and not done with: it reads no more than it has threads for."""

    #: It is gone from the broker, and nothing is left to acknowledge. (kombu would send an acknowledgement all the
    #: same, and end the worker when Redis is away at that moment.)
    acknowledged = True

    def __init__(self, job_id: str, task: Task) -> None:
        self.id = job_id
        self.task = task
        self.name = task.name

    def cancel(self, *_args: Any, **_options: Any) -> None:
        """A thread cannot be stopped from outside; whoever takes the job over finds out what it did."""


def hear(task: Task, celery: Celery, consumer: Any) -> Handler:
    """Return what is done with each message for this task."""

    def handle(message: Any, _payload: Any, _ack: Any, _reject: Any, callbacks: Any) -> None:
        queue, job_id = message.delivery_info.get("routing_key") or "", _job_id(message)
        if job_id is None:
            log.error("message.dropped", reason="it names no job", queue=queue)
            return
        heard = ReceivedMessage(job_id, task)
        emit_received(celery, heard.id, heard.name)
        state.task_reserved(heard)
        for callback in callbacks:
            callback(heard)
        consumer.pool.apply_async(_follow, (heard, queue), callback=_done)

    return handle


def _job_id(message: Any) -> str | None:
    try:
        (job_id,), _, _ = message.payload
    except (TypeError, ValueError, DecodeError, ContentDisallowed):
        return None
    return job_id if isinstance(job_id, str) else None


def _follow(heard: ReceivedMessage, queue: str) -> None:
    """In a thread: carry out what was rung for."""
    try:
        state.task_accepted(heard)
        heard.task.run(heard.id, queue)
    except Exception:
        # Nobody asks for what the thread leaves behind. The sweeper looks after the job.
        log.exception("ring.failed", job_id=heard.id)
    finally:
        state.task_ready(heard)


def _done(_nothing: None) -> None:
    """Celery calls something."""
