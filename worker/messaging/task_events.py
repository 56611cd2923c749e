"""Task events of jobs for Flower: when jobs begin and end, sent in batches a few times a second.

Celery itself would publish each event separately while the job runs, and emit a start for each message.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from celery import Celery, bootsteps
from celery.events import EventDispatcher
from celery.worker.consumer import Events

#: Seconds between two batches.
_EVERY_S = 0.2
#: How many events wait at most; beyond that the oldest are dropped.
_MOST = 50_000


def emit_received(celery: Celery, job_id: str, task: str) -> None:
    """Emit that a worker has received a message of a job, which may not be runnable yet."""
    emit(celery, "received", job_id, name=task, args=f"({job_id!r},)", kwargs="{}", root_id=job_id, retries=0)


def emit(celery: Celery, event: str, job_id: str, **fields: Any) -> None:
    """Buffer an event of a task for Flower (``event``: received, started, succeeded, failed, revoked)."""
    # Only a worker that has begun to consume has an event dispatcher.
    dispatcher = getattr(celery, "flower_events", None)
    if dispatcher is not None:
        dispatcher.send(f"task-{event}", uuid=job_id, **fields)


class BufferedEventDispatcher(EventDispatcher):
    """Buffers the events of tasks from all threads; the consumer's loop makes and sends them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Events to be sent: type and fields.
        self.noted: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_MOST)
        # Otherwise Celery would flush from a job's thread when there are this many.
        self.buffer_limit = _MOST

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002 - theirs
        if type.startswith("task-"):
            self.noted.append((type, {"timestamp": time.time(), **fields}))
        else:
            super().send(type, **fields)

    def take_over(self, superseded: BufferedEventDispatcher | None) -> None:
        """Take over the events that another dispatcher has buffered before its connection broke."""
        if superseded is not None:
            self.noted.extend(superseded.noted)

    def flush(self, **options: Any) -> None:
        while self.noted:
            kind, fields = self.noted.popleft()
            super().send(kind, **fields)
        super().flush(**options)


class EventFlushStep(bootsteps.StartStopStep):
    """Replaces Celery's own flush of events."""

    requires = (Events,)

    _flushing: Any = None

    def start(self, consumer: Any) -> None:
        dispatcher = consumer.event_dispatcher
        dispatcher.on_send_buffered = None
        superseded = getattr(consumer.app, "flower_events", None)
        consumer.app.flower_events = dispatcher
        dispatcher.take_over(superseded)
        self._flushing = consumer.timer.call_repeatedly(_EVERY_S, dispatcher.flush)

    def stop(self, consumer: Any) -> None:
        if self._flushing is not None:
            self._flushing.cancel()

    def shutdown(self, consumer: Any) -> None:
        self.stop(consumer)
        if consumer.event_dispatcher is not None:
            consumer.event_dispatcher.flush()
