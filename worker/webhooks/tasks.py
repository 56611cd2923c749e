"""The Celery task that sends one delivery; the result is recorded in Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime

import structlog
from celery import Celery, Task
from kombu.exceptions import OperationalError
from standardwebhooks import Webhook

from worker.config.callback_hosts import CallbackHosts, target_of
from worker.store.client import REDIS_UNAVAILABLE
from worker.telemetry import tracing
from worker.webhooks.outbox import Delivery, Outbox
from worker.webhooks.receivers import Receiver
from worker.webhooks.sending import NotSent, post

log = structlog.get_logger(__name__)

QUEUE = "webhooks"
TASK = "storage.deliver_webhook"
_SUCCESS = range(200, 300)


class DeliverTask(Task):
    """Sends a delivery, if it has not ended meanwhile."""

    name = TASK

    def __init__(
        self,
        outbox: Outbox,
        receivers: Mapping[str, Receiver],
        callback_secret: str,
        hosts: CallbackHosts,
        publish_next: Callable[[str], None],
    ) -> None:
        self._outbox = outbox
        self._receivers = receivers
        self._callback_secret = callback_secret
        self._hosts = hosts
        self._publish_next = publish_next

    def run(self, delivery_id: str) -> None:
        """Send the delivery; after a failure it is due again after a back-off."""
        try:
            delivery = self._outbox.get(delivery_id)
            if delivery is not None:
                self._deliver(delivery)
        except REDIS_UNAVAILABLE as exc:
            # Its lease expires, and it is sent again: receivers recognise it by its id.
            log.warning("webhook.deferred", delivery_id=delivery_id, error=type(exc).__name__)

    def _deliver(self, delivery: Delivery) -> None:
        facts = {"job.id": delivery.job_id, "webhook.id": delivery.id, "webhook.receiver": delivery.receiver}
        with tracing.span("deliver webhook", delivery.traceparent, **facts):
            error = self._send(delivery)
            outcome = self._outbox.end(delivery.id, error)
            tracing.set_attributes(**{"webhook.outcome": outcome, "webhook.error": error})
        trace = {"trace_id": tracing.trace_id_of(delivery.traceparent)} if delivery.traceparent else {}
        ids = {"delivery_id": delivery.id, "job_id": delivery.job_id, **trace}
        log.info("webhook.attempted", outcome=outcome, error=error, **ids)
        self._publish_next(_target(delivery))

    def _send(self, delivery: Delivery) -> str:
        """Send the request; return what was wrong, empty when the receiver accepted it."""
        receiver = self._receivers.get(delivery.receiver)
        if delivery.receiver and receiver is None:
            return "no such receiver is configured"
        url, secret = (receiver.url, receiver.secret) if receiver else (delivery.url, self._callback_secret)
        if receiver is None and not (secret and self._hosts.allow(url)):
            return "callbacks to this host are not allowed"
        try:
            status = post(url, delivery.body, signed_headers(delivery, secret, datetime.now(UTC)), self._hosts)
        except (NotSent, ValueError) as exc:
            return str(exc)
        return "" if status in _SUCCESS else f"it answered {status}"


def signed_headers(delivery: Delivery, secret: str, now: datetime) -> dict[str, str]:
    """Return the headers of the Standard Webhooks specification, with a signature for each secret."""
    body = delivery.body.decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "storage-api",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(part).sign(delivery.id, now, body) for part in secret.split()),
    }


def _target(delivery: Delivery) -> str:
    if delivery.receiver:
        return delivery.receiver
    _, host, port = target_of(delivery.url)
    return f"callbacks:{host}:{port}"


def publisher(celery: Celery) -> Callable[[str, str], None]:
    """Return what publishes the message of a delivery, in its job's trace; if lost, it is repeated after its lease."""

    def publish(delivery_id: str, traceparent: str) -> None:
        try:
            with tracing.within(traceparent) if traceparent else nullcontext():
                celery.send_task(TASK, args=[delivery_id], queue=QUEUE, retry=False)
        except OperationalError as exc:
            log.info("webhook.not-published", delivery_id=delivery_id, error=type(exc).__name__)

    return publish
