"""Celery's consumer with bounded pauses between reconnects, and with a check whether it still consumes messages."""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.worker import consumer as celery_consumer
from celery.worker.consumer.tasks import Tasks
from celery.worker.state import maybe_shutdown

log = structlog.get_logger(__name__)

#: Pauses between attempts to connect: the first, the increment, the longest (seconds).
_FIRST_PAUSE_S, _PAUSE_STEP_S, _LONGEST_PAUSE_S = 0.2, 0.4, 2.0
#: A connection that worked for at least this long is re-established without a pause.
_STABLE_S = 10.0
_CHECK_EVERY_S = 1.0
#: A request for messages is answered within a second, also when there is none.
_ANSWERED_WITHIN_S = 5.0


class ConsumerActivity:
    """When the consumer of this process last consumed messages, or had all its threads busy."""

    def __init__(self) -> None:
        self._seen_at = time.monotonic()

    def note(self) -> None:
        """Record that the consumer works now."""
        self._seen_at = time.monotonic()

    def silent_s(self) -> float:
        """Seconds since the consumer was last seen to work."""
        return time.monotonic() - self._seen_at


def use_consumer(celery: Celery) -> ConsumerActivity:
    """Make workers of this application use the classes below; return the consumer's activity."""
    celery.conf.worker_consumer = f"{__name__}:{Consumer.__name__}"
    activity = celery.consumer_activity = ConsumerActivity()
    celery.steps["consumer"].add(ActivityStep)
    return activity


class ActivityStep(bootsteps.StartStopStep):
    """Checks once a second, in the consumer's own loop, whether messages can still be consumed."""

    requires = (Tasks,)

    _timer: Any = None

    def start(self, consumer: Any) -> None:
        self._timer = consumer.timer.call_repeatedly(_CHECK_EVERY_S, _check, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _check(consumer: Any) -> None:
    if consumer.task_consumer is None:
        return
    silent_s = getattr(consumer.task_consumer.channel, "silent_s", None)
    # With other brokers it is enough that the loop runs: its heartbeats detect a dead connection.
    if silent_s is None or silent_s() < _ANSWERED_WITHIN_S:
        consumer.app.consumer_activity.note()


class Consumer(celery_consumer.Consumer):
    """Reconnects after two seconds at most; Celery's own after 30 s, or six times a second, depending on the error."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._failed_at = 0.0
        self._opened: list[Any] = []
        super().__init__(*args, **options)

    def ensure_connected(self, conn: Any) -> Any:
        """Return the connection once it is open."""
        self._opened.append(conn)
        conn.ensure_connection(
            self._report, None, _FIRST_PAUSE_S, _PAUSE_STEP_S, _LONGEST_PAUSE_S, callback=maybe_shutdown
        )
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        self._report(exc, _LONGEST_PAUSE_S)
        self._recover()

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        super().on_connection_error_after_connected(exc)
        self._recover()

    def _recover(self) -> None:
        """Close what the failed attempt has opened, and wait a little if the last attempt was just before."""
        events = self.event_dispatcher.connection if self.event_dispatcher else None
        opened, self._opened = self._opened, []
        for connection in opened:
            # The step for events closes its own connection when it restarts; until then, threads may send over it.
            if connection is events:
                self._opened.append(connection)
            else:
                connection.release()
        failed_before, self._failed_at = self._failed_at, time.monotonic()
        if self._failed_at - failed_before < _STABLE_S:
            time.sleep(_LONGEST_PAUSE_S)

    def _report(self, error: BaseException, interval_s: float) -> None:
        log.warning("broker.unavailable", error=type(error).__name__, detail=str(error), retry_in_s=interval_s)
