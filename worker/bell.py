"""Rings Celery for jobs that are recorded already. A ring that is lost loses nothing: the sweeper rings again."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable
from typing import NamedTuple

import structlog
from celery import Celery
from kombu.messaging import Producer

from worker.operations import OPERATIONS

log = structlog.get_logger(__name__)


class Ring(NamedTuple):
    """What a message needs: the job, and the queue and task that it is for."""

    job_id: str
    queue: str
    operation: str


def rings(found: Iterable[Iterable[bytes]]) -> list[Ring]:
    """Read the bells that a script answered with."""
    return [Ring(*(part.decode() for part in bell)) for bell in found]


class Bell:
    """Sends messages from a thread of its own, so that a broker that is away or frozen never delays who rings."""

    def __init__(self, celery: Celery, *, waiting: int = 10_000) -> None:
        self._celery = celery
        self._waiting: queue.Queue[Ring | None] = queue.Queue(waiting)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ringing: Ring | None = None

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
                self._send(self._ringing, producer)
                self._ringing = self._waiting.get()

    def _send(self, bell: Ring, producer: Producer) -> None:
        self._celery.send_task(
            OPERATIONS[bell.operation].task_name,
            args=[bell.job_id],
            task_id=bell.job_id,
            queue=bell.queue,
            producer=producer,
            retry=False,
            ignore_result=True,
        )
