"""Rings Celery for jobs that are recorded already. A ring that is lost loses nothing: the sweeper rings again."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable

import structlog
from celery import Celery

from worker.config.settings import Settings
from worker.messaging.app import create_celery
from worker.messaging.message_templates import Letters
from worker.messaging.messages import Ring, send_ring

log = structlog.get_logger(__name__)


class Bell:
    """Sends messages from a thread of its own, so that a broker that is away or frozen never delays who rings."""

    def __init__(self, celery: Celery, *, letters: Letters | None = None, waiting: int = 10_000) -> None:
        """``letters``: where the broker is the Redis of the records, so that a job's ring can be written with it."""
        self._celery = celery
        self._letters = letters
        self._waiting: queue.Queue[Ring | None] = queue.Queue(waiting)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ringing: Ring | None = None

    def letter(self, ring: Ring) -> str:
        """Return the first ring for a job as a message for the list of its queue; empty: it must be rung for."""
        return self._letters.write(ring) if self._letters else ""

    def ring(self, found: Iterable[Ring]) -> None:
        """Ring soon for each; returns at once."""
        self._start()
        for bell in found:
            try:
                self._waiting.put_nowait(bell)
            except queue.Full:
                log.warning(
                    "bell.dropped", job_id=bell.job_id, hint="the broker is slow or away; the sweeper rings again"
                )

    def close(self, timeout_s: float = 2.0) -> None:
        """Ring for those that wait, and end."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(None)
            self._thread.join(timeout_s)

    def _start(self) -> None:
        # Started on first use: a server may fork after it has built its parts, and threads do not survive that.
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._send_all, name="bell", daemon=True)
                    self._thread.start()

    def _send_all(self) -> None:
        # An idle connection may have died with its server: what could not be sent is tried once more over a new one.
        tried: Ring | None = None
        while True:
            try:
                self._send_while_connected(tried)
            except Exception as exc:  # noqa: BLE001 - whatever the broker's client raises, the sweeper rings again
                log.warning("bell.failed", error=type(exc).__name__, hint="the sweeper rings again")
                tried = self._ringing if self._ringing is not tried else None
            else:
                return

    def _send_while_connected(self, first: Ring | None) -> None:
        """Ring over one connection for as long as it works."""
        self._ringing = first or self._waiting.get()
        with self._celery.connection_for_write() as connection, self._celery.amqp.Producer(connection) as producer:
            while self._ringing is not None:
                send_ring(self._celery, producer, self._ringing)
                self._ringing = self._waiting.get()


def create_bell(settings: Settings) -> Bell:
    """Return the bell of a process that consumes nothing by it."""
    celery = create_celery(settings)
    return Bell(celery, letters=Letters(celery) if settings.rings_at_once else None)
