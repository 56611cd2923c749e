"""Reads the event log, makes a delivery for each end of a job and each receiver, and publishes due deliveries."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import structlog

from worker.config.callback_hosts import target_of
from worker.health_report import CONSUMER_SILENT, OK
from worker.health_report import REDIS_UNAVAILABLE as UNAVAILABLE
from worker.jobs.document import job_document, links_below, rfc3339
from worker.jobs.event_log import Event, EventLog, Position
from worker.jobs.record import Job
from worker.maintenance.silent_consumer import SilentConsumer
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.scripts import JobScripts
from worker.telemetry import tracing
from worker.webhooks.outbox import Outbox
from worker.webhooks.receivers import Receiver

log = structlog.get_logger(__name__)

_READ_AT_ONCE = 200
#: How long each look at the event log waits for events (milliseconds).
WAIT_MS = 500
_RETRY_S = 0.5
_REPORT_EVERY_S = 3.0
#: The common metric label of all callbacks, whose hosts are chosen by clients.
CALLBACKS = "callbacks"


class Dispatcher(threading.Thread):
    """One for each process; any number may run at a time, since each step is one atomic script."""

    def __init__(
        self,
        event_log: EventLog,
        outbox: Outbox,
        scripts: JobScripts,
        receivers: Mapping[str, Receiver],
        publish: Callable[[str, str], None],
        *,
        callbacks: bool,
        path_prefix: str = "",
        report_health: Callable[[str], None],
        silent_s: Callable[[], float],
        restart: Callable[[], None],
    ) -> None:
        """Prepare the thread.

        Args:
            event_log: the log, with a connection whose time limit is longer than `WAIT_MS`.
            outbox: the deliveries.
            scripts: the scripts.
            receivers: the receivers by name.
            publish: publishes the Celery message of a delivery, by its id, in the trace of this context.
            callbacks: may requests have callbacks?
            path_prefix: the path below which clients reach the service: links lead there.
            report_health: called every few seconds with a state of :mod:`worker.health_report`.
            silent_s: returns the seconds since this process last consumed Celery messages.
            restart: called when it does not do so again; ends the process for its supervisor to start again.
        """
        super().__init__(name="webhook-dispatcher", daemon=True)
        self._log = event_log
        self._outbox = outbox
        self._scripts = scripts
        self._receivers = receivers
        self._publish = publish
        self._callbacks = callbacks
        self._path_prefix = path_prefix
        self._report_health = report_health
        self._consumer = SilentConsumer(silent_s, restart)
        self._reported: tuple[float, str] = (float("-inf"), "")
        self._over = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()

    @tracing.quiet()
    def run(self) -> None:
        announced = False
        while not self._over.is_set():
            try:
                if not announced:
                    self._outbox.announce_callbacks(possible=self._callbacks)
                    announced = True
                self.dispatch(WAIT_MS)
                self.publish_due()
                if self._report(CONSUMER_SILENT if self._consumer.is_silent else OK):
                    self._check()
            except REDIS_UNAVAILABLE as exc:
                log.warning("webhooks.deferred", error=type(exc).__name__)
                self._consumer.redis_failed()
                self._report(UNAVAILABLE)
                self._over.wait(_RETRY_S)
            except Exception:
                log.exception("webhooks.failed")
                self._over.wait(_RETRY_S)

    def _check(self) -> None:
        """Do what is to be done every few seconds while Redis works."""
        self._consumer.check()
        if self._callbacks:
            # Redis may have lost its data since, or a process without the secret has started.
            self._outbox.announce_callbacks(possible=True)

    def _report(self, state: str) -> bool:
        """Report a new state at once, and an unchanged one every few seconds; return whether it was reported now."""
        now = time.monotonic()
        is_due = state != self._reported[1] or now - self._reported[0] > _REPORT_EVERY_S
        if is_due:
            self._reported = (now, state)
            self._report_health(state)
        return is_due

    def dispatch(self, wait_ms: int) -> None:
        """Make the deliveries of the next events."""
        kept = self._outbox.position()
        position = Position.parse(kept)
        if position is None:
            # A new receiver is notified of jobs that end from now on.
            self._scripts.dispatch_webhooks(kept, str(self._log.tail()), [])
            return
        events = self._log.wait(position, _READ_AT_ONCE, wait_ms)
        if events:
            deliveries = [delivery for event in events for delivery in self._deliveries(event)]
            self._scripts.dispatch_webhooks(kept, str(events[-1].position), deliveries)

    def publish_due(self) -> None:
        """Publish deliveries that are due."""
        for target in self._outbox.targets():
            self.publish_next(target)

    def publish_next(self, target: str) -> None:
        """Publish the next deliveries to one target, up to the limit of concurrent ones."""
        for delivery_id, traceparent in self._outbox.take(target, is_configured=target in self._receivers):
            self._publish(delivery_id, traceparent)

    def _deliveries(self, event: Event) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        if event.status is None or not event.status.job.done:
            return
        job = event.status.job
        targets = {name: {"receiver": name, "label": name} for name in self._notified_of(job)}
        if job.callback and self._callbacks:
            _, host, port = target_of(job.callback)
            targets[f"{CALLBACKS}:{host}:{port}"] = {"url": job.callback, "label": CALLBACKS}
        if targets:
            with links_below(self._path_prefix):
                body = message(event)
            yield from (_delivery(job, target, body, fields) for target, fields in targets.items())

    def _notified_of(self, job: Job) -> list[str]:
        return [receiver.name for receiver in self._receivers.values() if receiver.is_notified_of(job)]


def _delivery(job: Job, target: str, body: str, fields: Mapping[str, str]) -> tuple[str, str, Mapping[str, str]]:
    # The same id for the same end and receiver, so that receivers recognise duplicates.
    delivery_id = f"msg_{hashlib.sha256(f'{job.id} {target}'.encode()).hexdigest()[:32]}"
    return delivery_id, target, {"body": body, "job_id": job.id, **fields}


def message(event: Event) -> str:
    """Return the body for the end of a job, as the Standard Webhooks specification has it."""
    assert event.status is not None  # noqa: S101 - ends that this version cannot read are passed over
    job = event.status.job
    document: dict[str, Any] = {
        "type": f"job.{job.state}",
        # Its end is its last change.
        "timestamp": rfc3339(job.updated_ms),
        "data": job_document(event.status),
    }
    return orjson.dumps(document).decode()
