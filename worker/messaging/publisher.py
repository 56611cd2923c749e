"""Publishes the Celery messages of jobs that are recorded already; a lost message only delays its job."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable

import structlog
from celery import Celery

from worker.config.settings import Settings
from worker.messaging.app import create_celery
from worker.messaging.message_templates import MessageTemplates
from worker.messaging.messages import TaskMessage, publish_message

log = structlog.get_logger(__name__)


class TaskPublisher:
    """Publishes from a thread of its own, so that an unavailable broker delays no request."""

    def __init__(self, celery: Celery, *, templates: MessageTemplates | None = None, limit: int = 10_000) -> None:
        """Prepare to publish; connects to nothing.

        Args:
            celery: the application whose broker is used.
            templates: set where the broker is the Redis of the records, so that `submit_job` can enqueue the message.
            limit: how many messages may wait here.
        """
        self._celery = celery
        self._templates = templates
        self._waiting: queue.Queue[TaskMessage | None] = queue.Queue(limit)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._publishing: TaskMessage | None = None
        #: Could the last message not be published?
        self.is_failing = False

    def message_for(self, message: TaskMessage) -> str:
        """Return the serialised message for the submit script to enqueue; empty: it must be published afterwards."""
        return self._templates.render(message) if self._templates else ""

    def publish_soon(self, messages: Iterable[TaskMessage]) -> None:
        """Publish each from the thread; returns at once."""
        self._start()
        for message in messages:
            try:
                self._waiting.put_nowait(message)
            except queue.Full:
                log.warning("publish.dropped", job_id=message.job_id, hint="the maintenance loop publishes it again")

    def close(self, timeout_s: float = 2.0) -> None:
        """Publish the waiting messages, and end the thread."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(None)
            self._thread.join(timeout_s)

    def _start(self) -> None:
        # Started on first use: a server may fork after it has built its parts, and threads do not survive that.
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._publish_all, name="publisher", daemon=True)
                    self._thread.start()

    def _publish_all(self) -> None:
        # An idle connection may be broken: what could not be sent is sent once more over a new one.
        tried: TaskMessage | None = None
        while True:
            try:
                self._publish_while_connected(tried)
            except Exception as exc:  # noqa: BLE001 - whatever the broker's client raises, the message is published again
                log.warning("publish.failed", error=type(exc).__name__, hint="the maintenance loop publishes it again")
                self.is_failing = True
                tried = self._publishing if self._publishing is not tried else None
            else:
                return

    def _publish_while_connected(self, first: TaskMessage | None) -> None:
        """Publish over one connection for as long as it works."""
        self._publishing = first or self._waiting.get()
        with self._celery.connection_for_write() as connection, self._celery.amqp.Producer(connection) as producer:
            while self._publishing is not None:
                publish_message(self._celery, producer, self._publishing)
                self.is_failing = False
                self._publishing = self._waiting.get()


def create_publisher(settings: Settings) -> TaskPublisher:
    """Return a publisher for a process."""
    celery = create_celery(settings)
    return TaskPublisher(celery, templates=MessageTemplates(celery) if settings.enqueues_in_transaction else None)
